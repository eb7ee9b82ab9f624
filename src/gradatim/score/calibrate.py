"""Scores -> probabilities of something that is named: a step is valid, V under a policy, an answer is right.

A calibration is a monotone map of one number, fitted on problems of which the truth is known. What it maps to (`target`)
travels with it and with every score that it made. Maps, with s the score, logit(s) = ln s - ln(1 - s), sigma its inverse:

- temperature: sigma(logit(s) / T);
- Platt (1999): sigma(slope logit(s) + intercept);
- beta (Kull, Silva Filho and Flach 2017): sigma(a ln s - b ln(1 - s) + c), a, b >= 0;
- isotonic: the best ascending steps, straight lines between them.

Scores that are no probabilities (a Bradley-Terry value, a Q) stand in the place of logit(s); beta can't take them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim import records
from gradatim.core import REDUCTIONS, Prefix, Reduction, Score, Scorer
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.progress import Progress
from gradatim.score.reduce import STEP_REDUCTIONS, reduce
from gradatim.score.signature import same_model
from gradatim.score.stage import CountingScorer, Stats

Floats = NDArray[np.float64]

Method = Literal["temperature", "platt", "beta", "isotonic"]
METHODS: tuple[str, ...] = get_args(Method)
Truth = Literal["validity", "value", "answer"]
TRUTHS: tuple[str, ...] = get_args(Truth)
Scale = Literal["probability", "raw"]
SCALES: tuple[str, ...] = get_args(Scale)

_NEAREST = 1e-7
"""How near to 0 or 1 a score is taken at its word: what single precision can tell from 1."""

_FREE = 1e10
"""Inverse ridge penalty that is none: the targets are kept from 0 and 1 instead, as Platt does."""

_PARTS: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "platt": ("slope", "intercept"),
    "beta": ("a", "b", "c"),
    "isotonic": ("scores", "rates"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted map, and what it is a map to."""

    method: Method
    scale: Scale
    """Whether the scores that it takes are probabilities or any numbers."""
    numbers: Mapping[str, tuple[float, ...]]
    """The map's parameters by name, one number each; of isotonic the `scores` at which it bends and its `rates` there."""
    truth: Truth
    """"validity" and "value" are about steps; "answer" is about a whole solution's value."""
    target: str
    """The same in words: whose validity labels, or V under which policy."""
    scorer: str
    """Whose scores it takes."""
    checkpoint: str = ""
    """The model behind that name; empty where the scores that it was fitted on did not say."""
    reduction: Reduction | None = None
    """How the values that it takes were made of step scores, for "answer"."""
    items: int
    """Distinct prefixes, or solutions, that it was fitted on."""
    problems: int
    """Their problems."""

    @property
    def name(self) -> str:
        """The map, its target and a digest of its numbers: what a score says that it was calibrated by."""
        key = json.dumps({name: list(values) for name, values in sorted(self.numbers.items())})
        return f"{self.method}@{blake2b(key.encode(), digest_size=4).hexdigest()}: {self.target}"

    def __call__(self, scores: ArrayLike) -> Floats:
        """Scores -> probabilities, of any shape; NaN stays NaN. InputError for scores outside the map's scale."""
        values = np.asarray(scores, dtype=np.float64)
        if self.scale == "probability" and not _probabilities(values):
            raise InputError(
                f"{self.scorer}: a score outside 0 to 1", expected="probabilities, as those that the map was fitted on"
            )
        if self.method == "isotonic":
            mapped = np.interp(values, self.numbers["scores"], self.numbers["rates"])
            return np.where(np.isnan(values), np.nan, mapped)
        columns = _features(values, self.method, self.scale)
        match self.method:
            case "temperature":
                at = columns[..., 0] / self.numbers["temperature"][0]
            case "platt":
                at = columns[..., 0] * self.numbers["slope"][0] + self.numbers["intercept"][0]
            case _:
                a, b, c = (self.numbers[name][0] for name in ("a", "b", "c"))
                at = a * columns[..., 0] + b * columns[..., 1] + c
        return np.asarray(0.5 * (1 + np.tanh(at / 2)), dtype=np.float64)


# Applying


def calibrated(score: Score, calibration: Calibration) -> Score:
    """The score with calibrated numbers, which says so (`Score.calibrated`).

    For steps each step score is mapped, and the value is made of them again by the score's own reduction. For answers the
    value is mapped and its reduction becomes "outcome", as no reduction of the steps gives it; step scores stay. ConfigError
    for scores by another scorer, or another checkpoint of it, of another kind or reduction, or calibrated before.
    """
    _check(score, calibration)
    if calibration.truth == "answer":
        value = float(calibration(score.value))
        return replace(score, value=value, logits=None, reduction="outcome", calibrated=calibration.name)
    if not score.steps:
        return replace(score, calibrated=calibration.name)
    steps = tuple(calibration(score.steps).tolist())
    value = reduce(steps, score.reduction)
    return replace(score, value=value, steps=steps, logits=None, calibrated=calibration.name)


def _check(score: Score, calibration: Calibration) -> None:
    if score.calibrated:
        raise ConfigError(f"scores by {score.by!r} are calibrated already ({score.calibrated})")
    fits(calibration, score.by, score.checkpoint)
    if calibration.truth == "answer":
        if score.reduction != calibration.reduction:
            raise ConfigError(
                f"a calibration for values made by {calibration.reduction!r} can't take values made by {score.reduction!r}; "
                f"score with --reduction {calibration.reduction}"
            )
    elif score.reduction not in STEP_REDUCTIONS:
        raise ConfigError(
            f"a calibration for steps can't take scores by {score.by!r}, whose value is no reduction of steps; fit one for "
            "answers"
        )


def fits(calibration: Calibration, scorer: str, checkpoint: str) -> tuple[str, ...]:
    """Check that scores by this scorer are those that the calibration takes; ConfigError, or notes, as `same_model`."""
    remedy = "fit one for this model (gradatim calibrate)"
    return same_model("a calibration", (calibration.scorer, calibration.checkpoint), (scorer, checkpoint), remedy)


class CalibratedScorer:
    """A `Scorer` whose scores are calibrated; `stats` are those of the scorer inside."""

    def __init__(self, scorer: CountingScorer, calibration: Calibration | str | Path) -> None:
        """`calibration` may be the file that `gradatim calibrate --out` wrote. ConfigError if it is another scorer's, or
        another checkpoint's; where one of the two is not known, the notes of `stats` say so."""
        made = calibration if isinstance(calibration, Calibration) else read_calibration(calibration)
        self._notes = fits(made, scorer.name, scorer.checkpoint)
        self.scorer, self.calibration = scorer, made

    @property
    def name(self) -> str:
        return self.scorer.name

    @property
    def checkpoint(self) -> str:
        return self.scorer.checkpoint

    @property
    def stats(self) -> Stats:
        return self.scorer.stats + Stats(notes=self._notes)

    @property
    def threshold(self) -> float:
        """Below it a step is called wrong: the scorer's own, mapped as the steps are."""
        if self.calibration.truth == "answer":
            return self.scorer.threshold
        return float(self.calibration(self.scorer.threshold))

    def refused(self, prefixes: Sequence[Prefix]) -> list[InputError | None]:
        """As the scorer inside."""
        return self.scorer.refused(prefixes)

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        """A calibrated score a prefix."""
        return [calibrated(score, self.calibration) for score in self.scorer.score(prefixes, shown=shown)]


def uncalibrated(scorer: Scorer) -> Scorer:
    """The scorer that reads: the one inside a calibrated one."""
    return scorer.scorer if isinstance(scorer, CalibratedScorer) else scorer


# Fitting


def scale_of(scores: ArrayLike) -> Scale:
    """Whether all scores are probabilities."""
    return "probability" if _probabilities(np.asarray(scores, dtype=np.float64)) else "raw"


def fit_map(
    method: Method, scores: ArrayLike, good: ArrayLike, bad: ArrayLike, scale: Scale
) -> dict[str, tuple[float, ...]]:
    """The parameters of a map from scores to the share of `good` evidence in `good + bad`, by the largest likelihood.

    As Platt does, targets are kept a little from 0 and 1, so that scores which part all right from all wrong have a finite
    fit. ConfigError for beta on scores that are no probabilities; InputError for evidence of one kind only, or scores that
    don't rise with it; BackendError without scikit-learn.
    """
    values, yes, no = (np.asarray(column, dtype=np.float64) for column in (scores, good, bad))
    if method == "beta" and scale == "raw":
        raise ConfigError("beta calibration takes probabilities; give --method platt or isotonic for other scores")
    if not (yes.sum() > 0 and no.sum() > 0):
        raise InputError(
            f"{yes.sum():g} for and {no.sum():g} against", expected="evidence of both kinds to fit a calibration on"
        )
    if method == "isotonic":
        return _isotonic(values, yes, no)
    top, bottom = (yes.sum() + 1) / (yes.sum() + 2), 1 / (no.sum() + 2)
    yes, no = yes * top + no * bottom, yes * (1 - top) + no * (1 - bottom)
    columns = _features(values, method, scale)
    if method == "temperature":
        slopes, _ = _regress(columns, yes, no, intercept=False)
        return {"temperature": (1 / _rising(slopes[0]),)}
    slopes, shift = _regress(columns, yes, no, intercept=True)
    if method == "platt":
        return {"slope": (_rising(slopes[0]),), "intercept": (shift,)}
    kept = [k for k in range(2) if slopes[k] > 0]
    if len(kept) == 1:  # Kull et al.: a map that is to ascend leaves the other part out and is fitted again
        found, shift = _regress(columns[:, kept], yes, no, intercept=True)
        slopes = np.zeros(2)
        slopes[kept] = _rising(found[0])
    _rising(slopes.max())
    return {"a": (float(slopes[0]),), "b": (float(slopes[1]),), "c": (shift,)}


def _regress(columns: Floats, good: Floats, bad: Floats, *, intercept: bool) -> tuple[Floats, float]:
    """Logistic regression on evidence: each item stands there twice, once for and once against."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    model = LogisticRegression(C=_FREE, fit_intercept=intercept, solver="newton-cholesky", max_iter=200, tol=1e-8)
    sides = np.repeat([1, 0], len(columns))
    model.fit(np.concatenate([columns, columns]), sides, sample_weight=np.concatenate([good, bad]))
    return np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0]) if intercept else 0.0


def _isotonic(values: Floats, good: Floats, bad: Floats) -> dict[str, tuple[float, ...]]:
    try:
        from sklearn.isotonic import IsotonicRegression
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    weight = good + bad
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    model.fit(values, good / weight, sample_weight=weight)
    rates = np.asarray(model.y_thresholds_, dtype=np.float64)
    _rising(float(rates[-1] - rates[0]))
    return {"scores": tuple(map(float, model.X_thresholds_)), "rates": tuple(rates.tolist())}


def _missing(error: ModuleNotFoundError) -> BackendError:
    return BackendError(f"fitting a calibration needs {error.name}; run: pip install 'gradatim[learned]'")


def _rising(slope: float) -> float:
    if not slope > 0:
        raise InputError(
            "scores that don't rise with what is true",
            expected="higher scores where more is right",
            fix="check that scores and labels belong together; no ascending map helps these scores",
        )
    return float(slope)


def _features(values: Floats, method: Method, scale: Scale) -> Floats:
    """(..., columns): what the map is linear in."""
    if scale == "raw":
        return values[..., None]
    inside = np.clip(values, _NEAREST, 1 - _NEAREST)
    good, bad = np.log(inside), -np.log1p(-inside)
    return np.stack([good, bad], axis=-1) if method == "beta" else (good + bad)[..., None]


def _probabilities(values: Floats) -> bool:
    return bool((np.isnan(values) | ((values >= 0) & (values <= 1))).all())


# Files


def write_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write it as one JSON object that a person can read."""
    numbers = {name: list(values) for name, values in calibration.numbers.items()}
    row = {name: getattr(calibration, name) for name in calibration.__dataclass_fields__}
    records.write_rows(path, [{"schema": "gradatim.calibration/1", **row, "numbers": numbers}])


def read_calibration(path: str | Path) -> Calibration:
    """What `write_calibration` wrote; InputError for anything else."""
    rows = list(records.read_rows(path))
    if len(rows) != 1 or records.schema_of(rows[0]) != "calibration":
        raise InputError("no calibration", expected="one object of gradatim.calibration/1", file=path)
    row = rows[0]
    method = cast(Method, row.choice("method", METHODS, ""))
    reduction = cast(Any, row.choice("reduction", REDUCTIONS, "")) or None
    return Calibration(
        method=method,
        scale=cast(Any, row.choice("scale", SCALES, "probability")),
        numbers=_numbers(row, method),
        truth=cast(Any, row.choice("truth", TRUTHS, "validity")),
        target=row.text("target"),
        scorer=row.text("scorer"),
        checkpoint=row.optional_text("checkpoint") or "",
        reduction=reduction,
        items=row.count("items") or 0,
        problems=row.count("problems") or 0,
    )


def _numbers(row: records.Row, method: Method) -> dict[str, tuple[float, ...]]:
    given = row.data.get("numbers")
    wanted = _PARTS.get(method, ())
    if not isinstance(given, dict) or not wanted or set(given) != set(wanted):
        raise row.error(f"numbers: {records.shown(given)}", expected=f"numbers of {method}: {', '.join(wanted)}")
    inside = row.inside(given)
    found = {name: tuple(row.number(name, value) for value in inside.items(name)) for name in wanted}
    lengths = {len(values) for values in found.values()}
    ascending = all(list(values) == sorted(values) for values in found.values())
    if any(math.isnan(value) for values in found.values() for value in values):
        raise row.error("numbers with null", expected="finite numbers")
    if method == "isotonic":
        if len(lengths) != 1 or lengths == {0} or not ascending:
            raise row.error("scores and rates that don't ascend together", expected="ascending scores and rates")
    elif lengths != {1} or (method == "temperature" and found["temperature"][0] <= 0):
        raise row.error(f"numbers: {records.shown(given)}", expected="one number each, a temperature above 0")
    return found
