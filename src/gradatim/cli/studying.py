"""Verbs that answer questions about labels and reward models in the lab, where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import typer

from gradatim import runs
from gradatim.cli.app import aligned, app, show
from gradatim.flags import command
from gradatim.study.settings import COMPLETERS, CONSENSUS, LEARNING

study = typer.Typer(
    help="Comparisons of labels and reward models in the lab, each with intervals, a page and a figure.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(study, name="study")


@dataclass(frozen=True, kw_only=True)
class ConsensusFlags:
    """`gradatim study consensus`."""

    budget: Literal["tiny", "small", "full"] = "tiny"
    """How much: a minute, ten minutes, an hour."""
    out: str = "runs/study-consensus"
    """The run's folder. The same command again goes on with what is not finished."""
    seed: int = 0
    """Decides what is sampled, rolled out and judged."""
    force: bool = False
    """Do stages again that were done with other settings."""


@command(study, "consensus", ConsensusFlags)
def consensus_command(flags: ConsensusFlags, *, as_json: bool, quiet: bool) -> None:
    """What judges of known error add to Monte-Carlo labels where the policy mends its own errors: F1 and coverage."""
    from gradatim.study.consensus import consensus_study

    config = replace(CONSENSUS[flags.budget], seed=flags.seed)
    result = consensus_study(config, flags.out, force=flags.force, quiet=quiet)
    show(result, as_json, _told(result))


@dataclass(frozen=True, kw_only=True)
class CompletersFlags:
    """`gradatim study completers`."""

    tier: Literal["a", "b"] = "a"
    """"a": policies in closed form. "b": the lab's language model, at several temperatures."""
    budget: Literal["tiny", "small", "full"] = "tiny"
    """How much: seconds, minutes, half an hour (tier a)."""
    out: str = "runs/study-completers"
    """The run's folder. The same command again goes on with what is not finished."""
    seed: int = 0
    """Decides what is sampled and rolled out."""
    force: bool = False
    """Do stages again that were done with other settings."""


@command(study, "completers", CompletersFlags)
def completers_command(flags: CompletersFlags, *, as_json: bool, quiet: bool) -> None:
    """How good Monte-Carlo labels are by who completes: able and weak policies, mixtures, at equally many rollouts."""
    from gradatim.study.completers import completers_study

    config = replace(COMPLETERS[flags.budget], tier=flags.tier, seed=flags.seed)
    result = completers_study(config, flags.out, force=flags.force, quiet=quiet)
    show(result, as_json, _told(result))


@dataclass(frozen=True, kw_only=True)
class LearningFlags:
    """`gradatim study learning-curve`."""

    budget: Literal["tiny", "small", "full"] = "tiny"
    """How much, on 2 CPU cores: ten minutes, some hours, a day."""
    contender: tuple[str, ...] = ()
    """Who competes, by name (give it several times); all, if it is not given."""
    out: str = "runs/study-learning-curve"
    """The run's folder. The same command again goes on with what is not finished."""
    device: str = "auto"
    """Where models are trained and run: "auto", "cpu", "cuda"."""
    seed: int = 0
    """Decides what is sampled, rolled out and judged."""
    force: bool = False
    """Do stages again that were done with other settings."""


@command(study, "learning-curve", LearningFlags)
def learning_command(flags: LearningFlags, *, as_json: bool, quiet: bool) -> None:
    """Objectives and labels by how many solutions they learn from: accuracy, first errors, calibration, crossovers."""
    from gradatim.study.learning import learning_study

    config = replace(LEARNING[flags.budget], contenders=flags.contender, device=flags.device, seed=flags.seed)
    result = learning_study(config, flags.out, force=flags.force, quiet=quiet)
    show(result, as_json, _told(result))


def _told(result: Mapping[str, Any]) -> str:
    tables = [aligned(title, runs.plain(rows)) for title, rows in result["tables"].items()]
    end = f"{result['seconds']:.0f} s of work in all\nreport: {result['report']}\nfigure: {result['figure']}"
    return "\n\n".join([*tables, result["summary"], end])
