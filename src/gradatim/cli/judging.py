"""Verbs about labels: by a critic, where labellers agree, and how far to trust them."""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim import records, runs
from gradatim.cli.app import aligned, app, left_out, noted, show
from gradatim.core import Solution
from gradatim.errors import ConfigError, InputError
from gradatim.flags import command
from gradatim.judges.critics import CRITICS, settings_for
from gradatim.judges.critiques import beside, critiques_path
from gradatim.judges.forecast import judge_forecast
from gradatim.judges.stage import JudgeConfig, judge_stage
from gradatim.labels.audit import AuditConfig, audit
from gradatim.labels.consensus import ConsensusConfig, consensus_stage
from gradatim.labels.datasets import load_labelled, solutions_beside
from gradatim.solutions.opening import open_policy, served
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.view.audit import audit_report
from gradatim.view.report import write_report


@dataclass(frozen=True, kw_only=True)
class JudgeFlags:
    """`gradatim judge`."""

    solutions: str
    """The solutions to judge, as `gradatim sample` writes them, or a labelled data set by its form (processbench:PATH,
    prm800k:PATH, ...), whose own labels the critic does not see; labels of a data set are written with its solutions."""
    policy: str
    """The language model that plays the critic: a folder, a hub name, "smollm2" or the URL of an OpenAI-compatible
    server."""
    out: str
    """Where to write the labels; the critiques go beside them, to NAME.critiques.jsonl."""
    skip_bad: bool = False
    """Count malformed rows and go on, instead of stopping at the first."""
    forecast: bool = False
    """Judge a pilot only, and say with intervals what all of it will cost; the same command without it goes on from
    there."""
    pilot: int = 64
    """Solutions in the pilot of a forecast, at least; whole batches are judged."""
    price: float | None = None
    """Money for a million written tokens, for a forecast."""


@command(app, "judge", JudgeFlags, JudgeConfig, PolicySettings, EndpointSettings, arguments=("solutions",))
def judge_command(
    flags: JudgeFlags,
    config: JudgeConfig,
    settings: PolicySettings,
    endpoint: EndpointSettings,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Label the steps of solutions by a critic, which says where the first error is; abstentions are counted. Resumes."""
    records.check_outputs([flags.out, critiques_path(flags.out)], [flags.solutions])
    drops: Counter[str] = Counter()
    solutions, whole = _solutions(flags, drops)
    settings = settings_for(CRITICS[config.critic], flags.policy, settings, endpoint)
    policy = open_policy(flags.policy, settings, endpoint)
    if flags.forecast:
        inputs = (config, policy, solutions, flags.out)
        found = judge_forecast(*inputs, pilot=flags.pilot, price=flags.price, quiet=quiet)
        human = "\n".join([noted(_forecast(found), policy, found), *left_out(drops)])
        show({**found, **served(policy), "dropped": dict(drops)}, as_json, human)
        return
    result = judge_stage(config, policy, solutions, flags.out, whole=whole, quiet=quiet)
    counts = {**result, "read": len(solutions) + drops.total(), "used": result["labelled"]}
    counts["dropped"] = {**dict(drops), **result["dropped"]}
    abstained = ", ".join(f"{count} {reason}" for reason, count in result["abstained"].items())
    human = (
        f"{result['labelled']} solutions judged with {result['critiques']} critiques ({result['tokens']} tokens); "
        f"{result['errors_found']} have a first error, of {result['errors_unknown']} it is unknown\n"
        f"abstained: {abstained or 'none'}\nwritten to {result['path']}, critiques to {result['critiques_path']}"
    )
    human = "\n".join([noted(human, policy, result), *left_out(counts["dropped"])])
    show({**counts, **served(policy)}, as_json, human)


def _solutions(flags: JudgeFlags, drops: Counter[str]) -> tuple[list[Solution], bool]:
    """The solutions, and whether they come from a data set, so that labels need them beside them."""
    if re.match(r"[a-z0-9_-]+:", flags.solutions) and not Path(flags.solutions).exists():
        labelled = load_labelled(flags.solutions, skip_bad=flags.skip_bad, drops=drops)
        return [solution for solution, _ in labelled], True
    solutions = records.read_solutions(flags.solutions, skip_bad=flags.skip_bad, drops=drops)
    if not solutions:
        raise InputError("no solution that could be used", expected="at least one", file=flags.solutions)
    return solutions, False


def _forecast(found: Mapping[str, Any]) -> str:
    head = f"pilot: {found['pilot_solutions']} solutions, {found['pilot_tokens']} tokens"
    rows = [(name, one) for name in ("tokens", "seconds", "money") if (one := found.get(name)) is not None]
    lines = [f"  {name}: {one.value:,.6g} [{one.low:,.6g}, {one.high:,.6g}]" for name, one in rows]
    return "\n".join([head, f"all {found['solutions']} solutions (95 %):", *lines])


@dataclass(frozen=True, kw_only=True)
class ConsensusFlags:
    """`gradatim consensus`."""

    labels: tuple[str, ...]
    """Files of labels, one a labeller: our own (with solutions.jsonl beside them) or a labelled data set."""
    out: str
    """Where to write the solutions whose first error is agreed on, with its labels."""
    disagreements: str | None = None
    """Where to write the solutions on which not all agree, with what each labeller says; NAME.disagreements.jsonl beside
    the output where none is given."""
    skip_bad: bool = False
    """Count malformed rows and go on, instead of stopping at the first."""


@command(app, "consensus", ConsensusFlags, ConsensusConfig, arguments=("labels",))
def consensus_command(flags: ConsensusFlags, config: ConsensusConfig, *, as_json: bool, quiet: bool) -> None:
    """Keep the solutions on whose first error independent labellers agree; the others go to a file of their own."""
    config.needed(len(flags.labels))
    apart = flags.disagreements or beside(flags.out, "disagreements")
    read: list[str | Path] = [*flags.labels, *(file for name in flags.labels for file in solutions_beside(name))]
    records.check_outputs([flags.out, apart], read)
    if repeated := [name for name, times in Counter(flags.labels).items() if times > 1]:
        raise ConfigError(f"{repeated[0]} is named twice; a labeller agrees with itself")
    drops: Counter[str] = Counter()
    labellers = {name: load_labelled(name, skip_bad=flags.skip_bad, drops=drops) for name in flags.labels}
    result = consensus_stage(config, labellers, flags.out, apart)
    result = runs.plain({**result, "dropped": {**dict(drops), **result["dropped"]}})
    kinds = ("coverage_erroneous", "coverage_correct")
    rows = [
        {name: one[name] for name in ("labels", "erroneous", "correct", "unknown", *kinds)}
        for one in result["labellers"]
    ]
    pairs = [{name: one[name] for name in ("a", "b", "same", "first_error", "steps")} for one in result["pairs"]]
    head = (
        f"{result['kept']} of {result['solutions']} solutions kept: {result['kept_erroneous']} with a first error, "
        f"{result['kept_correct']} without"
    )
    tables = [aligned("coverage", rows), aligned("agreement (share, kappa of first errors, kappa of steps)", pairs)]
    notes = [f"note: {line}" for line in result["notes"]]
    ends = f"written to {result['path']}, disagreements to {result['disagreements_path']}"
    show(result, as_json, "\n\n".join([head, *tables, "\n".join([*notes, ends, *left_out(result["dropped"])])]))


@dataclass(frozen=True, kw_only=True)
class AuditFlags:
    """`gradatim audit`."""

    labels: str
    """The labels: our own (with solutions.jsonl beside them) or a labelled data set."""
    against: str | None = None
    """Another labeller's labels of the same solutions."""
    out: str | None = None
    """A folder for the page and its numbers (report.html, report.json); none is written where it is not given."""
    skip_bad: bool = False
    """Count malformed rows and go on, instead of stopping at the first."""


@command(app, "audit", AuditFlags, AuditConfig, arguments=("labels",))
def audit_command(flags: AuditFlags, config: AuditConfig, *, as_json: bool, quiet: bool) -> None:
    """How far to trust labels: balance, noise, contradictions, drift from another labeller, and what to look at first."""
    if flags.out is not None:
        records.check_output(Path(flags.out) / "report.html")
    drops: Counter[str] = Counter()
    labelled = load_labelled(flags.labels, skip_bad=flags.skip_bad, drops=drops)
    against = None if flags.against is None else load_labelled(flags.against, skip_bad=flags.skip_bad, drops=drops)
    done = audit(config, labelled, against)
    report = audit_report(done, flags.labels, command=shlex.join(["gradatim", *sys.argv[1:]]))
    page = {} if flags.out is None else {"report": str(write_report(report, flags.out))}
    first, others = report.tables[:3], [f"page: {path}" for path in page.values()]
    tables = [
        aligned(table.title, [dict(zip(table.columns, map(runs.plain, row), strict=True)) for row in table.rows])
        for table in (*first, *(table for table in report.tables[3:] if table.title.startswith("Against")))
    ]
    looks = [f"  {row['solution_id']}: {'; '.join(row['reasons'])}" for row in done.found["look_first"][:5]]
    ends = ["look here first", *(looks or ["  nothing stands out"]), *others, *left_out(drops)]
    human = "\n\n".join([report.summary, *tables, "\n".join(ends)])
    show({**done.found, "dropped": dict(drops), **page}, as_json, human)
