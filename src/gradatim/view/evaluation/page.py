"""Writes an evaluation: `report.json`, and `report.html`, one page that needs nothing but a browser.

The page loads nothing: its content security policy allows its own style and scripts, by their digests, and no request at
all. What comes from models and data is escaped in the markup, and reaches the scripts as JSON in which no markup can end.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gradatim import heat
from gradatim.runs import atomic_write
from gradatim.view.evaluation import tables
from gradatim.view.evaluation.curves import curves_of
from gradatim.view.report import report_files, shown, templates

_STYLES = ("base.css", "evaluation/page.css")
_SCRIPTS = ("evaluation/marks.js", "evaluation/cases.js", "evaluation/page.js")


def write_evaluation(found: Mapping[str, Any], folder: str | Path) -> Path:
    """Writes what an evaluation found, as JSON holds it, into `folder` (made if missing); returns the path of the page.

    Characters that are no text (lone surrogates) become escapes in the JSON and question marks on the page.
    """
    numbers_file, page_file = report_files(folder)
    page_file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, ensure_ascii=False, allow_nan=False, indent=1)
    atomic_write(numbers_file, (text + "\n").encode("utf-8", "backslashreplace"))
    atomic_write(page_file, evaluation_page(found).encode("utf-8", "replace"))
    return page_file


def evaluation_page(found: Mapping[str, Any]) -> str:
    """The page of an evaluation, from what report.json holds."""
    style, scripts = _style(), [_part(name) for name in _SCRIPTS]
    suites = list(dict.fromkeys(one["suite"] for one in found["results"]))
    return (
        templates()
        .get_template("evaluation/page.html.j2")
        .render(
            found=found,
            title=f"Evaluation of {_few(found['models'])}",
            summary=_summary(found, suites),
            policy=f"default-src 'none'; style-src {_digest(style)}; script-src {' '.join(map(_digest, scripts))}; "
            "base-uri 'none'; form-action 'none'",
            style=Markup(style),
            scripts=[Markup(one) for one in scripts],
            sections=[_section(found, suite) for suite in suites],
            differences=tables.differences_table(found) if found["differences"] else None,
            seeds=tables.seeds_table(found),
            places={
                (one["suite"], one["subset"]): tables.place_name(one["suite"], one["subset"]) for one in found["suites"]
            },
            mistakes=list(dict.fromkeys(map(tables.mistake_meant, suites))),
            left_out=_left_out(found),
            data=Markup(_embedded(_for_scripts(found))),
        )
    )


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} models"


def _summary(found: Mapping[str, Any], suites: list[str]) -> str:
    rows = {(one["suite"], one["subset"]): one["counts"]["rows"] for one in found["results"]}
    names = ", ".join(tables.SUITES[suite] for suite in suites)
    told = [f"{names}: {_counted(sum(rows.values()), 'row')} in {_counted(len(rows), 'subset')}."]
    if found["drops"]:
        told.append(f"{_counted(sum(found['drops'].values()), 'row')} left out (see how it was made).")
    if found["warnings"]:
        told.append(f"{_counted(len(found['warnings']), 'warning')} about scores.")
    return " ".join(told)


def _counted(count: int, what: str) -> str:
    return f"{shown(count)} {what}{'' if count == 1 else 's'}"


def _section(found: Mapping[str, Any], suite: str) -> dict[str, Any]:
    """A suite: its first numbers, its charts, and the rest of its tables."""
    results = tables.results_of(found, suite)
    subsets: dict[str, list[Mapping[str, Any]]] = {}
    for one in results:
        subsets.setdefault(one["subset"], []).append(one)
    more = []
    for some in subsets.values():
        made = [tables.measures_table(some), tables.rules_table(some), *tables.group_tables(some)]
        more += [table for table in made if table is not None]
    return {
        "suite": suite,
        "name": tables.SUITES[suite],
        "headline": tables.headline(found, suite),
        "notes": list(dict.fromkeys(f"{one['subset']}: {note}" for one in results for note in one["notes"])),
        "curves": curves_of(list(subsets.values()), found["models"]),
        "tables": more,
    }


def _left_out(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each result how many mistakes there are, and how many of them the page holds."""
    rows = []
    for one in found["results"]:
        here = [case for case in found["cases"] if (case["suite"], case["subset"]) == (one["suite"], one["subset"])]
        rows.append(
            {
                "place": tables.place_name(one["suite"], one["subset"]),
                "model": one["model"],
                "mistakes": sum(one["mistakes"].values()),
                "shown": sum(case["by"].get(one["model"], {}).get("listed", False) for case in here),
                "kinds": ", ".join(f"{kind} {count}" for kind, count in one["mistakes"].items()),
            }
        )
    return rows


def _for_scripts(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the scripts need: the models, the subsets' names, who is in each row of the differences, and the cases (scores to six
    digits)."""
    cases = [{**case, "by": {model: _short(said) for model, said in case["by"].items()}} for case in found["cases"]]
    names = [
        {"suite": one["suite"], "subset": one["subset"], "name": tables.place_name(one["suite"], one["subset"])}
        for one in found["suites"]
    ]
    pairs = [(one["first"], one["second"]) for one in found["differences"]]
    return {"models": found["models"], "places": names, "pairs": pairs, "cases": cases}


def _short(said: Mapping[str, Any]) -> dict[str, Any]:
    def digits(value: float | None) -> float | None:
        return None if value is None else float(f"{value:.6g}")

    numbers = {name: digits(said[name]) for name in ("sureness", "value", "threshold")}
    return {**said, **numbers, "scores": [digits(score) for score in said["scores"]]}


def _embedded(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair becomes its escape
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _style() -> str:
    ramp = ", ".join(heat.colour(step / 10) for step in range(11))
    marks = f".ramp {{ background: linear-gradient(90deg, {ramp}); }}\n.swatch {{ background: {heat.colour(0.2)}; }}\n"
    return "\n".join(map(_part, _STYLES)) + marks


@cache
def _part(name: str) -> str:
    return files("gradatim.view").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
