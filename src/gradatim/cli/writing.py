"""Verbs that ask a policy: solutions, and labels by rollouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradatim import records
from gradatim.cli.app import app, left_out, noted, show
from gradatim.core import Problem, Verifier
from gradatim.errors import InputError
from gradatim.flags import command
from gradatim.labels.forecast import forecast_stage
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.sources import load_problems
from gradatim.scale.crew import open_crew, told
from gradatim.scale.settings import WorkerSettings
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.steps import SPLITTERS
from gradatim.verify.answers import VerifierName, verifier_for


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What sampling and labelling have in common."""

    source: str
    """Problems with gold answers: a file, gsm8k:PATH, math:PATH, hf:NAME, reasoning_gym:NAME:N:SEED or lab:SPLIT:N."""
    out: str
    """Where to write."""
    policy: str = "lab"
    """The language model that writes: a folder, a hub name, "smollm2", "lab" or the URL of an OpenAI-compatible server."""
    verifier: Literal["auto", "math", "exact", "choice"] = "auto"
    """How answers are checked; "auto": exact in the lab, by mathematics elsewhere."""
    limit: int | None = None
    """Only the first so many problems."""
    skip_bad: bool = False
    """Count malformed rows and go on, instead of stopping at the first."""


def _verifier(flags: Sources, problems: Sequence[Problem]) -> Verifier:
    name: VerifierName = "math" if flags.verifier == "auto" else flags.verifier
    if flags.verifier == "auto" and all(problem.source == "lab" for problem in problems):
        name = "exact"
    return verifier_for(name)


@command(app, "sample", Sources, SampleConfig, PolicySettings, EndpointSettings, WorkerSettings, arguments=("source",))
def sample_command(
    flags: Sources,
    config: SampleConfig,
    settings: PolicySettings,
    endpoint: EndpointSettings,
    workers: WorkerSettings,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Sample n solutions of each problem, split them into steps, read and verify their answers. Resumes."""
    records.check_output(flags.out, [flags.source])
    drops: Counter[str] = Counter()
    problems = load_problems(flags.source, limit=flags.limit, skip_bad=flags.skip_bad, drops=drops)
    with open_crew(flags.policy, settings, endpoint, workers, splitter=SPLITTERS[config.splitter]) as policy:
        result = sample_stage(config, policy, problems, _verifier(flags, problems), flags.out, quiet=quiet)
        beside = told(policy)
    verdicts = ", ".join(f"{count} {name}" for name, count in result["verdicts"].items())
    human = f"{result['solutions']} solutions of {result['problems']} problems: {verdicts}\nwritten to {result['path']}"
    human += _unread(result["truncated"] + result["unread"], result["solutions"], "solutions")
    human = "\n".join([noted(human, policy, result), *left_out(drops)])
    show({**result, **beside, "dropped": dict(drops)}, as_json, human)


@dataclass(frozen=True, kw_only=True)
class LabelFlags(Sources):
    """`gradatim label`."""

    solutions: str
    """The solutions to label, as `gradatim sample` writes them."""
    forecast: bool = False
    """Label a pilot only, and say with intervals what all of it will cost; the same command without it goes on from
    there."""
    pilot: int = 32
    """Problems in the pilot of a forecast."""
    price: float | None = None
    """Money for a million written tokens, for a forecast."""


_LABEL = (LabelFlags, LabelConfig, PolicySettings, EndpointSettings, WorkerSettings)


@command(app, "label", *_LABEL, arguments=("source", "solutions"))
def label_command(
    flags: LabelFlags,
    config: LabelConfig,
    settings: PolicySettings,
    endpoint: EndpointSettings,
    workers: WorkerSettings,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Label every step of the solutions by Monte-Carlo rollouts; each distinct prefix is rolled out once. Resumes."""
    records.check_output(flags.out, [flags.source, flags.solutions])
    drops: Counter[str] = Counter()
    problems = load_problems(flags.source, limit=flags.limit, skip_bad=flags.skip_bad, drops=drops)
    solutions = records.read_solutions(flags.solutions, skip_bad=flags.skip_bad, drops=drops)
    if not solutions:
        raise InputError("no solution that could be used", expected="at least one", file=flags.solutions)
    with open_crew(flags.policy, settings, endpoint, workers) as policy:
        inputs = (config, policy, problems, solutions, _verifier(flags, problems), flags.out)
        if flags.forecast:
            found = forecast_stage(*inputs, pilot=flags.pilot, price=flags.price, quiet=quiet)
            human = "\n".join([noted(_forecast(found), policy, found), *left_out(drops)])
            show({**found, **told(policy), "dropped": dict(drops)}, as_json, human)
            return
        result = label_stage(*inputs, quiet=quiet)
        beside = told(policy)
    counts = {**result, "read": len(solutions) + drops.total(), "used": result["labelled"]}
    counts["dropped"] = {**dict(drops), **result["dropped"]}
    human = (
        f"{result['labelled']} solutions labelled with {result['rollouts']} rollouts from {result['prefixes']} distinct "
        f"prefixes ({result['tokens']} tokens); {result['errors_found']} have a first error\nwritten to {result['path']}"
    )
    human += _unread(result["lost"], result["rollouts"], "rollouts")
    human = "\n".join([noted(human, policy, result), *left_out(counts["dropped"])])
    show({**counts, **beside}, as_json, human)


def _unread(count: int, total: int, what: str) -> str:
    """A line for people where most texts end without an answer: labels from these say little about the steps."""
    if 2 * count <= total:
        return ""
    return f"\nnote: {count} of {total} {what} were cut off or state no answer; raise --max-new-tokens, or read some of them"


def _forecast(found: Mapping[str, Any]) -> str:
    head = (
        f"pilot: {found['pilot_solutions']} solutions of {found['pilot_problems']} problems, "
        f"{found['pilot_rollouts']} rollouts, {found['pilot_tokens']} tokens\n"
        f"all {found['solutions']} solutions of {found['problems']} problems (95 %):"
    )
    names = [name for name in ("rollouts", "tokens", "seconds", "money") if name in found]
    rows = [(name, found[name]) for name in names]
    return "\n".join([head, *(f"  {name}: {e.value:,.6g} [{e.low:,.6g}, {e.high:,.6g}]" for name, e in rows)])
