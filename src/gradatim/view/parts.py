"""What a report is made of: plain values that are written to JSON as they are and drawn on the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradatim.core import Estimate

Cell = str | int | float | bool | Estimate | None
"""One entry of a table: an Estimate is shown with its interval, None and NaN as a dash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns; the first table of a report is its headline."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What the numbers mean and what they do not show."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r} has {len(self.columns)} columns, a row has {len(row)} cells")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a curve. `low` and `high`, where given, are drawn as a band; NaN breaks line and band."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    colour: int | None = None
    """Which of the page's colours, so that a model keeps its own from chart to chart; None: by its place."""

    def __post_init__(self) -> None:
        sizes = {len(self.x), len(self.y)} | {len(bound) for bound in (self.low, self.high) if bound}
        if len(sizes) != 1 or bool(self.low) != bool(self.high):
            raise ValueError(f"series {self.name!r}: x, y, low and high must have one length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Lines over a common x axis, for example accuracy against the number of candidates."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    """Powers of two on the x axis; every x must then be above 0."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bin:
    """Steps of similar score: their mean score, and the share of them that is right."""

    score: float
    right: Estimate
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Does a score of 0.8 mean right 8 times in 10? Points on the diagonal say yes."""

    title: str
    bins: tuple[Bin, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often each range of values occurs, in one or more groups; drawn as shares of each group."""

    title: str
    x_label: str
    edges: tuple[float, ...]
    """Bin edges, ascending; one more than there are counts."""
    counts: Mapping[str, tuple[int, ...]]
    note: str = ""

    def __post_init__(self) -> None:
        for name, counts in self.counts.items():
            if len(counts) != len(self.edges) - 1:
                raise ValueError(f"histogram group {name!r} has {len(counts)} counts for {len(self.edges)} edges")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One solution with its step scores, to look at. Step indices are 0-based; the page counts from 1."""

    title: str
    prompt: str
    steps: tuple[str, ...]
    scores: tuple[float, ...]
    """One a step; NaN where a step has no score."""
    predicted: int | None = None
    """The first step that the model calls wrong; None: it calls none wrong. Meaningful only if `predicted_known`."""
    predicted_known: bool = True
    """False where a labeller could not say."""
    true: int | None = None
    """The first step that is wrong; meaningful only if `true_known`."""
    true_known: bool = False
    value: float | None = None
    """The solution's score as a whole."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Short things to know about it, for example the answer and the gold one."""

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.scores):
            raise ValueError(f"case {self.title!r} has {len(self.scores)} scores for {len(self.steps)} steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a report shows. All text is treated as untrusted."""

    title: str
    summary: str
    """One or two sentences: what was found."""
    command: str
    """The command line that makes this report again."""
    facts: Mapping[str, Cell] = field(default_factory=dict)
    """What a reader needs to judge the numbers: data, model, seeds, hardware, counted drops."""
    tables: tuple[Table, ...] = ()
    curves: tuple[Curve, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    cases: tuple[Case, ...] = ()
