"""Maps from scores to probabilities: they find the truth that made the data, and they travel with the scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradatim import records
from gradatim.core import Prefix, Score, Step
from gradatim.errors import ConfigError, InputError
from gradatim.problems.sources import load_problems
from gradatim.progress import Progress
from gradatim.score.calibrate import (
    CalibratedScorer,
    Calibration,
    Method,
    calibrated,
    fit_map,
    read_calibration,
    write_calibration,
)
from gradatim.score.combine import blend, revalued
from gradatim.score.opening import Opening, open_scorer
from gradatim.score.stage import Stats

Floats = NDArray[np.float64]
GRID = np.linspace(0.02, 0.98, 49)
MANY = 1e6


def sigmoid(at: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-at)))


def made(method: Method, numbers: dict[str, tuple[float, ...]], **changes: Any) -> Calibration:
    """A calibration of steps with these numbers."""
    plain: dict[str, Any] = {"scale": "probability", "truth": "validity", "target": "valid", "scorer": "m"}
    return Calibration(method=method, numbers=numbers, items=1, problems=1, **{**plain, **changes})


ODDS = np.log(GRID / (1 - GRID))
TRUTHS: list[tuple[Method, Callable[[Floats], Floats], dict[str, float]]] = [
    ("temperature", lambda s: sigmoid(ODDS / 2.5), {"temperature": 2.5}),
    ("platt", lambda s: sigmoid(0.6 * ODDS - 0.8), {"slope": 0.6, "intercept": -0.8}),
    ("beta", lambda s: sigmoid(0.4 * np.log(s) - 1.7 * np.log(1 - s) + 0.3), {"a": 0.4, "b": 1.7, "c": 0.3}),
]


@pytest.mark.parametrize(("method", "truth", "numbers"), TRUTHS, ids=[one[0] for one in TRUTHS])
def test_the_map_that_made_the_evidence_is_found(
    method: Method, truth: Callable[[Floats], Floats], numbers: dict[str, float]
) -> None:
    """With evidence in exactly the true proportions the fit has the true parameters, and maps to the true rates."""
    rates = truth(GRID)
    found = fit_map(method, GRID, MANY * rates, MANY * (1 - rates), "probability")

    assert {name: value for name, (value,) in found.items()} == pytest.approx(numbers, rel=1e-3, abs=1e-3)
    assert made(method, found)(GRID) == pytest.approx(rates, abs=1e-3)


def test_raw_scores_take_the_place_of_log_odds() -> None:
    """A score that is no probability is what Platt's map is linear in; beta can't take it."""
    values = np.linspace(-6, 9, 40)
    rates = sigmoid(0.5 * values - 1)
    found = fit_map("platt", values, MANY * rates, MANY * (1 - rates), "raw")

    assert (found["slope"][0], found["intercept"][0]) == pytest.approx((0.5, -1), abs=1e-3)
    with pytest.raises(ConfigError, match="beta calibration takes probabilities"):
        fit_map("beta", values, rates, 1 - rates, "raw")


def pooled(rates: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The best ascending fit, by pooling adjacent violators as the books have it."""
    blocks: list[list[float]] = []
    for rate, weight in zip(rates, weights, strict=True):
        blocks.append([rate, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            r, w, n = blocks.pop()
            before = blocks[-1]
            total = before[1] + w
            blocks[-1] = [(before[0] * before[1] + r * w) / total, total, before[2] + n]
    return [rate for rate, _, n in blocks for _ in range(int(n))]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=2, max_size=8))
def test_isotonic_pools_adjacent_violators(evidence: list[tuple[int, int]]) -> None:
    """At the scores that it was fitted on the isotonic map is the pooled rate; between them it goes straight."""
    good = np.array([min(g, n) for g, n in evidence], dtype=float)
    total = np.array([n for _, n in evidence], dtype=float)
    scores = np.arange(1, len(good) + 1) / (len(good) + 1)
    expected = pooled((good / total).tolist(), total.tolist())
    if expected[0] == pytest.approx(expected[-1]):
        with pytest.raises(InputError):
            fit_map("isotonic", scores, good, total - good, "probability")
        return

    found = made("isotonic", fit_map("isotonic", scores, good, total - good, "probability"))

    assert found(scores) == pytest.approx(expected)
    middle = (scores[:-1] + scores[1:]) / 2
    assert found(middle) == pytest.approx((np.array(expected[:-1]) + np.array(expected[1:])) / 2)
    assert found([0.0, 1.0]) == pytest.approx([expected[0], expected[-1]])


@pytest.mark.parametrize("method", ["temperature", "platt", "beta"])
def test_scores_that_part_all_right_from_all_wrong_have_a_finite_map(method: Method) -> None:
    """Few separable items: the map ascends, and says neither 0 nor 1."""
    found = made(method, fit_map(method, [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], [1, 1, 0, 0], "probability"))

    mapped = found([0.1, 0.2, 0.8, 0.9])
    assert (np.diff(mapped) > 0).all()
    assert 0 < mapped[0] < mapped[-1] < 1


@pytest.mark.parametrize("method", ["temperature", "platt", "beta", "isotonic"])
def test_scores_that_fall_with_the_truth_are_refused(method: Method) -> None:
    """No ascending map helps scores that are the wrong way round; nor is there one for evidence of one kind."""
    with pytest.raises(InputError, match="don't rise"):
        fit_map(method, GRID, MANY * (1 - GRID), MANY * GRID, "probability")
    with pytest.raises(InputError, match="evidence of both kinds"):
        fit_map(method, GRID, np.ones(49), np.zeros(49), "probability")


def test_beta_leaves_out_the_part_that_would_descend() -> None:
    """Where the free fit has a negative part, that part is 0 and the other is fitted alone."""
    rates = sigmoid(1.5 * np.log(GRID) + 0.4 * np.log(1 - GRID) + 2)
    found = fit_map("beta", GRID, MANY * rates, MANY * (1 - rates), "probability")

    assert found["b"] == (0.0,)
    assert found["a"][0] > 0
    assert (np.diff(made("beta", found)(GRID)) > 0).all()


TEMPERED = made("temperature", {"temperature": (2.0,)})


def test_steps_are_mapped_and_the_value_is_made_of_them_again() -> None:
    """sigma(logit / 2) of .9 is 3 / (3 + 1); NaN stays NaN; the product is that of the mapped steps."""
    score = Score(value=0.45, steps=(0.9, math.nan, 0.5), logits=(2.2, math.nan, 0.0), reduction="prod", by="m")
    found = calibrated(score, TEMPERED)

    assert found.steps == pytest.approx((0.75, math.nan, 0.5), nan_ok=True)
    assert found.value == pytest.approx(0.375)
    assert (found.logits, found.reduction, found.calibrated) == (None, "prod", TEMPERED.name)
    assert "valid" in found.calibrated
    assert TEMPERED.name in str(replace(found, prefix=None))


def test_an_answers_value_is_mapped_and_its_steps_are_not() -> None:
    """The reduction becomes "outcome"; another reduction of the steps is no longer calibrated, nor is a blend."""
    to_answers = made("temperature", {"temperature": (2.0,)}, truth="answer", reduction="min")
    found = calibrated(Score(value=0.9, steps=(0.95, 0.9), reduction="min", by="m"), to_answers)

    assert (found.value, found.steps, found.reduction) == (pytest.approx(0.75), (0.95, 0.9), "outcome")
    assert revalued(found, "last").calibrated == ""
    assert revalued(calibrated(Score(value=0.9, steps=(0.9,), reduction="min", by="m"), TEMPERED), "last").calibrated
    assert blend(found, found).calibrated == ""


def test_what_does_not_belong_together_is_refused() -> None:
    """Another scorer, another reduction, a second time, a score outside the scale, a value that no steps made."""
    score = Score(value=0.9, steps=(0.9,), reduction="min", by="m")
    to_answers = made("temperature", {"temperature": (2.0,)}, truth="answer", reduction="last")

    with pytest.raises(ConfigError, match="'other'"):
        calibrated(replace(score, by="other"), TEMPERED)
    with pytest.raises(ConfigError, match="--reduction last"):
        calibrated(score, to_answers)
    with pytest.raises(ConfigError, match="calibrated already"):
        calibrated(calibrated(score, TEMPERED), TEMPERED)
    with pytest.raises(ConfigError, match="no reduction of steps"):
        calibrated(replace(score, reduction="outcome"), TEMPERED)
    with pytest.raises(InputError, match="outside 0 to 1"):
        TEMPERED([1.2])


class Constant:
    """A scorer that gives every step .9."""

    name, checkpoint, threshold, stats = "m", "", 0.9, Stats(tokens_processed=7)

    def refused(self, prefixes: Sequence[Prefix]) -> list[InputError | None]:
        return [None] * len(prefixes)

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        return [Score(value=0.9, steps=(0.9,) * len(one.steps), reduction="min", by=self.name) for one in prefixes]


def test_a_calibrated_scorer_calls_the_same_steps_wrong(tmp_path: Path) -> None:
    """From the file: scores are mapped, and so is the threshold; the costs are those of the scorer inside."""
    write_calibration(tmp_path / "map.json", TEMPERED)
    scorer = CalibratedScorer(Constant(), tmp_path / "map.json")
    [found] = scorer.score([Prefix("p", "q", (Step("a"), Step("b")))])

    assert found.steps == pytest.approx((0.75, 0.75))
    assert scorer.threshold == pytest.approx(0.75)
    assert (scorer.name, scorer.stats.tokens_processed, scorer.refused([])) == ("m", 7, [])
    with pytest.raises(ConfigError, match="can't take scores by 'm'"):
        CalibratedScorer(Constant(), replace(TEMPERED, scorer="n"))


def test_the_flag_calibrates_what_a_command_opens(tmp_path: Path) -> None:
    """The model that ships, under a map for it: its scores say so, also from their file; what needs the model itself
    refuses the flag."""
    mine = replace(TEMPERED, scorer="lab-prm")
    write_calibration(tmp_path / "map.json", mine)
    opening = Opening(calibration=str(tmp_path / "map.json"))
    [problem] = load_problems("lab:test:1")
    prefix = problem.start().then(Step("Answer: 3\n"))
    [plain], [found] = (open_scorer("lab", one, device="cpu").score([prefix]) for one in (Opening(), opening))
    records.write_scores(tmp_path / "scores.jsonl", [("s", found)])

    assert found.steps == pytest.approx(mine(plain.steps).tolist())
    assert records.read_scores(tmp_path / "scores.jsonl")[0][1].calibrated == mine.name
    with pytest.raises(ConfigError, match="needs the model itself"):
        opening.asked()


@pytest.mark.parametrize(
    "one",
    [
        TEMPERED,
        made("beta", {"a": (1.0,), "b": (0.5,), "c": (-0.25,)}, truth="value"),
        made("isotonic", {"scores": (0.1, 0.4), "rates": (0.0, 1.0)}, truth="answer", reduction="min"),
        made("platt", {"slope": (1.5,), "intercept": (0.0,)}, scale="raw"),
    ],
    ids=["temperature", "beta", "isotonic", "platt"],
)
def test_a_calibration_comes_back_from_its_file(tmp_path: Path, one: Calibration) -> None:
    """The same object, and the same name."""
    write_calibration(tmp_path / "map.json", one)
    again = read_calibration(tmp_path / "map.json")

    assert again == one
    assert again.name == one.name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"numbers": {"temperature": [-1.0]}}, "above 0"),
        ({"numbers": {"slope": [1.0]}}, "numbers of temperature"),
        ({"method": "magic"}, "one of temperature, platt"),
        ({"method": "isotonic", "numbers": {"scores": [0.5, 0.1], "rates": [0, 1]}}, "don't ascend"),
        ({"numbers": {"temperature": [None]}}, "finite"),
        ({"more": 1}, "only the fields"),
        ({"schema": "gradatim.score/1"}, "field|calibration"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    """What was found and what was expected, with the file's name."""
    path = tmp_path / "map.json"
    write_calibration(path, TEMPERED)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(InputError, match=told) as error:
        read_calibration(path)
    assert "map.json" in str(error.value)
