"""Verbs about data sets of step labels."""

from __future__ import annotations

from gradatim.cli.app import app, show
from gradatim.flags import command
from gradatim.labels.reformat import ReformatConfig, reformat_stage


@command(app, "reformat", ReformatConfig, arguments=("data", "out"))
def reformat_command(config: ReformatConfig, *, as_json: bool, quiet: bool) -> None:
    """Write a labelled step data set in another form (PRM800K, Math-Shepherd, ProcessBench, TRL, ...), losses counted."""
    result = reformat_stage(config)
    lost = [
        f"  {when}: {reason} ({count})"
        for when, drops in (("not read", result["read_drops"]), ("not written", result["write_drops"]))
        for reason, count in drops.items()
    ]
    head = f"{result['solutions']} labelled solutions read, {result['rows']} rows of {config.to} in {config.out}"
    show(result, as_json, "\n".join([head, *lost]))
