"""Evaluations as reports a person can look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from gradatim.core import Prefix
from gradatim.evaluate.first_error import Judged, f1_of, predict
from gradatim.evaluate.steps import reliability_charts, steps_of
from gradatim.evaluate.subset import SubsetResult
from gradatim.view.parts import Case, Cell, Curve, Histogram, Report, Series, Table

CASES = 12
"""Solutions shown in a report."""

_GRID = 40
"""Thresholds in a curve of F1 against the threshold."""


def processbench_report(results: Sequence[SubsetResult], model: str, *, command: str) -> Report:
    """The page of `gradatim evaluate processbench`."""
    every = [one for result in results for one in result.judged]
    return Report(
        title=f"ProcessBench: {model}",
        summary=_summary(results),
        command=command,
        facts={
            "model": model,
            **{f"threshold, {one.subset}": f"{one.thresholds.value:.4g} ({one.thresholds.source})" for one in results},
            **{
                f"{one.subset}: problems shared with the rows the threshold was chosen on": one.overlap
                for one in results
                if one.overlap
            },
        },
        tables=(_headline(results), _null_table(results)),
        curves=(threshold_curve({one.subset: one.judged for one in results}),),
        reliability=reliability_charts(
            "Share of right steps by score",
            steps_of(every),
            "Steps up to the first error, in bins of equal count. Below the diagonal: too sure of itself.",
        ),
        histograms=(score_histogram(every),),
        cases=tuple(_cases(results)),
    )


def threshold_curve(judged: Mapping[str, Sequence[Judged]]) -> Curve:
    """F1 of each group of solutions at thresholds over the range of its scores. For looking, not for choosing."""
    scores = [score for one in chain.from_iterable(judged.values()) for score in one.scores if score == score]
    inside = not scores or (min(scores) >= 0 and max(scores) <= 1)
    low, high = (0.0, 1.0) if inside else (min(scores), max(scores))
    grid = np.linspace(low, high, _GRID + 1)[1:].tolist()
    series = tuple(
        Series(
            name=name,
            x=tuple(grid),
            y=tuple(f1_of(group, [predict(one.scores, at) for one in group]) for at in grid),
        )
        for name, group in judged.items()
    )
    return Curve(
        title="F1 against the threshold",
        x_label="threshold",
        y_label="first-error F1",
        series=series,
        note="How much hangs on the threshold. To choose it by this curve would be to choose it on the evaluated rows.",
    )


def score_histogram(judged: Sequence[Judged], bins: int = 20) -> Histogram:
    """Scores of right steps and of first wrong steps."""
    steps = steps_of(judged)
    inside = not len(steps.scores) or (steps.scores.min() >= 0 and steps.scores.max() <= 1)
    edges = np.histogram_bin_edges(steps.scores, bins, range=(0.0, 1.0) if inside else None)
    groups = {"right steps": steps.right == 1, "first wrong steps": steps.right == 0}
    return Histogram(
        title="Scores of right and wrong steps",
        x_label="score",
        edges=tuple(edges.tolist()),
        counts={name: tuple(np.histogram(steps.scores[mask], edges)[0].tolist()) for name, mask in groups.items()},
        note="The less the two overlap, the better any threshold can part them.",
    )


def telling(judged: Sequence[Judged], predicted: Sequence[int | None], most: int = CASES) -> list[tuple[int, str]]:
    """Indices of the solutions that are worth a look, each with what is the matter: the surest ones of each kind.

    Kinds: an error was missed, a correct solution was called wrong, the wrong step was named; and, for comparison, hits.
    """
    kinds: dict[str, list[tuple[float, int]]] = {"missed": [], "false alarm": [], "wrong step": [], "found": []}
    for index, (one, said) in enumerate(zip(judged, predicted, strict=True)):
        scores = [score for score in one.scores if score == score]
        lowest = min(scores, default=0.0)
        if one.error is not None and said is None:
            kinds["missed"].append((-lowest, index))
        elif one.error is None and said is not None:
            kinds["false alarm"].append((lowest, index))
        elif one.error != said and one.error is not None:
            kinds["wrong step"].append((-one.scores[one.error], index))
        elif one.error is not None:
            kinds["found"].append((lowest, index))
    ranked = [[(index, kind) for _, index in sorted(found)] for kind, found in kinds.items()]
    dealt = [kind[place] for place in range(most) for kind in ranked if place < len(kind)]
    order = list(kinds)
    return sorted(dealt[:most], key=lambda item: order.index(item[1]))


def case(
    prefix: Prefix,
    one: Judged,
    said: int | None,
    *,
    title: str,
    value: float | None = None,
    facts: Mapping[str, str] | None = None,
) -> Case:
    """One judged solution as a case of a report."""
    return Case(
        title=title,
        prompt=prefix.prompt,
        steps=tuple(step.text for step in prefix.steps),
        scores=one.scores,
        predicted=said,
        true=one.error,
        true_known=True,
        value=value,
        facts=facts or {},
    )


def _cases(results: Sequence[SubsetResult]) -> list[Case]:
    each = max(4, CASES // max(len(results), 1))
    found = []
    for result in results:
        for index, kind in telling(result.judged, result.predicted, each):
            row = result.rows[index]
            facts = {"written by": row.author} if row.author else {}
            if row.answer_correct is not None:
                facts["final answer"] = "right" if row.answer_correct else "wrong"
            found.append(
                case(row.prefix, result.judged[index], result.predicted[index], title=f"{row.id}: {kind}", facts=facts)
            )
    return found


def _headline(results: Sequence[SubsetResult]) -> Table:
    columns = ("subset", "F1", "error accuracy", "correct accuracy", "right answer, wrong step", "threshold")
    rows: list[tuple[Cell, ...]] = [
        (
            one.subset,
            one.found.f1,
            one.found.error_accuracy,
            one.found.correct_accuracy,
            one.traps,
            one.thresholds.value,
        )
        for one in results
    ]
    return Table(
        title="First errors found",
        columns=columns,
        rows=tuple(rows),
        note="F1 is the harmonic mean of the accuracies on solutions with and without a wrong step; n counts problems.",
    )


def _null_table(results: Sequence[SubsetResult]) -> Table:
    names = {"always_correct": "always correct", "first_step": "first step", "random": "random", "length": "length"}
    return Table(
        title="F1 of rules that read nothing",
        columns=("subset", "this model", *names.values()),
        rows=tuple((one.subset, one.found.f1.value, *(one.nulls[name] for name in names)) for one in results),
        note="A model that does not clearly beat these has not been shown to find errors. Length: the best rule on the "
        "number of steps, chosen on other rows.",
    )


def _summary(results: Sequence[SubsetResult]) -> str:
    parts = []
    for one in results:
        best = max((value for value in one.nulls.values() if value == value), default=float("nan"))
        found = one.found.f1
        parts.append(f"{one.subset}: F1 {found.value:.3f} [{found.low:.3f}, {found.high:.3f}], best null {best:.3f}")
    return ". ".join(parts) + "."
