"""Best of n on a pool, against enumeration of what is chosen."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from gradatim.core import Prefix, Score, Solution, Step, Verdict
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.pool_suite import echoes, pool_result, pool_scored, scored_by
from gradatim.problems.pools import Candidate, Pool, PoolProblem
from gradatim.records import Row


def candidate(problem: str, index: int, right: bool | None, answer: str, texts: tuple[str, ...]) -> Candidate:
    verdict = None if right is None else Verdict.CORRECT if right else Verdict.INCORRECT
    prefix = Prefix(problem, problem, tuple(map(Step, texts)))
    solution = Solution(prefix=prefix, author="a", draw=index, verdict=verdict, answer=answer)
    return Candidate(index, solution, Row("f", index + 1, {}))


def pool(seed: int = 0, echo: bool = False) -> tuple[Pool, list[Score]]:
    """Three problems with four candidates, random step scores."""
    rng = np.random.default_rng(seed)
    problems, scores = [], []
    for p in range(3):
        members = []
        for c in range(4):
            right = bool(rng.random() < 0.5)
            first = "system\nYou are" if echo and c == p else "a"
            members.append(
                candidate(f"p{p}", c, right, "1" if right else str(int(rng.integers(2, 4))), (first, "b" * (c + 1)))
            )
            steps = tuple(rng.random(2))
            scores.append(Score(value=min(steps), steps=steps, reduction="min", by="m"))
        problems.append(PoolProblem(f"p{p}", tuple(members)))
    return Pool("f", tuple(problems)), scores


def test_best_of_n_by_enumeration() -> None:
    """The mean over all subsets of n candidates of the correctness of the one with the highest lowest step."""
    made, scores = pool()
    found = pool_result("x", made, scored_by("m", made, scores), "min", source="scores")
    rows = iter(scores)
    wanted = {n: [] for n in (1, 2, 4)}  # type: ignore[var-annotated]
    for problem in made.problems:
        values = [(min(next(rows).steps), one.correct) for one in problem.candidates]
        for n in wanted:
            wanted[n].append(np.mean([max(some)[1] for some in combinations(values, n)]))

    assert {one["n"]: one["best_of_n"].value for one in found.curves["accuracy_by_n"]} == pytest.approx(
        {n: float(np.mean(one)) for n, one in wanted.items()}
    )
    assert found.headline == "best_of_4"
    assert found.measures["best_of_4"].value == pytest.approx(np.mean(wanted[4]))


@pytest.mark.parametrize("seed", range(4))
def test_telling_answers_apart_within_a_problem(seed: int) -> None:
    """All pairs of a right and a wrong candidate of one problem; the mean over the problems that have both."""
    made, scores = pool(seed)
    found = pool_result("x", made, scored_by("m", made, scores), "min", source="scores").measures[
        "auroc_within_problems"
    ]
    rows = iter(scores)
    shares = []
    for problem in made.problems:
        values = [(min(next(rows).steps), one.correct) for one in problem.candidates]
        pairs = [a > b for a, right in values if right for b, wrong in values if not wrong]
        shares += [np.mean(pairs)] if pairs else []

    assert found.value == pytest.approx(np.mean(shares))
    assert found.n == len(shares)


def test_knowing_only_the_problem_is_no_help_within_it() -> None:
    """A model that scores every candidate by its problem's share of right ones: apart over all, even within problems."""
    made, _ = pool(2)
    known = [
        Score(value=float(np.mean([bool(c.correct) for c in problem.candidates])), reduction="outcome", by="m")
        for problem in made.problems for _ in problem.candidates
    ]  # fmt: skip
    found = pool_result("x", made, scored_by("m", made, known), None, source="model").measures

    assert found["auroc_within_problems"].value == 0.5
    assert found["outcome_auroc"].value > 0.6


def test_a_pool_in_which_no_problem_has_both_is_not_told_apart() -> None:
    """Without a pair of the same problem there is no number, and no error."""
    right = PoolProblem("p", (candidate("p", 0, True, "1", ("a",)), candidate("p", 1, True, "1", ("b",))))
    wrong = PoolProblem("q", (candidate("q", 0, False, "2", ("a",)), candidate("q", 1, False, "3", ("b",))))
    scores = [Score(value=v, steps=(v,), reduction="min", by="m") for v in (0.1, 0.2, 0.3, 0.4)]
    both = Pool("f", (right, wrong))
    found = pool_result("x", both, scored_by("m", both, scores), None, source="model").measures["auroc_within_problems"]

    assert np.isnan(found.value)
    assert found.n == 0


def test_rules_choose_by_size_and_order() -> None:
    """Longest, shortest and first listed are read off; the oracle finds a right one where there is one."""
    made, scores = pool(3)
    found = pool_result("x", made, scored_by("m", made, scores), None, source="model")
    right = [[bool(one.correct) for one in problem.candidates] for problem in made.problems]
    nulls = {name: one.value for name, one in found.nulls["best_of_4"].items()}

    assert nulls["longest"] == pytest.approx(np.mean([row[-1] for row in right]))
    assert nulls["shortest"] == nulls["first_listed"] == pytest.approx(np.mean([row[0] for row in right]))
    assert nulls["random"] == nulls["most_steps"] == pytest.approx(np.mean(right))
    assert found.measures["oracle"].value == pytest.approx(np.mean([any(row) for row in right]))
    assert {one["name"] for one in found.by["reduction"]} == {"min", "prod", "mean", "last"}


def test_echoes_are_told_apart() -> None:
    """Candidates whose first step repeats a chat prompt are counted, and the choice is shown without them."""
    made, scores = pool(5, echo=True)
    found = pool_result("x", made, scored_by("m", made, scores), None, source="model")

    assert (
        found.counts["first_step_echoes_a_prompt"] == sum(echoes(c) for p in made.problems for c in p.candidates) == 3
    )
    everything, clean = found.by["echo"]
    assert everything["best_of_all"].value == pytest.approx(found.measures["best_of_4"].value)
    assert clean["name"] == "without echoes"
    assert "echo" not in pool_result("x", *_plain(), None, source="model").by


def _plain():  # type: ignore[no-untyped-def]
    made, scores = pool(5)
    return made, scored_by("m", made, scores)


@pytest.mark.parametrize("where", [0, 5])
def test_an_empty_solution_says_nothing_about_the_others(where: int) -> None:
    """Wherever it is, the first candidate too: all reductions are there, prod may be asked for, and the AUROC is that of the
    candidates that have a score, pair by pair; the one that has none is counted."""
    made, scores = pool()
    problems = [list(problem.candidates) for problem in made.problems]
    problems[where // 4][where % 4] = candidate(f"p{where // 4}", where % 4, False, "9", ())
    made = Pool("f", tuple(PoolProblem(f"p{p}", tuple(some)) for p, some in enumerate(problems)))
    scores[where] = Score(value=float("nan"), reduction="min", by="m")

    found = pool_result("x", made, scored_by("m", made, scores), "prod", source="model")

    every = zip(scores, (one for problem in problems for one in problem), strict=True)
    rows = [(float(np.prod(score.steps)), one.correct) for score, one in every if score.steps]
    pairs = [a > b for a, right in rows if right for b, wrong in rows if not wrong]
    assert found.measures["outcome_auroc"].value == pytest.approx(np.mean(pairs))
    assert found.measures["outcome_auroc"].low < found.measures["outcome_auroc"].high
    assert {one["name"] for one in found.by["reduction"]} == {"min", "prod", "mean", "last"}
    assert found.counts["unscored"] == 1
    assert any("1 of 12 candidates have no score" in note for note in found.notes)


def test_refusals() -> None:
    """No verdicts, and a reduction that the scores can't be given."""
    made, scores = pool()
    with pytest.raises(ConfigError, match="--reduction outcome"):
        pool_result("x", made, scored_by("m", made, scores), "outcome", source="model")
    bare = Pool("f", (PoolProblem("p", (candidate("p", 0, None, "1", ("a", "b")),)),))
    with pytest.raises(InputError, match="verdicts"):
        pool_result("x", bare, scored_by("m", bare, scores[:1]), None, source="model")


def test_the_checks_see_each_candidate_with_its_scores() -> None:
    """Steps as listed, characters, verdicts."""
    made, scores = pool()
    seen = pool_scored(made, scored_by("m", made, scores))

    assert [one.steps for one in seen] == [score.steps for score in scores]
    assert {one.listed for one in seen} == {2}
    assert seen[3].characters == 5
