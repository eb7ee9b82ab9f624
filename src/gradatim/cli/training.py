"""The verb that trains."""

from __future__ import annotations

from dataclasses import dataclass

from gradatim import runs
from gradatim.cli.app import aligned, app, remark, show
from gradatim.flags import command
from gradatim.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class ExplainFlags:
    """`gradatim train --explain`."""

    explain: bool = False
    """Say what would be learnt from, how it would be weighed and what it would cost, and stop; no weight is loaded."""


@command(app, "train", TrainConfig, ExplainFlags, defaults={"out": "runs/model"})
def train_command(config: TrainConfig, flags: ExplainFlags, *, as_json: bool, quiet: bool) -> None:
    """Train an ORM or a PRM on labelled solutions, with every shared token computed once. Resumes."""
    if flags.explain:
        from gradatim.train.explain import explain_stage, told

        found = explain_stage(config)
        show(found, as_json, told(found, aligned))
        return
    from gradatim.train.stage import train_stage
    from gradatim.train.workers import workers_for

    result, workers = train_stage(config, remark=remark, quiet=quiet), workers_for(config.device)
    workers.leave()
    if not workers.is_main:
        return
    shown = "\n".join(f"{name}: {value}" for name, value in runs.plain(result).items() if not isinstance(value, list))
    show(result, as_json, shown)
