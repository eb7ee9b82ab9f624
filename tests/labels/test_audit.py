"""Audits against the lab's exact values, simulated errors, and counts by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from gradatim.core import Labels, Prefix, Solution, Step, Tally, Verdict
from gradatim.errors import ConfigError, InputError
from gradatim.labels.audit import Audit, AuditConfig, audit
from gradatim.labels.datasets import load_labelled
from gradatim.labels.given import Labelled
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.checker import exact_labels
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.stats import wilson
from gradatim.verify.answers import exact_verifier
from gradatim.view.audit import audit_report


def solution(name: str, steps: int = 3, verdict: Verdict | None = Verdict.CORRECT, text: str = "step") -> Solution:
    prefix = Prefix(name, "What?", tuple(Step(f"{text} {index}\n") for index in range(steps)))
    return Solution(prefix=prefix, author="a", draw=0, verdict=verdict)


def says(one: Solution, tallies: Sequence[tuple[int, int]], error: int | None, **fields: object) -> Labelled:
    made = {
        "solution_id": one.id,
        "tallies": tuple(Tally(good, tried) for good, tried in tallies),
        "error": error,
        "error_known": True,
        "truth": "validity",
        "source": "judge",
        "by": "judge",
    }
    return one, Labels(**{**made, **fields})  # type: ignore[arg-type]


def audited(labelled: list[Labelled], against: list[Labelled] | None = None, **config: object) -> Audit:
    return audit(AuditConfig(**config), labelled, against)  # type: ignore[arg-type]


@pytest.fixture(scope="module", name="rollouts")
def _rollouts(tmp_path_factory: pytest.TempPathFactory) -> list[Labelled]:
    """Rollout labels of lab solutions."""
    folder, policy = tmp_path_factory.mktemp("lab"), MarkovPolicy(Student(misread=0.6, repair=0.2))
    problems = load("test", 24)
    sampled = sample_stage(SampleConfig(n=3), policy, problems, exact_verifier, folder / "solutions.jsonl", quiet=True)
    assert sampled["solutions"] == 72
    solutions = [one for one, _ in _unlabelled(folder)]
    config = LabelConfig(k=6)
    label_stage(config, policy, problems, solutions, exact_verifier, folder / "labels.jsonl", quiet=True)
    return load_labelled(str(folder / "labels.jsonl"))


def _unlabelled(folder: Path) -> list[tuple[Solution, None]]:
    from gradatim.records import read_solutions

    return [(one, None) for one in read_solutions(folder / "solutions.jsonl")]


def test_noise_is_the_share_of_steps_on_the_wrong_side_of_their_value(rollouts: list[Labelled]) -> None:
    """Against V(prefix), which the lab knows exactly: how many steps' tallies lie on the other side of their bar."""
    policy, wrong = MarkovPolicy(Student(misread=0.6, repair=0.2)), []
    for one, labels in rollouts:
        bar = (labels.start.good + 1) / (labels.start.tried + 2) / 2
        for count, tally in enumerate(labels.tallies[:-1], start=1):
            wrong.append((tally.rate >= bar) != (policy.value(one.prefix.first(count)) >= bar))
    found = audited(rollouts).found["noise"]
    assert found["steps"] == len(wrong)
    assert found["noise"].value == pytest.approx(sum(wrong) / len(wrong), abs=0.03)
    assert 0 < found["reliability"] < 1
    assert found["draws_a_step"] == 6


def test_steps_whose_interval_holds_the_bar() -> None:
    """Wilson's interval, worked by hand: of 9 draws half is inside for 2 to 7 good ones."""
    nine = [says(solution(f"p{good}"), [(good, 9)] * 3, None) for good in range(10)]
    assert audited(nine).found["noise"]["unsure"].value == pytest.approx(sum(_holds_half(g, 9) for g in range(10)) / 10)
    assert [good for good in range(10) if _holds_half(good, 9)] == [2, 3, 4, 5, 6, 7]


def _holds_half(good: int, tried: int) -> bool:
    """Wilson's interval holds p where (good - tried p)^2 <= z^2 tried p (1 - p)."""
    return (good - tried / 2) ** 2 <= 1.959964**2 * tried / 4


def test_balance_counts_everything_once(rollouts: list[Labelled]) -> None:
    """Groups by steps, author and labeller hold each solution once; classes add up to 1."""
    found = audited(rollouts).found
    for name in ("by_steps", "by_author", "by_labeller"):
        assert sum(group["solutions"] for group in found[name]) == len(rollouts)
        assert sum(group["steps_good"] + group["steps_bad"] for group in found[name]) == found["steps_looked_at"]
    assert sum(found["classes"][name].value for name in ("erroneous", "correct", "unknown")) == pytest.approx(1)
    errors = sum(labels.error is not None for _, labels in rollouts)
    assert sum(found["places"].values()) == errors
    assert found["classes"]["erroneous"].value == pytest.approx(errors / len(rollouts))
    assert found["draws"] == sum(tally.tried for _, labels in rollouts for tally in labels.tallies)


def test_right_answers_with_wrong_steps_are_found(rollouts: list[Labelled]) -> None:
    """With the exact checker's labels the share is the true one; the policy repairs some of its errors."""
    exact = [(one, exact_labels(one)) for one, _ in rollouts]
    right = [labels.error is not None for one, labels in exact if one.verdict is Verdict.CORRECT]
    assert 0 < sum(right) < len(right)
    found = audited(exact).found["contradictions"]
    assert found["right_answer_wrong_step"].value == pytest.approx(sum(right) / len(right))
    assert found["wrong_answer_no_wrong_step"].value == 0


def test_refused_right_answers_are_estimated(rollouts: list[Labelled]) -> None:
    """A verifier that refuses a tenth of the right answers: the share and the number are found from exact labels of the
    steps, and the number from the share where that is given."""
    rng, damaged, refused = Random(4), [], 0
    for one, labels in rollouts * 6:
        flip = one.verdict is Verdict.CORRECT and exact_labels(one).error is None and rng.random() < 0.1
        refused += flip
        shown = replace(one, draw=len(damaged), verdict=Verdict.INCORRECT if flip else one.verdict)
        damaged.append((shown, replace(labels, solution_id=shown.id)))
    exact = [(one, exact_labels(one)) for one, _ in damaged]
    found = audited(damaged, exact).found["verifier"]
    assert found["refused"].low < 0.1 < found["refused"].high
    assert found["right_but_refused"].low <= refused <= found["right_but_refused"].high * 1.1
    given = audited(damaged, refused=0.1).found["verifier"]
    accepted = sum(one.verdict is Verdict.CORRECT for one, _ in damaged)
    assert given["right_but_refused"].value == pytest.approx(accepted / 9)
    assert given["right_but_refused"].value == pytest.approx(refused, rel=0.25)
    assert math.isnan(audited(damaged).found["verifier"]["refused"].value)


def test_drift_between_two_labellers() -> None:
    """Signs and sizes: the other labeller calls more solutions erroneous, earlier, with lower rates."""
    ones = [solution(f"p{i}") for i in range(4)]
    own = [
        says(ones[0], [(4, 4), (4, 4), (4, 4)], None),
        says(ones[1], [(4, 4), (4, 4), (0, 4)], 2),
        says(ones[2], [(4, 4), (1, 4), (0, 0)], 1),
        says(ones[3], [(4, 4), (4, 4), (2, 4)], None, error_known=False),
    ]
    other = [
        says(ones[0], [(1, 2), (0, 2), (0, 0)], 1),
        says(ones[1], [(0, 2), (0, 0), (0, 0)], 0),
        says(ones[2], [(2, 2), (0, 2), (0, 0)], 1),
    ]
    drift = audited(own, other).found["drift"]
    assert drift["not_in_both"] == 1
    assert (drift["decided"], drift["undecided"]) == (3, 0)
    assert drift["more_erroneous"].value == pytest.approx(1 / 3)
    assert drift["first_error_later_by"].value == pytest.approx(-1)
    assert drift["rate_higher_by"].value == pytest.approx((-0.5 - 1 - 1 + 0 - 0.25) / 5)


def test_where_to_look_first_and_why() -> None:
    """Each reason is named for the solutions that have it, several weigh more than one, and clean ones are left out."""
    names = ("clean", "trap", "missed", "unknown", "both", "close")
    ones = {name: solution(name, verdict=Verdict.INCORRECT if name == "missed" else Verdict.CORRECT) for name in names}
    sure = [(9, 9), (9, 9), (9, 9)]
    labelled = [
        says(ones["clean"], sure, None),
        says(ones["trap"], [(9, 9), (0, 9), (0, 0)], 1),
        says(ones["missed"], sure, None),
        says(ones["unknown"], sure, None, error_known=False),
        says(ones["both"], [(9, 9), (0, 9), (0, 0)], 1),
        says(ones["close"], [(9, 9), (5, 9), (9, 9)], None),
        *(says(solution(f"more {i}"), [(9, 9), (i % 10, 9), (0, 9)], 2) for i in range(40)),
    ]
    against = [says(ones["both"], sure, None, by="other"), says(ones["clean"], sure, None, by="other")]
    found = audited(labelled, against, top=100)
    reasons = {doubt.solution.prefix.problem_id: doubt.reasons for doubt in found.doubts}
    assert "clean" not in reasons
    assert reasons["trap"] == ("right answer, wrong step (in step 2)",)
    assert reasons["missed"] == ("wrong answer, no wrong step",)
    assert reasons["unknown"] == ("first error unknown",)
    assert reasons["both"] == (
        "first error in step 2, none by the other labeller",
        "right answer, wrong step (in step 2)",
    )
    assert reasons["close"] == ("step 2 has 5 of 9, close to where decisions turn",)
    order = [doubt.solution.prefix.problem_id for doubt in found.doubts]
    assert order.index("both") < order.index("unknown") < order.index("trap")
    weights = [doubt.weight for doubt in found.doubts]
    assert weights == sorted(weights, reverse=True)
    assert found.found["doubtful"] == len(reasons)
    assert len(audited(labelled, top=3).found["look_first"]) == 3


def test_rates_that_recover_are_suspicious() -> None:
    """A rollout label whose later steps are alive again was no dead end."""
    rule = {"truth": "value", "source": "rollouts", "rule": "relative (...)", "start": Tally(8, 8)}
    labelled = [
        says(solution("p"), [(8, 8), (0, 8), (8, 8)], 1, **rule),
        *(says(solution(f"q{i}"), [(8, 8), (0, 8), (0, 8)], 1, **rule) for i in range(9)),
    ]
    found = {doubt.solution.prefix.problem_id: doubt.reasons for doubt in audited(labelled).doubts}
    assert "rates recover behind the first error" in found["p"]
    assert all("rates recover behind the first error" not in found[f"q{i}"] for i in range(9))


def test_what_cannot_be_told_is_missing_and_counted() -> None:
    """Single draws and tests that stopped on their outcomes tell nothing of noise; it is NaN, not 0."""
    single = [says(solution(f"p{i}"), [(1, 1), (1, 1), (0, 1)], 2) for i in range(5)]
    found = audited(single).found["noise"]
    assert math.isnan(found["noise"].value)
    assert math.isnan(found["overdispersion"].value)
    assert (found["steps"], found["steps_of_one_draw"]) == (0, 15)
    stopped = [says(solution(f"p{i}"), [(3, 4), (1, 5), (0, 0)], 1, optional_stopping=True) for i in range(5)]
    found = audited(stopped).found["noise"]
    assert (found["steps"], found["steps_after_optional_stopping"]) == (0, 10)
    assert math.isnan(found["noise"].value)
    some = [says(solution(f"p{i}"), [(3, 4), (4, 4), (0, 4)], 2, truth="value", rule="any (...)") for i in range(5)]
    found = audited(some).found["noise"]
    assert math.isnan(found["noise"].value)
    assert not math.isnan(found["overdispersion"].value)


def test_the_summary_says_why_noise_is_not_known() -> None:
    """Draws that have no bar are not called missing, and a single draw is not called a repeated one."""

    def summary(tallies: list[tuple[int, int]], **fields: object) -> str:
        labelled = [says(solution(f"p{i}"), tallies, 2, **fields) for i in range(5)]
        return audit_report(audited(labelled), "labels", command="").summary

    assert "no repeated draws" in summary([(1, 1), (1, 1), (0, 1)])
    assert "no repeated draws of a fixed number" in summary([(3, 4), (1, 5), (0, 2)], optional_stopping=True)
    told = summary([(3, 4), (4, 4), (0, 4)], truth="value", source="rollouts", rule="any (...)")
    assert "no repeated draws" not in told
    assert "do not say from which rate on a step is good" in told
    assert "label noise 0." in summary([(9, 9), (8, 9), (0, 9)])


def test_shares_of_none_have_an_interval() -> None:
    """No rollout lost and no step close to its bar: a problem more could differ, so that Wilson's interval is given."""
    rule = {"truth": "value", "source": "rollouts", "rule": "relative (...)", "start": Tally(99, 99)}
    found = audited([says(solution(f"p{i}"), [(99, 99)] * 3, None, **rule) for i in range(8)]).found
    assert found["verifier"]["lost"] == found["noise"]["unsure"] == wilson(0, 8)
    assert found["noise"]["noise"] == wilson(0, 8)


def test_inputs_that_make_no_sense() -> None:
    """Nothing to audit, other solutions to compare with, shares that are none."""
    one = [says(solution("p"), [(1, 1)] * 3, None)]
    with pytest.raises(InputError, match="no labels"):
        audited([])
    with pytest.raises(InputError, match="labels of the same solutions"):
        audited(one, [says(solution("q"), [(1, 1)] * 3, None)])
    with pytest.raises(ConfigError, match="refused=1"):
        AuditConfig(refused=1.0)
