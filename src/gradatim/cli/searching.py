"""The verb that searches for solutions step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradatim.cli.app import app, remark, show
from gradatim.core import Policy, Problem, Reduction, Scorer, Verifier
from gradatim.flags import command
from gradatim.problems.sources import load_problems
from gradatim.score.opening import Opening, open_scorer
from gradatim.search import Prices, SearchConfig, search_stage
from gradatim.solutions.opening import notes, open_policy, served
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.steps import SPLITTERS
from gradatim.verify.answers import verifier_for


@dataclass(frozen=True, kw_only=True)
class SearchFlags:
    """`gradatim search`."""

    problems: str
    """A source of problems: a file, gsm8k:PATH, math:PATH, hf:NAME, reasoning_gym:NAME:N:SEED or lab:SPLIT:N."""
    policy: str = "lab"
    """The language model that writes: a folder, a hub name, "smollm2", "lab" or the URL of an OpenAI-compatible server."""
    model: str = "lab"
    """The reward model that judges prefixes: a folder, a run, a name on the hub, or "lab"."""
    reduction: Reduction | None = None
    """How step scores become one value; the one saved with the model where none is given."""
    verifier: Literal["auto", "math", "exact", "choice"] = "auto"
    """How answers are checked where there is a gold one; "auto": exact in the lab, by mathematics elsewhere."""
    limit: int | None = None
    """Only the first so many problems."""
    out: str | None = None
    """Folder for the finished solutions and their scores; a search that was stopped, or had draws that failed, goes on
    from there."""


@command(app, "search", SearchFlags, SearchConfig, PolicySettings, EndpointSettings, Opening, arguments=("problems",))
def search_command(
    flags: SearchFlags,
    config: SearchConfig,
    settings: PolicySettings,
    endpoint: EndpointSettings,
    opening: Opening,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Search for solutions step by step: the policy writes, the reward model says which prefixes are worth going on from."""
    problems = load_problems(flags.problems, limit=flags.limit)
    policy = open_policy(flags.policy, settings, endpoint, splitter=SPLITTERS[config.splitter])
    scorer = open_scorer(flags.model, opening, reduction=flags.reduction, device=settings.device)
    verifier = _verifier(flags, problems)
    result = search_stage(
        config,
        policy,
        scorer,
        problems,
        verifier=verifier,
        prices=_prices(policy, scorer),
        out=flags.out,
        quiet=quiet,
    )
    remark(scorer.stats.notes)
    asides = notes(policy, result["not_written"], kept=flags.out is not None)
    told = [_told(result, graded=verifier is not None), *(f"note: {line}" for line in asides)]
    show({**result, **served(policy)}, as_json, "\n".join(told))


def _verifier(flags: SearchFlags, problems: Sequence[Problem]) -> Verifier | None:
    """None where no problem has a gold answer."""
    if all(problem.answer is None for problem in problems):
        return None
    in_lab = all(problem.source == "lab" for problem in problems)
    return verifier_for(("exact" if in_lab else "math") if flags.verifier == "auto" else flags.verifier)


def _prices(policy: Policy, scorer: Scorer) -> Prices | None:
    """What a token costs where both models run here; None where one does not say."""
    from gradatim.backbones import multiplied
    from gradatim.models.cost import read_by
    from gradatim.score.calibrate import uncalibrated
    from gradatim.score.engine import ModelScorer
    from gradatim.solutions.local import LocalPolicy

    reader = uncalibrated(scorer)
    if not isinstance(policy, LocalPolicy) or not isinstance(reader, ModelScorer):
        return None
    layers, head = multiplied(policy.model)
    return Prices(write=2 * (layers + head), read=2 * layers, score=2 * read_by(reader.model))


def _told(result: Mapping[str, Any], *, graded: bool) -> str:
    lines = [
        f"{one['problem_id']}: {one['answer']}  (value {one['value']:.3f}, {one['finished']} finished, "
        f"{one['won']} of {one['asked']} asked for, {one['generated']:,} tokens)"
        if one["value"] is not None
        else f"{one['problem_id']}: nothing finished that has a score ({one['generated']:,} tokens; "
        + ("draws failed)" if one["not_written"] else "a larger --token-budget or --step-limit may help)")
        for one in result["problems"]
    ]
    cost = result["account"]
    spent = ", ".join(f"{name} {cost[name]:,}" for name in cost if cost[name] is not None)
    best = result["best"]
    right = f"{best['correct']} of {len(result['problems'])} correct" if graded else "no gold answers"
    if graded and best["unverified"]:
        right += f", {best['unverified']} without a verdict (no gold answer, or the check failed)"
    told = [*lines, "", f"{result['search']}: {right}", f"tokens: {spent}"]
    if result["unscored"]:
        told.append(f"finished solutions that the reward model can't score: {result['unscored']}, in no file")
    return "\n".join(told)
