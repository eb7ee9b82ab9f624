"""Verbs that work on what has been written: candidates, scores, benchmarks, problems and texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradatim import records, runs
from gradatim.choose import ChooseConfig, choose_stage, table
from gradatim.choose.nested import NestedConfig, nested_stage
from gradatim.cli.app import aligned, app, evaluate, show
from gradatim.core import Scorer
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.processbench import ProcessBenchConfig, processbench_stage
from gradatim.flags import command
from gradatim.problems.sources import load_problems
from gradatim.score.opening import Opening
from gradatim.score.recorded import CombineConfig, combine_stage
from gradatim.steps import SPLITTERS, audit
from gradatim.verify.gold import VerifyConfig, verify_stage
from gradatim.view.explain import ExplainConfig, explain_stage, told


@command(app, "choose", ChooseConfig)
def choose_command(config: ChooseConfig, *, as_json: bool, quiet: bool) -> None:
    """Choose one candidate a problem from a pool and its scores; with gold answers also accuracy at every n."""
    result = choose_stage(config, quiet=quiet)
    show(result, as_json, _choices(result))


def _choices(result: dict[str, Any]) -> str:
    rows = result.get("rows") or []
    if not rows:
        return "\n".join(
            f"{c['problem_id']}: candidate {c['candidate']}, answer {c['answer']}" for c in result["choices"]
        )
    head, *lines = table(result)
    notes = [f"note: {note}" for note in result.get("notes", ())]
    asked = [dict(zip(head, line, strict=True)) for line in lines]
    return "\n".join([aligned(f"{result['problems']} problems", asked), "", *notes])


@command(evaluate, "processbench", ProcessBenchConfig, Opening)
def processbench_command(config: ProcessBenchConfig, opening: Opening, *, as_json: bool, quiet: bool) -> None:
    """First wrong steps on ProcessBench: both accuracies, F1, null baselines, and where the threshold comes from."""
    scorer: Scorer | None = None
    if config.model is not None:
        from gradatim.score.engine import load

        scorer = load(config.model, **opening.asked())
    result = processbench_stage(config, scorer, quiet=quiet)
    columns = ("subset", "error_accuracy", "correct_accuracy", "f1", "threshold", "threshold_from", "errors", "correct")
    rows = [{**{name: one[name] for name in columns}, **_nulls(one)} for one in result["subsets"]]
    show(result, as_json, aligned(f"ProcessBench, {result['model']}", runs.plain(rows)))


def _nulls(subset: Mapping[str, Any]) -> dict[str, Any]:
    return {f"null: {name.replace('_', ' ')}": value for name, value in subset["nulls"].items()}


@command(app, "verify", VerifyConfig, arguments=("source",))
def verify_command(config: VerifyConfig, *, as_json: bool, quiet: bool) -> None:
    """Does the verifier accept the gold answers of a data set? Lists those that it does not, with the reason."""
    drops: Counter[str] = Counter()
    problems = load_problems(config.source, limit=config.limit, skip_bad=config.skip_bad, drops=drops)
    result = verify_stage(config, problems, dropped=drops, quiet=quiet)
    refused = [f"  {row['id']}: gold {row['gold']!r}: {row['reason']}" for row in result["refused"]]
    share = result["accepted"] / result["used"] if result["used"] else float("nan")
    head = f"{result['accepted']} of {result['used']} gold answers accepted ({share:.2%}) in {result['seconds']:.1f} s"
    show(result, as_json, "\n".join([head, *refused]))


@dataclass(frozen=True, kw_only=True)
class SplitFlags:
    """`gradatim split`."""

    data: str
    """Texts: JSON Lines with `text`, `solution` or `answer`, or our own solutions; "-" is standard input."""
    by: str = "line"
    """The splitter: line, blank-line, marker, sentence, think, tool-call."""
    skip_bad: bool = False
    """Count malformed rows and go on, instead of stopping at the first."""


@command(app, "split", SplitFlags, arguments=("data",))
def split_command(flags: SplitFlags, *, as_json: bool, quiet: bool) -> None:
    """What a splitter does to a corpus: steps a text, their lengths, and what looks wrong. Changes nothing."""
    splitter = SPLITTERS.get(flags.by)
    if splitter is None:
        raise ConfigError(f"--by {flags.by!r}; expected one of {', '.join(sorted(SPLITTERS))}")
    drops: Counter[str] = Counter()
    rows = records.read_rows(flags.data, skip_bad=flags.skip_bad, drops=drops)
    found = audit(records.convert(rows, _text, skip_bad=flags.skip_bad, drops=drops), splitter)
    if not found["texts"] and not drops:
        raise InputError("no texts", expected="at least one row", file=flags.data, fix="check the file")
    result = {**found, "dropped": dict(drops)}
    show(result, as_json, "\n".join(f"{name}: {value}" for name, value in result.items()))


def _text(row: records.Row) -> str:
    for name in ("text", "solution", "answer"):
        if isinstance(value := row.data.get(name), str):
            return value
    if "steps" in row.data or "completions" in row.data:
        return records.solution_from(row).prefix.text
    raise row.error(f"columns {', '.join(row.data)}", expected="text, solution, answer, or steps")


@command(app, "combine", CombineConfig)
def combine_command(config: CombineConfig, *, as_json: bool, quiet: bool) -> None:
    """Blend or ensemble recorded scores of one pool, and write them as the scores of one more scorer."""
    result = combine_stage(config)
    lines = [
        one["scorer"] + ("" if one["disagreement"] is None else f": mean deviation {one['disagreement']:.3f}")
        for one in result["combined"]
    ]
    show(result, as_json, "\n".join([*lines, f"{result['scores']} scores written to {result['out']}"]))


@command(app, "explain", ExplainConfig, arguments=("data",))
def explain_command(config: ExplainConfig, *, as_json: bool, quiet: bool) -> None:
    """Rank scored solutions; show the weakest step and the first error of each, and how far to trust the scorer."""
    result = explain_stage(config)
    show(result, as_json, told(result, config.top))


@command(evaluate, "pool", NestedConfig)
def pool_command(config: NestedConfig, *, as_json: bool, quiet: bool) -> None:
    """Best scorer, best pair and a learned combination, each chosen on other problems (nested folds), with intervals."""
    result = nested_stage(config, quiet=quiet)
    sizes = " to ".join(map(str, dict.fromkeys(result["n"])))
    title = f"{result['problems']} problems, one of {sizes} candidates; {result['folds']} folds x {result['repeats']}"
    chosen = [
        f"{name}: {', '.join(f'{what} ({count})' for what, count in list(counts.items())[:3])}"
        for name, counts in result["chosen"].items()
    ]
    tables = [aligned(title, result["methods"]), aligned("paired differences", result["contrasts"])]
    show(result, as_json, "\n\n".join([*tables, "\n".join(["chosen in how many folds", *chosen])]))
