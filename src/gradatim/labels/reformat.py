"""`gradatim reformat`: a labelled step data set in, the same in another form out, with what was lost on the way counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from gradatim.errors import ConfigError, escaped_line_end
from gradatim.labels.datasets import load_labelled, solutions_beside
from gradatim.labels.given import Misfits
from gradatim.labels.writing import FORMS, Form, Neutral, write_form
from gradatim.records import JOINER, check_output


@dataclass(frozen=True, slots=True, kw_only=True)
class ReformatConfig:
    """`gradatim reformat`: which labelled solutions, and which form they get."""

    data: str
    """A labelled data set: FORM:PATH (prm800k, math-shepherd, processbench, prmbench, mr-ben, bigbench-mistake, plain,
    trl), our own file or run, or a path whose form the first row tells."""
    out: str
    """The file to write; packed where its name ends in .gz or .zst."""
    to: Form
    """The form to write. gradatim and plain keep ratings as they are; the other forms hold less, and what they can't hold
    is counted."""
    neutral: Neutral = "skip"
    """A neutral rating (0), where the form has none: "skip" takes it for no label, "good" or "bad" for one."""
    misfits: Misfits = "drop"
    """A row of a published data set whose error points at no step: "drop" counts it, "error" stops, "keep" (PRMBench
    only) passes over the marks past the end, as its published code does."""
    joiner: str = JOINER
    """What the steps of the source are joined with, where they come as a list."""
    skip_bad: bool = False
    """Pass over malformed rows and count them, instead of stopping at the first."""

    def __post_init__(self) -> None:
        if self.to not in FORMS:
            raise ConfigError(f"to={self.to}: expected one of {', '.join(FORMS)}")
        if "\\n" in self.joiner:
            raise escaped_line_end("joiner", self.joiner)


def reformat_stage(config: ReformatConfig) -> dict[str, Any]:
    """Read, write, and say what happened: `solutions` read, `rows` written, `read_drops` and `write_drops` by reason."""
    check_output(config.out, [config.data, *solutions_beside(config.data)])
    read, written = Counter[str](), Counter[str]()
    items = load_labelled(
        config.data, skip_bad=config.skip_bad, misfits=config.misfits, drops=read, joiner=config.joiner
    )
    rows = write_form(config.out, items, config.to, neutral=config.neutral, drops=written)
    return {
        "data": config.data,
        "out": config.out,
        "to": config.to,
        "neutral": config.neutral,
        "solutions": len(items),
        "rows": rows,
        "read_drops": dict(read),
        "write_drops": dict(written),
    }
