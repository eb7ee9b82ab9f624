"""Verbs that make scores mean something: calibration, sets of first errors, and when to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradatim import runs
from gradatim.choose.abstain import AbstainConfig, abstain_stage
from gradatim.cli.app import aligned, app, asides, refuse_unused, show
from gradatim.evaluate.calibrating import CalibrateConfig, calibrate_stage
from gradatim.evaluate.first_error_sets import ConformalConfig, conformal_stage
from gradatim.flags import command
from gradatim.records import check_outputs
from gradatim.score.opening import Opening, open_scorer
from gradatim.score.stage import CountingScorer


@command(app, "calibrate", CalibrateConfig, Opening)
def calibrate_command(config: CalibrateConfig, opening: Opening, *, as_json: bool, quiet: bool) -> None:
    """Fit a map from scores to probabilities of something named, and measure it on problems it has not seen."""
    result = calibrate_stage(config, _scorer(config, opening), opening=[opening], quiet=quiet)
    show(result, as_json, _calibration(runs.plain(result)))


@command(app, "conformal", ConformalConfig, Opening)
def conformal_command(config: ConformalConfig, opening: Opening, *, as_json: bool, quiet: bool) -> None:
    """Sets of places where the first error may be, which miss the true one no more often than promised."""
    result = conformal_stage(config, _scorer(config, opening), quiet=quiet)
    show(result, as_json, _sets(runs.plain(result)))


@command(app, "abstain", AbstainConfig)
def abstain_command(config: AbstainConfig, *, as_json: bool, quiet: bool) -> None:
    """Answer only where the chooser is sure enough, at a risk that is promised."""
    result = abstain_stage(config)
    show(result, as_json, _abstention(runs.plain(result)))


def _scorer(config: CalibrateConfig | ConformalConfig, opening: Opening) -> CountingScorer | None:
    if config.model is None:
        refuse_unused(opening)
        return None
    # The stage sees the model and not the map that opened it.
    check_outputs([config.keep_scores], [opening.calibration], [config.out])
    return open_scorer(config.model, opening)


def _calibration(result: Mapping[str, Any]) -> str:
    rows = []
    for when in ("before", "after"):
        found = result[when]
        tails = {f"tail 1/{one['best_of']}": one["ece"] for one in found["tails"]}
        rows.append({"scores": when, "calibration error": found["ece"], "Brier": found["brier"], **tails})
    head = f"{result['scorer']}: {result['target']}\n{result['items']} items of {result['problems']} problems"
    tables = [aligned(head, rows)]
    for title, groups in (("by step", result["by_step"]), ("by author", result["by_source"])):
        if len(groups) > 1:
            tables.append(aligned(title, groups))
    return "\n\n".join([*tables, *asides(result)])


def _sets(result: Mapping[str, Any]) -> str:
    if "sets" in result:
        lines = [f"{one['id']}: {_places(one)}" for one in result["sets"]]
        promise = f"true in at least {1 - result['miss']:.0%}: {result['target']}"
        return "\n".join([*lines, promise, *asides(result)])
    names = {"coverage": "coverage", "coverage_error": "with an error", "coverage_none": "without"}
    rows = [{"solutions": told, **_over(result[name])} for name, told in names.items()]
    sizes = [
        {"sets": told, **_over(result[name])} for name, told in (("size", "mean size"), ("single", "of one place"))
    ]
    head = f"{result['scorer']}: {result['target']}\n{result['solutions']} solutions of {result['problems']} problems"
    title = f"{head}; promised coverage {result['nominal']:.3f}, over {result['resplits']} resplits"
    return "\n\n".join([aligned(title, rows), aligned("", sizes).strip(), *asides(result)])


def _places(one: Mapping[str, Any]) -> str:
    steps = [f"step {step + 1}" for step in one["steps"]]
    return ", ".join([*steps, *(["no error"] if one["none"] else [])]) or "nothing"


def _over(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"mean": found["value"], "its Monte-Carlo error": found["monte_carlo"], "spread": found["spread"]}


def _abstention(result: Mapping[str, Any]) -> str:
    if "choices" in result:
        lines = [
            f"{one['problem_id']}: {one['answer'] if one['answered'] else 'no answer: not sure enough'}"
            for one in result["choices"]
        ]
        return "\n".join([*lines, *asides(result)])
    names = {"answered": "answered", "wrong_of_all": "wrong of all", "wrong_of_answered": "wrong of answered"}
    rows = [{"share": told, **_over(result[name])} for name, told in names.items()]
    when = (
        "always" if result["always"] else "never" if result["threshold"] is None else f"above {result['threshold']:.4g}"
    )
    whom = " by ".join(filter(None, (result["chooser"], result["scorer"])))
    title = (
        f"{whom}, {result['problems']} problems: answer {when} (wrong if always: {result['wrong_if_always']:.3f})\n"
        f"risk {result['risk']:g}, {result['promise']}, over {result['resplits']} resplits"
    )
    broken = f"more wrong of the answered than the risk in {result['broken']:.0%} of them"
    return "\n".join([aligned(title, rows), broken, *asides(result)])
