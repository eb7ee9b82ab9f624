"""The command line itself: its help, its exits, and how results are printed."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer
import typer.core

from gradatim import runs
from gradatim.core import Policy
from gradatim.errors import ConfigError, GradatimError
from gradatim.evaluate.asked import SUITES
from gradatim.flags import Interrupted
from gradatim.score.opening import Opening
from gradatim.solutions.opening import notes

HELP = """Train, use and distrust reward models for reasoning.

    problems -> solutions -> steps -> labels -> train -> score -> choose / search -> evaluate

Each verb is a stage; between stages there are files that you can read. Start with `gradatim loop --budget tiny`.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


class _Suites(typer.core.TyperGroup):
    """Commands, or else the names of suites: `evaluate prmbench lab ...` is `evaluate suites prmbench lab ...`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        first, second = (word.partition("=")[0] for word in (*args, "", "")[:2])
        if first in SUITES and (args[0] not in self.commands or second in SUITES):
            return "suites", self.commands["suites"], args
        return super().resolve_command(ctx, args)


evaluate = typer.Typer(
    cls=_Suites,
    help="Measure reward models: one benchmark with all its settings, or SUITE... together in one report.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(evaluate, name="evaluate")


def main() -> None:
    """Run the command line; exits 0 on success, 1 on a user's fault, 2 on wrong usage, 130 when interrupted."""
    try:
        app()  # ends the process itself, with 0 or 2
    except GradatimError as error:
        status = _fail(str(error))
    except Interrupted:
        print("stopped; the same command goes on from here where the stage keeps its work", file=sys.stderr)
        status = 130
    except OSError as error:
        status = _os_error(error)
    sys.exit(status)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _os_error(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 0
    if error.errno == errno.ENOSPC:
        return _fail(f"no space left on the disk ({error.filename or 'while writing'}); free some and run it again")
    return _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def show(result: Mapping[str, Any], as_json: bool, human: str) -> None:
    """One JSON object (NaN as null), or the words for people."""
    print(json.dumps(runs.plain(dict(result)), ensure_ascii=False, allow_nan=False) if as_json else human)


def aligned(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under their column names, aligned."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([title, lines[0], "-" * len(lines[0]), *lines[1:]])


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        if value["value"] is None or value["value"] != value["value"]:
            return "-"
        if value["low"] is None or value["low"] != value["low"]:  # one problem has no interval
            return f"{value['value']:.3f}"
        return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    if value is None or value != value:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def left_out(drops: Mapping[str, int]) -> list[str]:
    """What was dropped and counted, a line a reason."""
    return [f"left out: {reason} ({count})" for reason, count in drops.items()]


def asides(result: Mapping[str, Any]) -> list[str]:
    """The notes of a result and what was dropped, a line each."""
    return [*(f"note: {note}" for note in result.get("notes", ())), *left_out(result.get("drops", {}))]


def refuse_unused(opening: Opening) -> None:
    """ConfigError if settings that open a reward model were given where recorded scores are read."""
    if opening != Opening():
        raise ConfigError(
            "--format, --option, --server and --calibration open a --model; recorded scores are as they are"
        )


def remark(notes: Sequence[str]) -> None:
    """What was done in another way than usual, on standard error."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def noted(human: str, policy: Policy, result: Mapping[str, Any]) -> str:
    return "\n".join([human, *(f"note: {line}" for line in notes(policy, result["not_written"]))])
