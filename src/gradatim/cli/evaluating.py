"""Verbs that measure reward models: on benchmarks, on pools, on any mix of suites."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gradatim import runs
from gradatim.choose.nested import NestedConfig, nested_stage
from gradatim.cli.app import aligned, evaluate, left_out, refuse_unused, show
from gradatim.core import Scorer
from gradatim.evaluate.asked import EvaluateConfig
from gradatim.evaluate.mixed import evaluate_stage
from gradatim.evaluate.pool_suite import pool_warnings
from gradatim.evaluate.processbench import ProcessBenchConfig, processbench_stage, processbench_warnings
from gradatim.flags import command
from gradatim.records import check_outputs
from gradatim.score.opening import Opening, open_scorer
from gradatim.view.report import report_files


def _openers(models: Sequence[str], opening: Opening) -> list[Callable[[], Scorer]]:
    if not models:
        refuse_unused(opening)
    return [partial(open_scorer, model, opening) for model in models]


def _warned(warnings: list[dict[str, Any]]) -> None:
    for one in warnings:
        print(f"warning: {one['model']}: {one['kind']}: {one['message']}", file=sys.stderr)


@command(evaluate, "processbench", ProcessBenchConfig, Opening)
def processbench_command(config: ProcessBenchConfig, opening: Opening, *, as_json: bool, quiet: bool) -> None:
    """First wrong steps on ProcessBench: both accuracies, F1, null baselines, and where the threshold comes from."""
    openers = _openers(() if config.model is None else (config.model,), opening)
    scorer = openers[0]() if openers else None
    result = processbench_stage(config, scorer, opening=[opening], quiet=quiet)
    columns = ("subset", "error_accuracy", "correct_accuracy", "f1", "threshold", "threshold_from", "errors", "correct")
    rows = [{**{name: one[name] for name in columns}, **_nulls(one)} for one in result["subsets"]]
    table = aligned(f"ProcessBench, {result['model']}", runs.plain(rows))
    show(result, as_json, "\n".join([table, *left_out(result["drops"])]))
    if config.scores is not None and not quiet:
        _warned(processbench_warnings(config))


def _nulls(subset: Mapping[str, Any]) -> dict[str, Any]:
    return {f"null: {name.replace('_', ' ')}": value for name, value in subset["nulls"].items()}


@command(evaluate, "pool", NestedConfig)
def pool_command(config: NestedConfig, *, as_json: bool, quiet: bool) -> None:
    """Best scorer, best pair and a learned combination, each chosen on other problems (nested folds), with intervals."""
    result = nested_stage(config, quiet=quiet)
    result = {**result, "warnings": pool_warnings(config.pool, config.scores, skip_bad=config.skip_bad)}
    sizes = " to ".join(map(str, dict.fromkeys(result["n"])))
    title = f"{result['problems']} problems, one of {sizes} candidates; {result['folds']} folds x {result['repeats']}"
    chosen = [
        f"{name}: {', '.join(f'{what} ({count})' for what, count in list(counts.items())[:3])}"
        for name, counts in result["chosen"].items()
    ]
    tables = [aligned(title, result["methods"]), aligned("paired differences", result["contrasts"])]
    show(
        result,
        as_json,
        "\n\n".join([*tables, "\n".join(["chosen in how many folds", *chosen, *left_out(result["drops"])])]),
    )
    _warned(result["warnings"])


@command(evaluate, "suites", EvaluateConfig, Opening, arguments=("suites",))
def suites_command(config: EvaluateConfig, opening: Opening, *, as_json: bool, quiet: bool) -> None:
    """Several suites and models in one report; the word "suites" may be left out: `gradatim evaluate prmbench lab ...`."""
    if config.report is not None:  # the stage sees the models and not the map that opened them
        check_outputs([], [opening.calibration], report_files(config.report))
    result = evaluate_stage(config, _openers(config.model, opening), opening=[opening], quiet=quiet)
    show(result, as_json, "" if as_json else _table(result))
    _warned(result["warnings"])


def _table(result: Mapping[str, Any]) -> str:
    rows = [_line(one) for one in result["results"]]
    tables = [aligned("95 % intervals by problem", rows)]
    heads = {one["headline"] for one in result["results"]}
    if pairs := [one for one in result["differences"] if one["measure"] in heads]:
        tables.append(aligned("paired differences, first minus second", pairs))
    notes = list(dict.fromkeys(f"{one['subset']}: {note}" for one in result["results"] for note in one["notes"]))
    notes += [f"no scores by {one['model']} for {one['suite']} {one['subset']}" for one in result["skipped"]]
    notes += left_out(result["drops"])
    if (folder := result["settings"]["report"]) is not None:
        notes.append(f"the page: {Path(folder) / 'report.html'}")
    return "\n\n".join([*tables, *(["\n".join(notes)] if notes else [])])


def _line(one: Mapping[str, Any]) -> dict[str, Any]:
    head = one["headline"]
    nulls = {name: found["value"] for name, found in one["nulls"].get(head, {}).items() if found["value"] is not None}
    best = max(nulls, key=lambda name: nulls[name]) if nulls else None
    cut = one["threshold"]
    return {
        "suite": one["suite"],
        "subset": one["subset"],
        "model": one["model"],
        "measure": head,
        "value": one["measures"][head],
        "best null": None if best is None else f"{best} {nulls[best]:.3f}",
        "model - null": None if best is None else one["over_nulls"][head][best],
        "threshold": None if cut is None else f"{cut['value']:.4g} ({cut['from']})",
        "problems": one["counts"]["problems"],
    }
