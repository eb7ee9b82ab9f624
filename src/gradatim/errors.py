"""What can go wrong, grouped by who can mend it.

GradatimError
  ├ InputError        your file      "labels.jsonl:17: found 5 tallies for 6 steps; re-run `gradatim label`"
  ├ ConfigError       your settings  "keep=4 does not divide width=10"
  ├ CheckpointError   your model     "encoded with steps@3f2a, this run encodes steps@91c0"
  └ BackendError      the outside    recorded on the row, the run goes on, counted in the manifest
"""

from __future__ import annotations

from pathlib import Path


class GradatimError(Exception):
    """Base of every error that Gradatim raises on purpose; the command line prints it without a traceback."""


class InputError(GradatimError):
    """A file holds something that can't be read as what it should be.

    The message names the file and the line where they are known, what was found, what was expected and what to do.
    """

    def __init__(
        self,
        found: str,
        *,
        expected: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
        fix: str | None = None,
    ) -> None:
        self.found, self.expected, self.file, self.line, self.fix = found, expected, file, line, fix
        where = "" if file is None else f"{file}:" if line is None else f"{file}:{line}:"
        parts = [f"{where} {found}".strip()]
        if expected:
            parts.append(f"expected {expected}")
        if fix:
            parts.append(fix)
        super().__init__("; ".join(parts))


class ConfigError(GradatimError):
    """Settings that contradict each other or lie outside their range."""


def escaped_line_end(name: str, text: str) -> ConfigError:
    """The error for a setting that spells a line end with a backslash and an n: a slip in a shell."""
    return ConfigError(f"{name}={text!r} holds a backslash and an n, not a line end; in a shell write $'\\n'")


class CheckpointError(GradatimError):
    """A model folder that is not what it says, or does not fit this run."""


class BackendError(GradatimError):
    """Something outside failed (a server, a worker, a missing library); a long run records it and goes on."""
