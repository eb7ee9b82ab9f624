"""What report.json says, as charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradatim.view.evaluation.tables import Found
from gradatim.view.parts import Curve, Series

REFERENCE = 6
"""The page's grey, for what is no model."""

LEAST = 5
"""Solutions of one length below which its mean is not drawn."""

_STEPS = {"prmbench": "All labelled steps of modified solutions"}
"""Whose reliability is drawn, where steps after a first error have labels too."""

_PALETTE = (0, 1, 2, 3, 4, 5, 7)
"""The other colours, in turn for models."""


def curves_of(subsets: Sequence[Sequence[Found]], models: Sequence[str]) -> list[Curve]:
    """The charts of a suite, those of one kind together; a model has the same colour in all of them."""
    tones = {name: _PALETTE[index % len(_PALETTE)] for index, name in enumerate(models)}
    made = [
        *(_reliability(some, tones) for some in subsets),
        *(_by_n(some, tones) for some in subsets),
        *(_by_threshold(some, tones) for some in subsets),
        *(one for some in subsets for one in _by_length(some, tones)),
    ]
    return [one for one in made if one is not None]


def _reliability(results: Sequence[Found], tones: Mapping[str, int]) -> Curve | None:
    series = []
    for one in results:
        bins = one["curves"].get("reliability") or []
        if not bins or not _inside(bin["score"] for bin in bins):
            continue
        right = [_ends(bin["right"]) for bin in bins]
        series.append(_series(one, tones, [bin["score"] for bin in bins], *zip(*right, strict=True)))
    if not series:
        return None
    suite = results[0]["suite"]
    pool = suite == "pool"
    even = Series(name="calibrated", x=(0.0, 1.0), y=(0.0, 1.0), colour=REFERENCE)
    return Curve(
        title=f"Reliability: {results[0]['subset']}",
        x_label="value of the candidate" if pool else "mean score of the steps",
        y_label="share with a right answer" if pool else "share that is right",
        series=(*series, even),
        note="Models whose scores lie between 0 and 1. Below the diagonal: too sure. "
        + ("" if pool else f"{_STEPS.get(suite, 'Steps up to the first error')}, in bins of equal count."),
    )


def _by_length(results: Sequence[Found], tones: Mapping[str, int]) -> list[Curve]:
    """Scores between 0 and 1 share a chart with the share that is right; other scales have one each."""
    known = [(one, points) for one in results if (points := _enough(one["curves"].get("score_by_length") or ()))]
    alike = [pair for pair in known if _inside(point["mean_score"] for point in pair[1])]
    charts = [alike, *([pair] for pair in known if pair not in alike)]
    return [_length_chart(some, tones, joint=some is alike) for some in charts if some]


def _enough(points: Sequence[Found]) -> list[Found]:
    return [point for point in points if point["solutions"] >= LEAST]


def _length_chart(pairs: Sequence[tuple[Found, Any]], tones: Mapping[str, int], *, joint: bool) -> Curve:
    one, points = pairs[0]
    series = [
        _series(one, tones, [point["steps"] for point in points], [point["mean_score"] for point in points])
        for one, points in pairs
    ]
    if joint:
        xs, ys = tuple(float(point["steps"]) for point in points), tuple(point["correct"] for point in points)
        series.append(Series(name="share right", x=xs, y=ys, colour=REFERENCE))
    beside = "Grey: the share of such solutions that is right. " if joint else ""
    return Curve(
        title=f"Score against length: {one['subset']}" + ("" if joint else f", {one['model']}"),
        x_label="steps of the solution",
        y_label="mean step score",
        series=tuple(series),
        note=f"{beside}A score that follows length more than truth does is a length proxy. Lengths of fewer than {LEAST} "
        "solutions are left out.",
    )


def _by_threshold(results: Sequence[Found], tones: Mapping[str, int]) -> Curve | None:
    series = [
        _series(one, tones, curve["x"], [math.nan if y is None else y for y in curve["y"]])
        for one in results
        if (curve := one["curves"].get("f1_by_threshold"))
    ]
    if not series:
        return None
    return Curve(
        title=f"F1 against the threshold: {results[0]['subset']}",
        x_label="threshold",
        y_label="F1",
        series=tuple(series),
        note="For looking: a threshold chosen by this curve would be chosen on the evaluated rows.",
    )


def _by_n(results: Sequence[Found], tones: Mapping[str, int]) -> Curve | None:
    known = [(one, points) for one in results if (points := one["curves"].get("accuracy_by_n"))]
    if not known:
        return None
    series = [_of_n(one["model"], points, "best_of_n", tones[one["model"]]) for one, points in known]
    points = known[0][1]
    series += [_of_n(name, points, key, REFERENCE) for name, key in (("majority", "majority"), ("any right", "oracle"))]
    return Curve(
        title=f"Accuracy against n: {results[0]['subset']}",
        x_label="candidates n",
        y_label="share of problems solved",
        series=tuple(series),
        log_x=True,
        note="Exact over all choices of n of a problem's candidates; bands are 95 % intervals over problems.",
    )


def _of_n(name: str, points: Sequence[Found], key: str, tone: int) -> Series:
    y, low, high = zip(*(_ends(point[key]) for point in points), strict=True)
    return Series(name=name, x=tuple(point["n"] for point in points), y=y, low=low, high=high, colour=tone)


def _series(one: Found, tones: Mapping[str, int], x: Iterable[float], *rest: Iterable[float]) -> Series:
    columns: list[tuple[float, ...]] = [*map(tuple, rest), (), ()]
    y, low, high = columns[:3]
    return Series(name=one["model"], x=tuple(x), y=y, low=low, high=high, colour=tones[one["model"]])


def _ends(found: Found) -> tuple[float, float, float]:
    value, low, high = (math.nan if found[name] is None else float(found[name]) for name in ("value", "low", "high"))
    return value, low, high


def _inside(values: Iterable[float | None]) -> bool:
    return all(value is not None and 0 <= value <= 1 for value in values)
