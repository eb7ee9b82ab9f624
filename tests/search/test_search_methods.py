"""Searches against brute force, exact truth and small tables of which every move is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_worlds import PROBLEM, FunctionScorer, Recording, by_text, table, wandering

from gradatim.core import Continuation, Prefix, Problem, Step, Verdict
from gradatim.problems.lab import check, first_error, load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.search import Found, SearchConfig, search
from gradatim.verify.answers import exact_verifier

METHODS = ("beam", "dvts", "lookahead", "mcts", "backtrack")


def found_by(policy: object, scorer: FunctionScorer, problem: Problem = PROBLEM, **settings: object) -> Found:
    [found], _ = search([problem], policy, scorer, SearchConfig(**settings), verifier=exact_verifier)  # type: ignore[arg-type]
    return found


def texts(found: Found) -> list[str]:
    return [one.solution.prefix.text.replace("\n", "") for one in found.candidates]


@pytest.mark.parametrize("method", METHODS)
def test_with_the_exact_checker_a_search_reaches_pass_at_n_of_its_expansions(method: str) -> None:
    """Whenever a right solution was among all that the policy wrote, the search gives a right one."""
    problems = load("test", 25)
    by_prompt = {problem.prompt: problem for problem in problems}

    def checked(prefix: Prefix) -> float:
        if "Answer" in prefix.text:
            return float(exact_verifier(by_prompt[prefix.prompt], prefix.text) == Verdict.CORRECT)
        return float(first_error(check(prefix)) is None)

    policy = Recording(MarkovPolicy())
    # Few draws, so that some problems have no right solution among them.
    config = SearchConfig(method=method, n=2, width=4, keep=2, simulations=9, retries=2)  # type: ignore[arg-type]
    found, _ = search(problems, policy, FunctionScorer(checked), config, verifier=exact_verifier)
    passed = 0
    for one, problem in zip(found, problems, strict=True):
        written = {
            p.text + made.text for p, _, made in policy.written if p.prompt == problem.prompt and made.finish == "stop"
        }
        possible = any(exact_verifier(problem, text) == Verdict.CORRECT for text in written)
        assert {candidate.solution.prefix.text for candidate in one.candidates} == written
        assert (one.best is not None and one.best.solution.verdict == Verdict.CORRECT) == possible
        passed += possible
    assert 0 < passed < len(problems)


@pytest.mark.parametrize("method", ["beam", "dvts", "lookahead", "backtrack"])
@pytest.mark.parametrize("seed", range(4))
def test_a_constant_scorer_gives_the_policys_own_sample(method: str, seed: int) -> None:
    """Ties go to the lower draws: what is chosen is what the policy writes by draw 0 after every step, no better and no
    worse than random."""
    policy, prefix = wandering(), PROBLEM.start()
    while not prefix.text.endswith("Answer: ") and "Answer" not in prefix.text:
        [[made]] = policy.write([prefix], draws=range(1), one_step=True, seed=seed)
        prefix = prefix.then(Step(made.text))
    found = found_by(policy, FunctionScorer(lambda _: 0.5), method=method, n=4, width=8, keep=4, seed=seed)
    assert found.best is not None
    assert found.best.solution.prefix == prefix


def test_a_constant_scorer_is_right_as_often_as_the_policy() -> None:
    """The same in numbers: over many lab problems accuracy with a constant scorer is the mean of the exact V."""
    problems, policy = load("test", 150), MarkovPolicy()
    config = SearchConfig(n=2, width=2, keep=2)
    found, _ = search(problems, policy, FunctionScorer(lambda _: 0.0), config, verifier=exact_verifier)
    right = [one.best is not None and one.best.solution.verdict == Verdict.CORRECT for one in found]
    values = [policy.value(problem.start()) for problem in problems]
    spread = math.sqrt(sum(value * (1 - value) for value in values))
    assert abs(sum(right) - sum(values)) < 4 * spread


def plain_beam(policy: object, scorer: FunctionScorer, n: int, width: int, keep: int) -> tuple[set[str], str]:
    """Beam search with lists, one prefix at a time: all finished texts, and the best of them."""
    beams: list[tuple[tuple[int, ...], Prefix]] = [((), PROBLEM.start())]
    finished: dict[str, tuple[float, tuple[int, ...]]] = {}
    places = n
    while beams and places:
        children: dict[str, tuple[float, tuple[int, ...], Prefix, bool]] = {}
        for path, prefix in beams:
            for draw in range(width // len(beams)):
                [[made]] = policy.write([prefix], draws=range(draw, draw + 1), one_step=True, seed=0)  # type: ignore[attr-defined]
                longer = prefix.then(Step(made.text))
                value = -scorer.score([longer])[0].value
                children.setdefault(longer.text, (value, (*path, draw), longer, made.finish == "stop"))
        order = sorted(children.values(), key=lambda child: child[:2])
        finished.update({prefix.text: (value, path) for value, path, prefix, over in order if over})
        best = order[: min(keep, places)]
        places -= sum(over for *_, over in best)
        beams = [(path, prefix) for _, path, prefix, over in best if not over]
    return set(finished), min(finished, key=lambda text: finished[text])


@given(more=st.integers(0, 3), each=st.integers(1, 4), keep=st.integers(1, 4), salt=st.integers(0, 10))
def test_beam_search_is_what_plain_loops_do(more: int, each: int, keep: int, salt: int) -> None:
    """The same finished solutions and the same best one as a reference that shares nothing with it."""
    n = keep + more
    scorer = FunctionScorer(lambda prefix: (hash_of(prefix.text) * (salt + 1)) % 7 / 7)
    policy = wandering()
    found = found_by(policy, scorer, n=n, width=each * keep, keep=keep)
    expected, best = plain_beam(policy, scorer, n, each * keep, keep)
    assert {one.solution.prefix.text for one in found.candidates} == expected
    assert found.best is not None
    assert found.best.solution.prefix.text == best


def hash_of(text: str) -> int:
    return sum((index + 3) * ord(letter) for index, letter in enumerate(text))


@given(
    method=st.sampled_from(METHODS),
    n=st.integers(1, 6),
    each=st.integers(1, 3),
    keep=st.integers(1, 3),
    letters=st.sampled_from(["a", "ab", "abcd"]),
)
def test_what_holds_for_every_search(method: str, n: int, each: int, keep: int, letters: str) -> None:
    """No solution twice, never more winners than asked for, no draw twice, and every token and draw on the account."""
    policy = Recording(wandering(letters))
    scorer = FunctionScorer(lambda prefix: hash_of(prefix.text) % 11 / 11)
    n = max(n, keep)
    found = found_by(policy, scorer, method=method, n=n, width=each * keep, keep=keep, simulations=8)
    solutions = [one.solution for one in found.candidates]
    assert len({one.prefix for one in solutions}) == len(solutions)
    assert len({one.id for one in solutions}) == len(solutions)
    assert {one.prefix.text for one in solutions} == policy.finished()
    assert found.won <= n
    asked = Counter((prefix, draw) for prefix, draw, _ in policy.written)
    assert set(asked.values()) <= {1}
    for prefix in {prefix for prefix, _ in asked}:
        draws = sorted(draw for other, draw in asked if other == prefix)
        assert draws == list(range(len(draws)))
    assert found.generated == sum(made.tokens for *_, made in policy.written)
    assert found.counts["draws"] == len(policy.written)
    assert found.counts["duplicates"] == len(policy.written) - len({(p, made.text) for p, _, made in policy.written})
    assert len(scorer.seen) == len(set(scorer.seen))


def test_problems_side_by_side_are_searched_as_alone() -> None:
    """Batch size and neighbours change nothing."""
    problems = [Problem(id=str(index), prompt=f"How many {index}?") for index in range(5)]
    for method in METHODS:
        alone, together = (
            search(
                problems,
                wandering(),
                FunctionScorer(lambda prefix: hash_of(prefix.text) % 5),
                SearchConfig(method=method, n=2, width=4, keep=2, batch=batch),  # type: ignore[arg-type]
            )
            for batch in (1, 8)
        )
        assert alone == together


def test_lookahead_sees_what_a_step_leads_to() -> None:
    """ "a" looks better than "b" and leads nowhere: a look one step ahead takes "b", and beam search "a"."""
    policy = table({"": ["a", "b"], "a": ["x", "x"], "b": ["y", "y"], "ax": ["z.", "z."], "by": ["z.", "z."]})
    scorer = by_text({"a": 0.9, "b": 0.5, "ax": 0.1, "by": 0.8, "axz.": 0.1, "byz.": 0.8})
    assert texts(found_by(policy, scorer, method="beam", n=1, width=2, keep=1)) == ["axz."]
    assert texts(found_by(policy, scorer, method="lookahead", ahead=1, n=1, width=2, keep=1)) == ["byz."]


def test_trees_of_dvts_are_independent() -> None:
    """Each tree goes on from the best of its own draws, though the others' are better; trees at one prefix get
    different draws."""
    policy = table({"": ["a", "b", "c", "c"], "a": ["u."] * 2, "b": ["v."] * 2, "c": ["w.", "w.", "x.", "y."]})
    scorer = by_text({"a": 0.9, "b": 0.8, "c": 0.1, "au.": 0.9, "bv.": 0.8, "cw.": 0.1, "cx.": 0.2, "cy.": 0.3})
    found = found_by(policy, scorer, method="dvts", n=2, width=4, keep=2)
    assert texts(found) == ["au.", "cw."]
    same = table({"": ["c"] * 4, "c": ["w.", "w.", "x.", "y."]})
    assert texts(found_by(same, scorer, method="dvts", n=2, width=4, keep=2)) == ["cy.", "cx.", "cw."]


def test_mcts_goes_where_the_mean_value_is_highest() -> None:
    """Without exploration: the root, then "a" (.9), then, as "a" led to .1 and its mean fell to .37, "b" (.5)."""
    policy = Recording(table({"": ["a", "b"], "a": ["x", "y"], "b": ["z.", "w."]}))
    scorer = by_text({"a": 0.9, "b": 0.5, "ax": 0.1, "ay": 0.1, "bz.": 0.4, "bw.": 0.3})
    found = found_by(policy, scorer, method="mcts", n=2, width=2, keep=1, exploration=0.0)
    assert [prefix.text for prefix, draw, _ in policy.written if draw == 0] == ["", "a\n", "b\n"]
    assert texts(found) == ["bz.", "bw."]


def test_mcts_explores_what_the_policy_writes_often() -> None:
    """With all values alike the prior decides: three of four draws wrote "b"."""
    policy = Recording(table({"": ["a", "b", "b", "b"], "b": ["z."] * 4, "a": ["z."] * 4}))
    found = found_by(policy, FunctionScorer(lambda _: 0.5), method="mcts", n=1, width=4, keep=1)
    assert [prefix.text for prefix, draw, _ in policy.written if draw == 0] == ["", "b\n"]
    assert texts(found) == ["bz."]


def test_mcts_ends_when_everything_is_finished_or_the_simulations_are_used_up() -> None:
    policy = table({"": ["a", "b."], "a": ["x.", "x."]})
    scorer = by_text({"a": 0.9, "b.": 0.5, "ax.": 0.1})
    whole = found_by(policy, scorer, method="mcts", n=9, width=2, keep=1)
    assert (texts(whole), whole.won) == (["b.", "ax."], 2)
    assert texts(found_by(policy, scorer, method="mcts", n=9, width=2, keep=1, simulations=1)) == ["b."]


def test_mcts_writes_the_best_prefix_to_its_end_if_nothing_is_finished() -> None:
    """One simulation expands the root; from "a" (.9) on the best of two draws goes on, through "y" (.6)."""
    policy = table({"": ["a", "b"], "a": ["x", "y"], "ay": ["p.", "q."]})
    scorer = by_text({"a": 0.9, "b": 0.5, "ax": 0.1, "ay": 0.6, "ayp.": 0.2, "ayq.": 0.3})
    found = found_by(policy, scorer, method="mcts", n=1, width=2, keep=1, simulations=1)
    assert texts(found) == ["ayq.", "ayp."]


def test_backtracking_writes_a_step_again_when_the_score_drops() -> None:
    """Draw 0 of the second step drops from .9 to .2: draw 1 is taken; without retries draw 0 stays."""
    policy = table({"": ["a"], "a": ["x", "y"], "ax": ["."], "ay": ["."]})
    steps = {"a": [0.9], "ax": [0.9, 0.2], "ay": [0.9, 0.8], "ax.": [0.9, 0.2, 0.2], "ay.": [0.9, 0.8, 0.8]}
    found = found_by(policy, by_text(steps), method="backtrack", n=1, width=4, keep=1)
    assert (texts(found), found.counts["turned_down"]) == (["ay."], 1)
    lazy = found_by(policy, by_text(steps), method="backtrack", n=1, width=4, keep=1, retries=0)
    assert (texts(lazy), lazy.counts["turned_down"]) == (["ax."], 0)


def test_backtracking_gives_a_step_up_when_nothing_good_follows() -> None:
    """Two draws after "a" are turned down (patience 2), so "a" itself is written again, as "b"."""
    policy = table({"": ["a", "b"], "a": ["x", "y"], "b": ["z."]})
    steps = {"a": [0.9], "b": [0.85], "ax": [0.9, 0.1], "ay": [0.9, 0.1], "bz.": [0.85, 0.8]}
    found = found_by(policy, by_text(steps), method="backtrack", n=1, width=2, keep=1)
    assert texts(found) == ["bz."]


def test_backtracking_takes_the_best_when_its_retries_are_used_up() -> None:
    policy = table({"": ["a", "b", "c"], "b": ["z."]})
    steps = {"a": [0.2], "b": [0.5], "c": [0.3], "bz.": [0.5, 0.5]}
    found = found_by(policy, by_text(steps), method="backtrack", n=1, width=9, keep=1, retries=2)
    assert (texts(found), found.counts["turned_down"]) == (["bz."], 2)


def test_finished_solutions_that_win_no_place_are_kept() -> None:
    """A finished solution outside the best still is a candidate, and does not count against the number asked for."""
    policy = table({"": ["a", "b", "c."], "a": ["x."] * 3})
    scorer = by_text({"a": 0.9, "b": 0.8, "c.": 0.1, "ax.": 0.7})
    found = found_by(policy, scorer, n=1, width=3, keep=1)
    assert texts(found) == ["ax.", "c."]
    assert [one.won for one in found.candidates] == [True, False]


def test_copies_of_a_finished_solution_are_one_and_fewer_than_asked_is_said() -> None:
    """A policy that always writes the same gives one candidate, however many were asked for."""
    policy = table({"": ["a"] * 8, "a": ["b."] * 8})
    for method in METHODS:
        found = found_by(policy, FunctionScorer(lambda _: 0.9), method=method, n=4, width=4, keep=4)
        assert (texts(found), found.won) == (["ab."], 1)


def failed(reason: str = "no server") -> Continuation:
    return Continuation("", "failed", 0, reason)


def test_draws_that_failed_are_counted_and_left_out() -> None:
    policy = table({"": ["a", failed(), failed("busy")], "a": [failed(), "b.", failed()]})
    found = found_by(policy, FunctionScorer(lambda _: 0.5), n=1, width=3, keep=1)
    assert texts(found) == ["ab."]
    assert found.failures == {"no server": 3, "busy": 1}
    nothing = table({"": [failed()] * 12})
    for method in METHODS:
        found = found_by(nothing, FunctionScorer(lambda _: 0.5), method=method, n=1, width=3, keep=1)
        assert (found.candidates, found.best) == ((), None)


def test_empty_and_overlong_continuations_are_data() -> None:
    """A policy that stops without a word ends the solution there; a text that was cut off has no answer; what the
    scorer refuses has the value NaN and comes last."""
    ends, cut = Continuation("", "stop", 1), Continuation("Answer: 3", "length", 9)
    policy = table({"": ["a", "b", "a", "b"], "a": [ends, cut], "b": ["c.", "c."]})

    def value(prefix: Prefix) -> float:
        return math.nan if "c." in prefix.text else len(prefix.steps) / 10

    found = found_by(policy, FunctionScorer(value), n=3, width=4, keep=2)
    assert texts(found) == ["aAnswer: 3", "a", "bc."]
    assert [one.solution.finish for one in found.candidates] == ["length", "stop", "stop"]
    assert found.candidates[0].solution.answer is None
    assert found.candidates[0].solution.verdict == Verdict.UNPARSED
    assert (found.counts["empty"], found.counts["truncated"]) == (1, 1)
    assert found.candidates[1].score.value == 0.1  # what its prefix had


def test_a_prefix_that_the_scorer_refuses_costs_only_itself() -> None:
    from gradatim.errors import InputError

    class Short(FunctionScorer):
        def score(self, prefixes: Sequence[Prefix]) -> list[object]:  # type: ignore[override]
            if any("b" in prefix.text for prefix in prefixes):
                raise InputError("too long", expected="at most 1 token")
            return list(super().score(prefixes))

    policy = table({"": ["b", "a"], "a": ["x."] * 2, "b": ["x."] * 2})
    found = found_by(policy, Short(lambda _: 0.5), n=1, width=2, keep=1)
    assert texts(found) == ["ax."]
    assert found.counts["refused"] == 1


def test_budgets_of_steps_and_tokens() -> None:
    """Solutions are cut off at the step limit; nothing is asked for once the tokens are spent."""
    endless = wandering(most=50)
    cut = found_by(endless, FunctionScorer(lambda _: 0.5), n=2, width=4, keep=2, step_limit=3)
    assert {len(one.solution.prefix.steps) for one in cut.candidates} == {3}
    assert cut.counts["truncated"] == len(cut.candidates)
    policy = table({"": ["a", "b"], "a": ["c"] * 2, "ac": ["d"] * 2})
    spent = found_by(policy, FunctionScorer(lambda p: -len(p.text)), n=1, width=2, keep=1, token_budget=4)
    assert (spent.generated, spent.counts["out_of_budget"], spent.candidates) == (4, 1, ())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keep": 4, "width": 10}, "keep=4 does not divide width=10"),
        ({"method": "beam", "n": 1}, "keep=4 is more than n=1"),
        ({"method": "lookahead", "n": 2, "width": 9, "keep": 3}, "keep=3 is more than n=2"),
        ({"n": 0}, "n=0"),
        ({"width": 0, "keep": 0}, "width=0"),
        ({"method": "best"}, "method='best'"),
        ({"drop": math.nan}, "drop=nan"),
        ({"token_budget": 0}, "token_budget=0"),
        ({"splitter": "word"}, "splitter='word'"),
    ],
)
def test_bad_settings_are_errors(settings: dict[str, object], words: str) -> None:
    from gradatim.errors import ConfigError

    with pytest.raises(ConfigError, match=words):
        SearchConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_the_defaults_fit_every_method(method: str) -> None:
    """And one solution may be asked for where it does not bound what goes on."""
    assert SearchConfig(method=method).keep == 4  # type: ignore[arg-type]
    if method not in ("beam", "lookahead"):
        assert SearchConfig(method=method, n=1).keep == 4  # type: ignore[arg-type]
