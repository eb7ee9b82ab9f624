"""Monte-Carlo labels against exact values, hand-made tables, and a brute-force recount."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from gradatim.core import Continuation, Labels, Prefix, Problem, Solution, Step, Tally, Verdict, seed_for
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.records import read_labels, read_solutions
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.verify.answers import choice_verifier, exact_verifier

PROBLEM = Problem(id="p", prompt="What is 3 + 4?", answer="7")


def solution(texts: Sequence[str], *, draw: int = 0, author: str = "someone", **fields: object) -> Solution:
    steps = tuple(map(Step, texts))
    return Solution(prefix=Prefix("p", PROBLEM.prompt, steps), author=author, draw=draw, **fields)  # type: ignore[arg-type]


def labelled(
    tmp_path: Path, policy: object, solutions: Sequence[Solution], **config: object
) -> tuple[list[Labels], dict[str, object]]:
    result = label_stage(
        LabelConfig(**config),  # type: ignore[arg-type]
        policy,  # type: ignore[arg-type]
        [PROBLEM],
        solutions,
        exact_verifier,
        tmp_path / "labels.jsonl",
        quiet=True,
    )
    return read_labels(tmp_path / "labels.jsonl"), result


def test_rates_estimate_the_exact_value(tmp_path: Path) -> None:
    """In the lab's closed form, rates scatter around V(prefix) as a binomial does, at every step and at the start."""
    policy = MarkovPolicy(Student(misread=0.6, repair=0.2))
    problems, k = load("test", 12), 200
    solutions, labels = tmp_path / "solutions.jsonl", tmp_path / "labels.jsonl"
    sample_stage(SampleConfig(n=2), policy, problems, exact_verifier, solutions, quiet=True)
    sampled = read_solutions(solutions)
    result = label_stage(LabelConfig(k=k, batch=1000), policy, problems, sampled, exact_verifier, labels, quiet=True)
    seen: dict[Prefix, Tally] = {}
    for row, made in zip(read_labels(labels), sampled, strict=True):
        assert row.solution_id == made.id
        for count, tally in enumerate(row.tallies[:-1], start=1):
            assert seen.setdefault(made.prefix.first(count), tally) == tally
        seen[made.prefix.first(0)] = row.start
        assert row.tallies[-1] == Tally(int(made.verdict == Verdict.CORRECT), 1)
    scores = []
    for prefix, tally in seen.items():
        value = policy.value(prefix)
        assert tally.tried == k
        if 0 < value < 1:
            scores.append((tally.rate - value) / math.sqrt(value * (1 - value) / k))
        else:
            assert tally.rate == value
    assert len(scores) > 50
    assert max(map(abs, scores)) < 4.5
    assert abs(sum(scores)) / math.sqrt(len(scores)) < 4
    assert result["rollouts"] == k * len(seen) == result["good"] + result["bad"]


def test_shared_prefixes_are_rolled_out_once(tmp_path: Path) -> None:
    """Each distinct prefix is asked for exactly once with k draws, whoever shares it, and the tallies are equal."""
    asked: Counter[tuple[str, int]] = Counter()

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        asked[prefix.text, draw] += 1
        return f"Answer: {7 if seed_for(seed, prefix.text, draw) % 3 else 8}\n"

    solutions = [
        solution(["a\n", "b\n", "Answer: 7\n"], draw=0, verdict=Verdict.CORRECT),
        solution(["a\n", "c\n", "Answer: 8\n"], draw=1, verdict=Verdict.INCORRECT),
        solution(["a\n", "b\n", "Answer: 8\n"], draw=2, verdict=Verdict.INCORRECT),
    ]
    rows, result = labelled(tmp_path, ScriptedPolicy(script), solutions, k=5, batch=3)
    assert asked == {(text, draw): 1 for text in ("", "a\n", "a\nb\n", "a\nc\n") for draw in range(5)}
    assert rows[0].tallies[:2] == rows[2].tallies[:2]
    assert rows[0].tallies[0] == rows[1].tallies[0]
    assert [row.tallies[2] for row in rows] == [Tally(1, 1), Tally(0, 1), Tally(0, 1)]
    assert len({row.start for row in rows}) == 1
    assert (result["prefixes"], result["rollouts"]) == (4, 20)


def test_batches_change_nothing(tmp_path: Path) -> None:
    """The same labels come from batches of 1, 7 and 1,000 rollouts, even where one prefix fills several batches."""
    policy = MarkovPolicy(Student(misread=0.6))
    problems = load("test", 3)
    sample_stage(SampleConfig(n=4), policy, problems, exact_verifier, tmp_path / "s.jsonl", quiet=True)
    texts = []
    for batch in (1, 7, 1000):
        out = tmp_path / f"{batch}.jsonl"
        config = LabelConfig(k=9, batch=batch)
        label_stage(config, policy, problems, read_solutions(tmp_path / "s.jsonl"), exact_verifier, out, quiet=True)
        texts.append(out.read_bytes())
        assert not out.with_name(out.name + ".ledger").exists()
    assert texts[0] == texts[1] == texts[2]


def test_cut_and_unread_rollouts_are_tried_not_good_and_lost(tmp_path: Path) -> None:
    """Of right, wrong, unreadable and cut-off rollouts, the last two count as tried and lost."""
    endings = [
        Continuation("Answer: 7\n", "stop", 2),
        Continuation("Answer: 8\n", "stop", 2),
        Continuation("I give up\n", "stop", 3),
        Continuation("Answer: 7", "length", 2),
    ]
    policy = ScriptedPolicy(lambda prefix, draw, seed: endings[draw])
    (row,), result = labelled(tmp_path, policy, [solution(["a\n", "b\n"], finish="length")], k=4)
    assert row.tallies == (Tally(1, 4, 2), Tally(1, 4, 2))
    assert (result["good"], result["bad"], result["lost"], result["failed"]) == (3, 3, 6, 0)
    assert row.truth == "value"
    assert row.by == "scripted"


def test_our_own_failures_leave_the_denominator(tmp_path: Path) -> None:
    """A check that fails takes its rollout out of `tried`; a batch that can't be written is done by the next call."""
    policy = ScriptedPolicy(lambda prefix, draw, seed: f"Answer: {7 + draw % 2}\n")

    def shaky(problem: Problem, text: str) -> Verdict:
        if text.endswith("8\n"):
            raise BackendError("the verifier's server is down")
        return exact_verifier(problem, text)

    ours, out = [solution(["a\n", "b\n"], verdict=Verdict.UNPARSED)], tmp_path / "labels.jsonl"
    result = label_stage(LabelConfig(k=4), policy, [PROBLEM], ours, shaky, out, quiet=True)
    (row,) = read_labels(out)
    assert row.tallies == (Tally(2, 2), Tally(0, 1, 1))
    assert (result["good"], result["failed"]) == (4, 4)

    down = ["the server of the policy is down"]

    def refusing(prefix: Prefix, draw: int, seed: int) -> str:
        if down and prefix.steps:
            raise BackendError(down[0])
        return "Answer: 7\n"

    config = LabelConfig(k=2, batch=2)
    result = label_stage(config, ScriptedPolicy(refusing), [PROBLEM], ours, exact_verifier, out, quiet=True)
    assert result["not_written"] == {down[0]: 2}
    (row,) = read_labels(out)
    assert (row.tallies[0], row.start, row.error_known) == (Tally(), Tally(2, 2), False)
    down.clear()
    result = label_stage(config, ScriptedPolicy(refusing), [PROBLEM], ours, exact_verifier, out, quiet=True)
    assert (result["not_written"], result["batches_resumed"]) == ({}, 1)
    assert read_labels(out)[0].tallies[0] == Tally(2, 2)


def test_start_counts_the_other_solutions_of_this_policy(tmp_path: Path) -> None:
    """With more than k solutions by the policy itself, the start is theirs without the labelled one; nothing is rolled out."""
    asked = []

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        asked.append(prefix.text)
        return "Answer: 7\n"

    verdicts = [Verdict.CORRECT, Verdict.INCORRECT, Verdict.CORRECT, Verdict.UNPARSED, Verdict.INCORRECT]
    own = [
        solution([f"a{draw}\n", "end\n"], draw=draw, author="scripted", verdict=verdict)
        for draw, verdict in enumerate(verdicts)
    ]
    other = solution(["b\n", "end\n"], draw=9, verdict=Verdict.CORRECT)
    rows, _ = labelled(tmp_path, ScriptedPolicy(script), [*own, other], k=4)
    expected = [Tally(1, 4, 1), Tally(2, 4, 1), Tally(1, 4, 1), Tally(2, 4), Tally(2, 4, 1), Tally(2, 5, 1)]
    assert [row.start for row in rows] == expected
    assert "" not in asked
    rows, _ = labelled(tmp_path, ScriptedPolicy(script), own, k=5)
    assert {row.start for row in rows} == {Tally(5, 5)}


def test_observations_are_context_and_never_judged(tmp_path: Path) -> None:
    """An observation has tally (0, 0) and no rollouts, is part of what comes after it, and is never the first error."""
    asked = []

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        asked.append(prefix.text)
        return "Answer: 8\n" if prefix.steps[1:] else "Answer: 7\n"

    steps = (Step("look\n", "tool_call"), Step("found 9\n", "observation"), Step("so 9\n"), Step("Answer: 9\n"))
    seen = Solution(prefix=Prefix("p", PROBLEM.prompt, steps), author="x", draw=0, verdict=Verdict.INCORRECT)
    (row,), _ = labelled(tmp_path, ScriptedPolicy(script), [seen], k=2)
    assert row.tallies == (Tally(2, 2), Tally(), Tally(0, 2), Tally(0, 1))
    assert set(asked) == {"", "look\n", "look\nfound 9\nso 9\n"}
    assert (row.error, row.error_known) == (2, True)


def test_unverified_solutions_are_verified_and_goldless_ones_counted(tmp_path: Path) -> None:
    """A solution without a verdict gets one; a problem without a gold answer drops its solutions, counted."""
    policy = ScriptedPolicy(lambda prefix, draw, seed: "Answer: 7\n")
    goldless = Problem(id="q", prompt="Why?")
    lost = Solution(prefix=Prefix("q", "Why?", (Step("Because.\n"),)), author="x", draw=0)
    ours = [solution(["a\n", "Answer: 7\n"]), lost, solution([], draw=1)]
    out = tmp_path / "labels.jsonl"
    result = label_stage(LabelConfig(k=1), policy, [PROBLEM, goldless], ours, exact_verifier, out, quiet=True)
    rows = read_labels(out)
    assert [row.tallies for row in rows] == [(Tally(1, 1), Tally(1, 1)), ()]
    assert (result["solutions"], result["labelled"], result["dropped"]) == (3, 2, {"no gold answer": 1})


@pytest.mark.parametrize("search", ["all", "bisection"])
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_of_no_steps_no_first_error_is_known(tmp_path: Path, finish: str, search: str) -> None:
    """A policy that wrote nothing made no step that could be called right or wrong."""
    policy = ScriptedPolicy(lambda prefix, draw, seed: "Answer: 7\n")
    empty = solution([], finish=finish, verdict=Verdict.UNPARSED)
    (row,), result = labelled(tmp_path, policy, [empty], k=1, search=search)
    assert (row.tallies, row.error, row.error_known) == ((), None, False)
    assert result["errors_unknown"] == 1


def test_a_check_that_failed_while_sampling_is_made_again(tmp_path: Path) -> None:
    """Sampled while the verifier was down, a right solution is right once it is labelled, and has no error."""
    down = ["yes"]

    def shaky(problem: Problem, text: str) -> Verdict:
        if down:
            raise BackendError("timed out")
        return exact_verifier(problem, text)

    policy = ScriptedPolicy(lambda prefix, draw, seed: "so\nAnswer: 7\n" if not prefix.steps else "Answer: 7\n")
    made = tmp_path / "solutions.jsonl"
    sample_stage(SampleConfig(n=1), policy, [PROBLEM], shaky, made, quiet=True)
    (one,) = read_solutions(made)
    for checked, last, known in ((False, Tally(), False), (True, Tally(1, 1), True)):
        if checked:
            down.clear()
        label_stage(LabelConfig(k=2), policy, [PROBLEM], [one], shaky, tmp_path / "labels.jsonl", quiet=True)
        (row,) = read_labels(tmp_path / "labels.jsonl")
        assert (row.tallies[-1], row.error, row.error_known) == (last, None, known)


def test_another_verifier_does_not_go_on_with_the_rollouts(tmp_path: Path) -> None:
    """What one verifier said is never mixed with what another says."""

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        if draw:
            raise RuntimeError("stopped")
        return "Answer: 7\n"

    inputs = (LabelConfig(k=2, batch=1), ScriptedPolicy(script), [PROBLEM], [solution(["a\n", "b\n"])])
    out = tmp_path / "labels.jsonl"
    with pytest.raises(RuntimeError, match="stopped"):
        label_stage(*inputs, exact_verifier, out, quiet=True)
    with pytest.raises(ConfigError, match="verifier = "):
        label_stage(*inputs, choice_verifier, out, quiet=True)


def test_where_steps_are_cut_does_not_change_whose_solutions_they_are(tmp_path: Path) -> None:
    """A policy's solutions count as its own however they were split; another model's or setting's do not."""
    verdicts = [Verdict.CORRECT, Verdict.INCORRECT, Verdict.CORRECT]

    def starts(author: str) -> list[Tally]:
        own = [
            solution([f"a{draw}\n\n", "end\n"], draw=draw, author=author, verdict=verdict)
            for draw, verdict in enumerate(verdicts)
        ]
        policy = ScriptedPolicy(lambda prefix, draw, seed: "Answer: 7\n", name="model@ab t=1 by_line chat")
        return [row.start for row in labelled(tmp_path, policy, own, k=2)[0]]

    theirs = [Tally(1, 2), Tally(2, 2), Tally(1, 2)]
    assert starts("model@ab t=1 by_line chat") == starts("model@ab t=1 by_blank_line chat") == theirs
    assert starts("model@ab t=0.5 by_line chat") == starts("model@cd t=1 by_blank_line chat") == [Tally(2, 2)] * 3


def test_bad_input(tmp_path: Path) -> None:
    """Settings outside their range, unknown problems and changed prompts are errors that name what is wrong."""
    policy = ScriptedPolicy(lambda prefix, draw, seed: "Answer: 7\n")
    for config in ({"k": 0}, {"batch": 0}, {"rule": "first"}):
        with pytest.raises(ConfigError):
            LabelConfig(**config)  # type: ignore[arg-type]
    for problem in (Problem(id="p", prompt="Another?", answer="7"), Problem(id="q", prompt=PROBLEM.prompt, answer="7")):
        with pytest.raises(InputError, match="'p'"):
            label_stage(
                LabelConfig(), policy, [problem], [solution(["a\n"])], exact_verifier, tmp_path / "l.jsonl", quiet=True
            )
