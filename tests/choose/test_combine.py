"""Blends and ensembles: the numbers by their definitions, the scores, and the scorers' law."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Prefix, Score, Step
from gradatim.errors import ConfigError
from gradatim.score.combine import Blend, Ensemble, blend, combine, disagreement, ensemble, ranks

NAN = math.nan
VALUES = st.floats(-5, 5, allow_nan=False)
TABLES = st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n), min_size=1, max_size=4))


def prm(by: str, *steps: float, reduction: str = "min") -> Score:
    value = min(steps) if reduction == "min" else sum(steps) / len(steps)
    return Score(value=value, steps=steps, reduction=reduction, by=by)  # type: ignore[arg-type]


def orm(by: str, value: float) -> Score:
    return Score(value=value, by=by)


@given(TABLES, st.floats(0, 3))
def test_numbers_are_what_their_names_say(table: list[list[float]], penalty: float) -> None:
    """Mean, worst, mean minus penalty times variance, and deviation, item by item against the standard library."""
    columns = list(zip(*table, strict=True))

    assert combine(table, "mean").tolist() == pytest.approx([statistics.fmean(c) for c in columns])
    assert combine(table, "worst").tolist() == [min(c) for c in columns]
    expected = [statistics.fmean(c) - penalty * statistics.pvariance(c) for c in columns]
    assert combine(table, "penalised", penalty=penalty).tolist() == pytest.approx(expected, abs=1e-9)
    assert disagreement(table).tolist() == pytest.approx([statistics.pstdev(c) for c in columns], abs=1e-9)


@given(st.lists(VALUES | st.just(NAN), max_size=9))
def test_a_rank_is_the_share_of_items_below(values: list[float]) -> None:
    """Ties and the item itself count half; what has no value has no rank and counts for nobody."""
    seen = [x for x in values if not math.isnan(x)]
    for value, rank in zip(values, ranks(values).tolist(), strict=True):
        if math.isnan(value):
            assert math.isnan(rank)
        else:
            assert rank == pytest.approx(sum((x < value) + 0.5 * (x == value) for x in seen) / len(seen))


@given(TABLES)
def test_a_rank_needs_no_common_scale(table: list[list[float]]) -> None:
    """Each member may be rescaled in its own way; a mean of values would follow."""
    other = [[2.0**k * value for value in row] for k, row in enumerate(table)]

    assert combine(table, "rank").tolist() == pytest.approx(combine(other, "rank").tolist())


def test_a_silent_member_is_no_low_score() -> None:
    """Without one member's value there is none, under every rule."""
    for how in ("mean", "worst", "penalised", "rank"):
        found = combine([[0.5, NAN], [0.1, 0.9]], how)  # type: ignore[arg-type]
        assert not math.isnan(found[0])
        assert math.isnan(found[1])


def test_a_blend_weighs_the_outcome_and_the_mean_or_weakest_step() -> None:
    """alpha * outcome + (1 - alpha) * mean or min, observations passed over; the steps stay, the name says all of it."""
    outcome, process = orm("o", 0.2), prm("p", 0.9, NAN, 0.5, reduction="mean")

    mean, least = blend(outcome, process, alpha=0.25), blend(outcome, process, alpha=0.25, how="min")

    assert mean.value == pytest.approx(0.25 * 0.2 + 0.75 * 0.7)
    assert least.value == pytest.approx(0.25 * 0.2 + 0.75 * 0.5)
    assert mean.by == "0.25 * o + 0.75 * mean p"
    assert (mean.steps[0], mean.steps[2], mean.reduction) == (0.9, 0.5, "outcome")
    assert blend(orm("o", NAN), process, alpha=0).value == pytest.approx(0.7)
    assert blend(outcome, prm("p", NAN, NAN), alpha=1).value == 0.2


def test_what_cannot_be_blended_is_refused() -> None:
    """A weight outside [0, 1], a reduction that is none of the two, an outcome model in the process's place."""
    with pytest.raises(ConfigError, match="0 to 1"):
        blend(orm("o", 0.2), prm("p", 0.9), alpha=1.5)
    with pytest.raises(ConfigError, match="mean or min"):
        blend(orm("o", 0.2), prm("p", 0.9), how="last")
    with pytest.raises(ConfigError, match="no step scores"):
        blend(orm("o", 0.2), orm("p", 0.9))


def test_values_and_steps_are_different_things_to_combine() -> None:
    """The mean of the smallest scores is not the smallest mean score: models that fault different steps differ in it."""
    members = [[prm("a", 0.9, 0.1)], [prm("b", 0.1, 0.9)]]

    [values], [steps] = ensemble(members, "mean"), ensemble(members, "mean", over="steps")

    assert values.score.value == pytest.approx(0.1)
    assert values.score.steps == ()
    assert values.disagreement == pytest.approx(0.0)
    assert steps.score.value == pytest.approx(0.5)
    assert steps.score.steps == pytest.approx((0.5, 0.5))
    assert steps.step_disagreement == pytest.approx((0.4, 0.4))
    assert (values.score.by, steps.score.by) == ("mean(a, b)", "mean of steps(a, b)")
    assert values.score.reduction == steps.score.reduction == "min"


def test_members_are_reduced_alike_on_request() -> None:
    """With a reduction all members with steps take it; an outcome model keeps its value, and the result says so."""
    members = [[prm("a", 0.9, 0.1), prm("a", 0.6, 0.4)], [orm("b", 0.3), orm("b", 0.8)]]

    found = ensemble(members, "mean", reduction="mean")

    assert [one.score.value for one in found] == pytest.approx([0.4, 0.65])
    assert found[0].score.reduction == "outcome"


def test_ranks_of_steps_are_among_all_steps() -> None:
    """Over steps a rank is among the steps of all the candidates together."""
    members = [[prm("a", 0.9, 0.2), prm("a", 0.5)], [prm("b", 30.0, 10.0), prm("b", 20.0)]]

    found = ensemble(members, "rank", over="steps")

    assert found[0].score.steps == pytest.approx((5 / 6, 1 / 6))
    assert found[1].score.steps == pytest.approx((3 / 6,))
    assert found[0].score.value == pytest.approx(1 / 6)


def test_what_cannot_be_combined_is_refused() -> None:
    """Steps that a member lacks, no common reduction, lists that don't belong together, unknown words."""
    a, b = [prm("a", 0.5, 0.6)], [prm("b", 0.5, 0.6, reduction="mean")]
    with pytest.raises(ConfigError, match="gives no step scores"):
        ensemble([a, [orm("o", 0.1)]], over="steps", reduction="min")
    with pytest.raises(ConfigError, match="no common reduction"):
        ensemble([a, b], over="steps")
    with pytest.raises(ValueError, match="different numbers of steps"):
        ensemble([a, [prm("b", 0.5)]], over="steps")
    with pytest.raises(ValueError, match="one list of scores a member"):
        ensemble([a, []])
    with pytest.raises(ConfigError, match="expected one of mean"):
        ensemble([a, b], "median")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="from 0 on"):
        ensemble([a, b], "penalised", penalty=-1)


class Lengths:
    """A `Scorer` for tests: a step scores 1 / (its length + shift), or the whole solution does."""

    def __init__(self, name: str, shift: int, *, steps: bool = True) -> None:
        self.name, self.shift, self.steps = name, shift, steps

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        found = [tuple(1 / (len(step.text) + self.shift) for step in prefix.steps) for prefix in prefixes]
        if not self.steps:
            return [orm(self.name, sum(steps)) for steps in found]
        return [Score(value=min(s), steps=s, reduction="min", by=self.name) for s in found]


PREFIXES = [Prefix("p", "?", (Step("one"), Step("three"))), Prefix("p", "?", (Step("a longer one"),))]


def test_an_ensemble_scores_a_batch_as_its_members_alone() -> None:
    """The law of a scorer, for each rule that can keep it, and for a blend."""
    a, b = Lengths("a", 1), Lengths("b", 4)
    scorers = [Ensemble([a, b], "mean"), Ensemble([a, b], "worst", over="steps"), Ensemble([a, b], "penalised")]
    for scorer in [*scorers, Blend(Lengths("o", 2, steps=False), a, alpha=0.3, how="min")]:
        together = scorer.score(PREFIXES)
        assert together == [scorer.score([prefix])[0] for prefix in PREFIXES]
        assert {score.by for score in together} == {scorer.name}
    assert Ensemble([a, b]).combined(PREFIXES)[1].disagreement == pytest.approx((1 / 13 - 1 / 16) / 2)


def test_a_rank_is_no_scorer() -> None:
    """A rank would change with the batch: it is refused as a scorer, with the way to have it."""
    with pytest.raises(ConfigError, match="give the scores to `ensemble`"):
        Ensemble([Lengths("a", 1)], "rank")
    with pytest.raises(ConfigError, match="at least one"):
        Ensemble([])
