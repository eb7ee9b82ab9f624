"""A process reward model against exact truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Score
from gradatim.evaluate.first_error import Judged
from gradatim.evaluate.lab import Chosen, against_truth, judged, validity
from gradatim.evaluate.pages import telling, threshold_curve
from gradatim.evaluate.steps import calibration_error, reliability_bins, step_auroc, steps_of
from gradatim.stats import ece, reliability


def honest(problems: int, each: int = 4, steps: int = 5) -> list[Judged]:
    """Solutions whose step scores are the true chances that each step is right."""
    rng = np.random.default_rng(0)
    rows = []
    for problem in range(problems):
        for _ in range(each):
            scores = rng.uniform(0.3, 1.0, size=steps)
            rows.append(judged(f"p{problem}", scores.tolist(), (rng.uniform(size=steps) < scores).tolist()))
    return rows


def test_truth_and_scores_side_by_side():
    """The first error is the first step that is not right; a missing truth is refused."""
    score = Score(value=0.1, steps=(0.9, 0.2, 0.1), reduction="min", by="m")

    assert judged("p", score, (True, False, True)).error == 1
    assert judged("p", score, (True, True, True)).error is None
    with pytest.raises(ValueError, match="3 step scores for the truth about 2 steps of problem p"):
        judged("p", score, (True, True))


def test_steps_after_the_first_error_do_not_count():
    """Only steps up to the first error are right or wrong by every convention; unscored steps are left out."""
    steps = steps_of(
        [
            Judged(problem="a", scores=(0.9, math.nan, 0.2, 0.7), error=2),
            Judged(problem="b", scores=(0.8, 0.6), error=None),
        ]
    )

    assert steps.scores.tolist() == [0.9, 0.2, 0.8, 0.6]
    assert steps.right.tolist() == [1, 0, 1, 1]
    assert steps.problems == ("a", "a", "b", "b")


def test_a_perfect_model_is_perfect_and_an_honest_one_is_calibrated():
    """Scores that are the truth find every error; true chances are calibrated, their square roots are too sure by .12."""
    rows = honest(300)
    truth = [
        Judged(problem=one.problem, scores=tuple(float(i != one.error) for i in range(5)), error=one.error)
        for one in rows
    ]

    bold = steps_of([Judged(problem=x.problem, scores=tuple(s**0.5 for s in x.scores), error=x.error) for x in rows])

    perfect, fair = against_truth(truth), against_truth(rows)

    assert perfect.first_error.f1.value == perfect.auroc.value == 1.0
    assert perfect.calibration_error.value == 0.0
    assert fair.calibration_error.value < 0.035
    assert calibration_error(bold).value == pytest.approx(np.mean(bold.scores - bold.scores**2), abs=0.02)
    assert fair.auroc.low < fair.auroc.value < fair.auroc.high < 1.0
    assert fair.solutions == 1200
    assert fair.steps == sum(one.n for one in reliability(steps_of(rows).scores, steps_of(rows).right))


def test_auroc_is_the_share_of_pairs_in_order():
    """Counted pair by pair, ties half."""
    steps = steps_of(honest(12))
    good, bad = steps.scores[steps.right == 1], steps.scores[steps.right == 0]
    pairs = [(a > b) + 0.5 * (a == b) for a in good for b in bad]

    assert step_auroc(steps).value == pytest.approx(sum(pairs) / len(pairs))


def test_models_are_compared_with_themselves_alone():
    """Two that rank perfectly, on scales of their own, have an AUROC of 1; what is measured of several is the mean."""
    rows = honest(30)

    def scored(good: float, bad: float) -> list[Judged]:
        return [
            Judged(problem=x.problem, scores=tuple(bad if i == x.error else good for i in range(5)), error=x.error)
            for x in rows
        ]

    low, high = scored(0.2, 0.1), scored(0.9, 0.8)
    both = against_truth(low, high)

    assert both.auroc.value == both.auroc.low == 1.0
    alone = [calibration_error(steps_of(one)).value for one in (low, high)]
    assert both.calibration_error.value == pytest.approx(sum(alone) / 2)
    assert step_auroc(steps_of(low + high)).value < 1.0


def test_the_interval_of_a_calibration_error_holds_the_estimate():
    """Also for an honest model, where plain resampling would put all resamples above it."""
    steps = steps_of(honest(40))

    found = calibration_error(steps)

    assert found.value == ece(steps.scores, steps.right)
    assert 0 <= found.low <= found.value <= found.high < 0.15


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.2001, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60))
def test_bins_are_those_of_stats(items: list[tuple[float, bool]]):
    """The bins with intervals hold the same steps as `stats.reliability`."""
    rows = [judged(f"p{i}", [score], [good]) for i, (score, good) in enumerate(items)]
    steps = steps_of(rows)

    found = reliability_bins(steps)

    expected = reliability(steps.scores, steps.right, 10)
    assert [(one.score, one.right.value, one.count) for one in found] == [
        (pytest.approx(one.score), pytest.approx(one.rate), one.n) for one in expected
    ]


def test_validity_of_chosen_solutions():
    """Shares of right steps, of wholly right solutions, and of those among right answers."""
    found = validity(
        [
            Chosen(problem="a", truth=(True, True), correct=True),
            Chosen(problem="b", truth=(True, False, True, True), correct=True),
            Chosen(problem="c", truth=(False, False), correct=False),
            Chosen(problem="d", truth=(True,), correct=True),
        ]
    )

    assert found.steps.value == pytest.approx((1 + 0.75 + 0 + 1) / 4)
    assert found.solutions.value == 0.5
    assert found.solutions_given_correct.value == pytest.approx(2 / 3)
    assert found.solutions_given_correct.n == 3


def test_no_right_answers_leave_no_share():
    """What can't be counted is NaN, not 0."""
    found = validity([Chosen(problem="a", truth=(False,), correct=False)])

    assert math.isnan(found.solutions_given_correct.value)
    assert found.solutions.value == 0.0


def test_telling_cases_are_the_surest_of_each_kind():
    """The error that was missed most surely comes first; hits are shown too; nothing is shown twice."""
    rows = [
        Judged(problem="a", scores=(0.9, 0.95), error=1),
        Judged(problem="b", scores=(0.6, 0.7), error=1),
        Judged(problem="c", scores=(0.1, 0.9), error=None),
        Judged(problem="d", scores=(0.2, 0.9), error=1),
        Judged(problem="e", scores=(0.9, 0.1), error=1),
        Judged(problem="f", scores=(0.9, 0.9), error=None),
    ]
    predicted = [None, None, 0, 0, 1, None]

    assert telling(rows, predicted) == [
        (0, "missed"),
        (1, "missed"),
        (2, "false alarm"),
        (3, "wrong step"),
        (4, "found"),
    ]
    assert telling(rows, predicted, most=2) == [(0, "missed"), (2, "false alarm")]


def test_the_threshold_curve_passes_through_the_measured_f1():
    """At each grid point the curve is the F1 of that threshold, so at 0.5 what the default protocol reports."""
    rows = honest(20)

    curve = threshold_curve({"lab": rows})

    (series,) = curve.series
    at = min(range(len(series.x)), key=lambda index: abs(series.x[index] - 0.5))
    assert series.y[at] == pytest.approx(against_truth(rows, threshold=series.x[at]).first_error.f1.value)
