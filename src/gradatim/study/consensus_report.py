"""The tables and curves of the study of consensus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradatim import runs
from gradatim.study import pages
from gradatim.study.against import Kept, Said, kept
from gradatim.study.settings import ConsensusConfig
from gradatim.view.parts import Cell, Report, Series, Table

TOLD = {
    0.0: "independent judges",
    0.5: "judges err where Monte-Carlo does, half of the time",
    1.0: "judges err where Monte-Carlo does",
}
"""The correlations that have a table of their own, and what it is called."""
DRAWN = ("2 judges", "3 judges", "2 of 3 judges", "Monte-Carlo + 1", "Monte-Carlo + 2", "no mending + 1")
"""The rules in the figure."""
ROLLED = ("Monte-Carlo", "Monte-Carlo, k = 8", "Monte-Carlo, any of 8", "bisection, SPRT")
"""The rules that the policy's own rollouts decide."""
COLUMNS = ("F1 of what is kept", "erroneous kept", "sound kept", "all kept", "F1, rest missed")

Joint = Mapping[float, Mapping[str, Sequence[Said]]]
"""What rules say, by correlation and name."""


def report(
    run: runs.Run,
    config: ConsensusConfig,
    alone: Mapping[str, Sequence[Said]],
    joint: Joint,
    chosen: Mapping[float, str | None],
) -> Report:
    """The page of the study: Monte-Carlo alone, the rules chosen on other problems, and consensus by correlation."""
    found = {
        at: {name: kept(row) for name, row in rows.items() if at in TOLD or name in {*DRAWN, chosen[at]}}
        for at, rows in joint.items()
    }
    single = {name: kept(rows) for name, rows in alone.items()}
    note = (
        f"k = {config.rollouts} unless it is said; wrong is the first step whose rate is below half of the start's "
        "(3/4: below three quarters of it). k = ∞: exact values in place of rates. No mending: a completer that is the "
        "same but for that."
    )
    x = "correlation with Monte-Carlo errors"
    return Report(
        title="Consensus, where Monte-Carlo labels fail",
        summary=_summary(config.aim, single, found, chosen),
        command=runs.invocation("gradatim study consensus"),
        facts=pages.facts(run, config),
        tables=(
            _table("Monte-Carlo alone", single, note),
            _chosen(config.aim, found, chosen),
            *(_table(f"Consensus: {told}", found[at]) for at, told in TOLD.items()),
        ),
        curves=(
            pages.curve("First-error F1 of the kept rows", x, "F1", _lines(found, "f1"), log_x=False),
            pages.curve("Share of the erroneous solutions kept", x, "kept", _lines(found, "errors"), log_x=False),
        ),
    )


def _lines(found: Mapping[float, Mapping[str, Kept]], what: str) -> list[Series]:
    at = list(found)
    picked = {name: [found[c][name] for c in at] for name in DRAWN}
    return [
        pages.line(name, at, [one.found.f1 if what == "f1" else one.errors for one in rows])
        for name, rows in picked.items()
    ]


def _table(title: str, rows: Mapping[str, Kept], note: str = "") -> Table:
    told = "F1 is that of first errors on the kept rows; the last column counts the others as missed."
    return Table(
        title=title,
        columns=("rule", *COLUMNS),
        rows=tuple((name, *_cells(one)) for name, one in rows.items()),
        note=f"{note} {told}".strip(),
    )


def _cells(one: Kept) -> tuple[Cell, ...]:
    return (one.found.f1, one.errors, one.correct, one.all, one.f1_of_all)


def _chosen(aim: float, found: Mapping[float, Mapping[str, Kept]], chosen: Mapping[float, str | None]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for at, name in chosen.items():
        cells = (None,) * len(COLUMNS) if name is None else _cells(found[at][name])
        rows.append((f"{at:g}", name or "none", *cells))
    return Table(
        title=f"The rule that keeps most with F1 {aim:g}, chosen on other problems",
        columns=("correlation", "rule", *COLUMNS),
        rows=tuple(rows),
        note="Correlation: in which share of the solutions every judge's errors are those of the Monte-Carlo labels. "
        "Keeps most: of the class, erroneous or sound, of which it keeps less.",
    )


def _summary(
    aim: float,
    alone: Mapping[str, Kept],
    found: Mapping[float, Mapping[str, Kept]],
    chosen: Mapping[float, str | None],
) -> str:
    name, best = max(
        ((name, one.found.f1.value) for name, one in alone.items() if name in ROLLED), key=lambda item: item[1]
    )
    parts = [f"Monte-Carlo alone: F1 {best:.3f} at best ({name})."]
    for at, told in ((0.0, "independent judges"), (1.0, "judges that err where it does")):
        rule = chosen[at]
        if rule is None:
            parts.append(f"With {told} no rule reaches {aim:g}.")
            continue
        one = found[at][rule]
        parts.append(
            f"With {told}: {rule}, F1 {one.found.f1.value:.3f}, keeping {one.errors.value:.2f} of the erroneous and "
            f"{one.correct.value:.2f} of the sound solutions."
        )
    return " ".join(parts)
