"""Verbs that work on what has been written: candidates, scores, benchmarks, problems and texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradatim import records
from gradatim.choose import ChooseConfig, choose_stage, table
from gradatim.cli.app import aligned, app, asides, left_out, show
from gradatim.errors import ConfigError, InputError
from gradatim.flags import command
from gradatim.problems.sources import load_problems
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
    shown = table(result)
    if not shown:  # no verdicts, or no n that every problem has candidates for: a note says which
        choices = [f"{c['problem_id']}: candidate {c['candidate']}, answer {c['answer']}" for c in result["choices"]]
        return "\n".join([*choices, *_told(result), *asides(result)])
    head, *lines = shown
    asked = [dict(zip(head, line, strict=True)) for line in lines]
    return "\n".join([aligned(f"{result['problems']} problems", asked), "", *_told(result), *asides(result)])


def _told(result: Mapping[str, Any]) -> list[str]:
    """What an automatic or a learned choice came to."""

    def said(found: Mapping[str, Any]) -> str:
        return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"

    if found := result.get("learned"):
        weights = ", ".join(f"{name} {weight:+.3f}" for name, weight in found["weights"].items())
        return [f"learned, fitted on other problems: {said(found['accuracy'])}", f"weights on all: {weights}", ""]
    if not (found := result.get("auto")):
        return []
    best = found["best_in_hindsight"]
    return [
        f"chosen on other problems, of {found['rules']}: {said(found['accuracy'])}",
        *(f"  {rule}: for {count} problems" for rule, count in found["chosen"].items()),
        f"best in hindsight, {best['rule']}: {said(best['accuracy'])}; regret {said(found['regret'])}, of which picking it "
        f"with all answers known makes about {found['optimism']:.3f}",
        "",
    ]


@command(app, "verify", VerifyConfig, arguments=("source",))
def verify_command(config: VerifyConfig, *, as_json: bool, quiet: bool) -> None:
    """Does the verifier accept the gold answers of a data set? Lists those that it does not, with the reason."""
    drops: Counter[str] = Counter()
    problems = load_problems(config.source, limit=config.limit, skip_bad=config.skip_bad, drops=drops)
    result = verify_stage(config, problems, dropped=drops, quiet=quiet)
    refused = [f"  {row['id']}: gold {row['gold']!r}: {row['reason']}" for row in result["refused"]]
    share = result["accepted"] / result["used"] if result["used"] else float("nan")
    head = f"{result['accepted']} of {result['used']} gold answers accepted ({share:.2%}) in {result['seconds']:.1f} s"
    show(result, as_json, "\n".join([head, *refused, *left_out(result["dropped"])]))


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
    """Steps come first: beside them an `answer` is the final one, and not the text."""
    if "schema" in row.data or row.name_of("steps", "completions") is not None:
        return records.solution_from(row).prefix.text
    for name in ("text", "solution", "answer"):
        if isinstance(value := row.data.get(name), str):
            return value
    raise row.error(f"columns {', '.join(row.data)}", expected="text, solution, answer, or steps")


@command(app, "combine", CombineConfig)
def combine_command(config: CombineConfig, *, as_json: bool, quiet: bool) -> None:
    """Blend or ensemble recorded scores of one pool, and write them as the scores of one more scorer."""
    result = combine_stage(config)
    lines = [
        one["scorer"] + ("" if one["disagreement"] is None else f": mean deviation {one['disagreement']:.3f}")
        for one in result["combined"]
    ]
    written = f"{result['scores']} scores written to {result['out']}"
    show(result, as_json, "\n".join([*lines, written, *asides(result)]))


@command(app, "explain", ExplainConfig, arguments=("data",))
def explain_command(config: ExplainConfig, *, as_json: bool, quiet: bool) -> None:
    """Rank scored solutions; show the weakest step and the first error of each, and how far to trust the scorer."""
    result = explain_stage(config)
    show(result, as_json, "\n".join([told(result, config.top), *asides(result)]))
