"""What report.json says, as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradatim.core import Estimate
from gradatim.view.parts import Cell, Table
from gradatim.view.report import shown

Found = Mapping[str, Any]

SUITES = {
    "processbench": "ProcessBench",
    "prmbench": "PRMBench",
    "prm800k": "PRM800K",
    "mr-ben": "MR-Ben",
    "bigbench-mistake": "BIG-Bench Mistake",
    "lab": "The lab",
    "pairs": "Preference pairs",
    "reward-bench-2": "RewardBench 2",
    "rm-bench": "RM-Bench",
    "pool": "Best of n",
}
"""The suites as the page calls them."""

_MEASURES = {
    "f1": "F1",
    "prm_score": "PRMScore",
    "negative_f1": "F1 of wrong steps",
    "step_auroc": "AUROC of steps",
    "outcome_auroc": "AUROC of answers",
    "auroc_within_problems": "AUROC within problems",
    "solution_mcc": "Matthews' correlation",
}

_MEANT = {
    "f1": "F1 is the harmonic mean of the accuracies on solutions with and without a wrong step; a first wrong step has to be "
    "named exactly.",
    "prm_score": "PRMScore is the mean of the F1 of steps called right and of steps called wrong.",
    "accuracy": "The share of rows in which the better answer has the higher value.",
    "ties_score": "RewardBench 2's score of its Ties subset.",
}
_BEST_OF = "The share of problems whose chosen candidate is right; ties share evenly."


_MISTAKES = {
    "prmbench": "A mistake, PRMBench: a step on the wrong side of the threshold. How sure the model was of it: the largest "
    "distance of such a step from the threshold.",
    "pool": "A mistake, best of n: a wrong candidate has the highest value though there are right ones. How sure the model was "
    "of it: how far its choice is above the best right candidate.",
    "pairs": "A mistake, preferences: a rejected answer has the highest value. How sure the model was of it: how far that answer "
    "is above the best of those that should be chosen.",
}
_MISTAKE = (
    "A mistake, first wrong steps: the step is missed or misplaced, or a right solution is called wrong. How sure the model was "
    "of it: the largest distance from the threshold of a step on its wrong side, up to the first wrong step."
)


def mistake_meant(suite: str) -> str:
    """What the page takes for a mistake, and for a sure one."""
    return _MISTAKES.get("pairs" if suite in ("reward-bench-2", "rm-bench") else suite, _MISTAKE)


def measure_name(name: str) -> str:
    """A measure as the page calls it."""
    if name.startswith("best_of_"):
        return f"best of {name.removeprefix('best_of_')}"
    return _MEASURES.get(name, name.replace("_", " ").replace("prm score", "PRMScore"))


def estimate(found: Mapping[str, Any] | None) -> Estimate | None:
    """An estimate of report.json; None where there is none."""
    if found is None or found["value"] is None:
        return None
    low, high = (math.nan if found[end] is None else found[end] for end in ("low", "high"))
    return Estimate(found["value"], low, high, found["n"])


def results_of(found: Found, suite: str) -> list[Found]:
    """The results of one suite, subset after subset."""
    return [one for one in found["results"] if one["suite"] == suite]


def best_null(one: Found, measure: str) -> str | None:
    """The rule without a model that has the highest value of a measure; None where no rule has one."""
    values = {name: some["value"] for name, some in one["nulls"].get(measure, {}).items() if some["value"] is not None}
    return max(values, key=lambda name: values[name]) if values else None


def headline(found: Found, suite: str) -> Table:
    """The first number of each model on each subset, with the best rule beside it."""
    results = results_of(found, suite)
    measures = {one["headline"] for one in results}
    several = len({one["subset"] for one in results}) > 1
    first = ("subset", "model") if several else ("model",)
    name = measure_name(measures.pop()) if len(measures) == 1 else "value"
    rows = [_headline(one, several) for one in results]
    return Table(
        title=SUITES[suite],
        columns=(*first, name, "best rule without a model", "model − that rule", "threshold", "problems"),
        rows=tuple(rows),
        note=_MEANT.get(results[0]["headline"], _BEST_OF),
    )


def _headline(one: Found, several: bool) -> tuple[Cell, ...]:
    head = one["headline"]
    best = best_null(one, head)
    rule = None if best is None else f"{_rule(best)} {shown(one['nulls'][head][best]['value'])}"
    over = None if best is None else estimate(one["over_nulls"][head][best])
    first = (one["subset"], one["model"]) if several else (one["model"],)
    return (
        *first,
        estimate(one["measures"].get(head)),
        rule,
        over,
        _threshold(one["threshold"]),
        one["counts"]["problems"],
    )


def _threshold(cut: Found | None) -> str | None:
    if cut is None:
        return None
    seen = f"; {cut['overlap']} rows seen" if cut["overlap"] else ""
    return f"{cut['value']:.4g} ({cut['from']}{seen})"


def _rule(name: str) -> str:
    return name.replace("_", " ")


def measures_table(results: Sequence[Found]) -> Table:
    """All measures of one subset, a column a model, and the best rule of those that have rules."""
    names = list(dict.fromkeys(name for one in results for name in one["measures"]))
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        best = best_null(results[0], name)
        rule = None if best is None else f"{_rule(best)} {shown(results[0]['nulls'][name][best]['value'])}"
        rows.append((measure_name(name), *(estimate(one["measures"].get(name)) for one in results), rule))
    columns = ("measure", *(one["model"] for one in results), "best rule")
    return Table(title=f"All measures: {results[0]['subset']}", columns=columns, rows=tuple(rows))


def rules_table(results: Sequence[Found]) -> Table | None:
    """For each rule without a model what it gets, and how far each model is above it."""
    rows: list[tuple[Cell, ...]] = []
    for measure, rules in results[0]["nulls"].items():
        for name, some in rules.items():
            over = [one["over_nulls"].get(measure, {}).get(name) for one in results]
            rows.append((f"{measure_name(measure)}: {_rule(name)}", estimate(some), *map(estimate, over)))
    if not rows:
        return None
    columns = ("rule", "its value", *(f"{one['model']} − rule" for one in results))
    return Table(title=f"Rules without a model: {results[0]['subset']}", columns=columns, rows=tuple(rows))


def group_tables(results: Sequence[Found]) -> list[Table]:
    """By generator, class, length, ...: the first number of each model, and the best rule on the same rows."""
    keys = list(dict.fromkeys(key for one in results for key in one["by"]))
    return [_groups(results, key) for key in keys]


def _groups(results: Sequence[Found], key: str) -> Table:
    names = list(dict.fromkeys(row["name"] for one in results for row in one["by"].get(key, ())))
    by = [{row["name"]: row for row in one["by"].get(key, ())} for one in results]
    measures = [_shown_measures(one, key) for one in results]
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        known = next(some[name] for some in by if name in some)
        cells = [
            estimate(some.get(name, {}).get(measure))
            for some, wanted in zip(by, measures, strict=True)
            for measure in wanted
        ]
        rule = known.get("best_rule")
        beside = None if rule is None else f"{_rule(rule['name'])} {shown(rule['value'])}"
        rows.append((name, known.get("rows", known.get("problems")), *cells, beside))
    columns = [
        f"{one['model']}: {measure_name(measure)}"
        for one, wanted in zip(results, measures, strict=True)
        for measure in wanted
    ]
    return Table(
        title=f"By {key.replace('_', ' ')}: {results[0]['subset']}",
        columns=(key.replace("_", " "), "rows", *columns, "best rule"),
        rows=tuple(rows),
        note="The rule beside a group is the one that is best on its rows, with hindsight.",
    )


def _shown_measures(one: Found, key: str) -> list[str]:
    """The first number, and the AUROC of steps where groups have one; of other groupings whatever they hold."""
    rows = one["by"].get(key, ())
    held = [name for name in (rows[0] if rows else {}) if isinstance(rows[0][name], Mapping) and "low" in rows[0][name]]
    wanted = [name for name in (one["headline"], "step_auroc") if name in held]
    return wanted or held


def differences_table(found: Found) -> Table:
    """Each two models, measure by measure."""
    values = {
        (one["suite"], one["subset"], one["model"], name): some["value"]
        for one in found["results"]
        for name, some in one["measures"].items()
    }
    rows = []
    for one in found["differences"]:
        place = (one["suite"], one["subset"])
        sides = [values.get((*place, one[side], one["measure"])) for side in ("first", "second")]
        rows.append(
            (
                place_name(*place),
                measure_name(one["measure"]),
                *(one["first"], sides[0], one["second"], sides[1]),
                estimate(one["difference"]),
            )
        )
    return Table(
        title="Paired differences",
        columns=("subset", "measure", "first", "its value", "second", "its value ", "first − second"),
        rows=tuple(rows),
        note="On the same rows and resamples. An interval without 0 is a difference that chance alone rarely makes.",
    )


def place_name(suite: str, subset: str) -> str:
    """A subset with its suite, where the one does not name the other."""
    return SUITES[suite] if subset in (suite, "lab") else f"{SUITES[suite]}, {subset}"


def seeds_table(found: Found) -> Table | None:
    """Models of one name: mean and spread over them."""
    if not found["seeds"]:
        return None
    rows = tuple(
        (
            place_name(one["suite"], one["subset"]),
            *(one["model"], measure_name(one["measure"]), one["mean"], one["deviation"]),
            ", ".join(map(shown, one["values"])),
        )
        for one in found["seeds"]
    )
    columns = ("subset", "model", "measure", "mean", "standard deviation", "values")
    return Table(title="Trainings with several seeds", columns=columns, rows=rows)
