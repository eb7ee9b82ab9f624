"""The page of an evaluation, as it is written: policy, embedded data, tables, and any mix of suites."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gradatim import records
from gradatim.core import Prefix, Score
from gradatim.evaluate.asked import EvaluateConfig
from gradatim.evaluate.mixed import evaluate_stage
from gradatim.view.evaluation.curves import curves_of

EVIL = "</script><script>x</script>\ud800"


class Hashed:
    """A scorer whose step scores depend on the text before them alone."""

    def __init__(self, name: str, scale: float = 1.0) -> None:
        self.name, self.scale = name, scale

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        return [self._one(prefix) for prefix in prefixes]

    def _one(self, prefix: Prefix) -> Score:
        texts = [self.name + prefix.first(k + 1).text.strip() for k in range(len(prefix.steps))]
        steps = tuple(self.scale * int(records.prompt_id(text), 16) / 2**64 for text in texts)
        return Score(value=min(steps), steps=steps, reduction="min", by=self.name)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module", name="mixed")
def _mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two models, one of which claims no probabilities, on steps, planted errors, preferences and a pool."""
    folder = tmp_path_factory.mktemp("mixed")
    bench = [
        {
            "id": f"b{k}",
            "generator": f"g{k % 2}",
            "problem": f"Q{k}?",
            "steps": [f"{k} one", f"{k} two", "three"],
            "label": k % 4 - 1,
            "final_answer_correct": k % 4 == 0,
        }
        for k in range(12)
    ]
    planted = [
        {
            "original_question": f"Q{k}?",
            "modified_question": f"Q{k}?",
            "idx": f"p_{k}",
            "classification": "circular",
            "original_process": ["a", f"b{k}"],
            "modified_process": ["a", f"c{k}", "d"],
            "error_steps": [2],
        }
        for k in range(5)
    ]
    pairs = [{"prompt": f"P{k}?", "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(8)]
    pool = [
        {
            "problem_id": f"w{k}",
            "candidate_index": c,
            "problem": f"W{k}?",
            "steps": [f"{k} {c}", "so"],
            "extracted_answer": str(c % 2),
            "is_correct": c % 2 == 0,
            "model_name": "m",
        }
        for k in range(6)
        for c in range(4)
    ]
    suites = {"processbench": bench, "prmbench": planted, "pairs": pairs, "pool": pool}
    named = tuple(f"{name}={write(folder / f'{name}.jsonl', rows)}" for name, rows in suites.items())
    scorers = [Hashed("first"), Hashed("wide", 9.0)]
    config = EvaluateConfig(suites=named, model=("first", "wide"), report=str(folder))
    evaluate_stage(config, [lambda one=one: one for one in scorers], quiet=True)  # type: ignore[misc]
    return folder


def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_policy_allows_what_is_there_and_nothing_else(mixed: Path) -> None:
    """Style and scripts are allowed by their digests; no other source is."""
    text = page(mixed)
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0])
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def digest(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    [style] = re.findall(r"<style>(.*?)</style>", text, flags=re.S)
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    assert parts.pop("style-src") == digest(style)
    assert parts.pop("script-src").split() == list(map(digest, scripts))
    assert parts == {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}
    assert not re.search(r"\s(?:src|on\w+|style)=", re.sub(r"<(script|style).*?</\1>", "", text, flags=re.S))


def test_the_data_is_whole_and_ends_nothing(mixed: Path) -> None:
    """The cases on the page are those of report.json, to six digits; no `<` is in them."""
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page(mixed), flags=re.S)
    found, report = json.loads(data), json.loads((mixed / "report.json").read_text())

    assert not set("<>&") & set(data)
    assert [one["id"] for one in found["cases"]] == [one["id"] for one in report["cases"]]
    for one, whole in zip(found["cases"], report["cases"], strict=True):
        assert one.get("solution") == whole.get("solution")
        assert one["by"]["wide"]["scores"] == pytest.approx(whole["by"]["wide"]["scores"], rel=1e-5)


def test_half_a_character_and_markup_stop_nothing(mixed: Path, tmp_path: Path) -> None:
    """A lone surrogate in a step is an escape in the data; markup in it stays text."""
    from gradatim.view.evaluation.page import write_evaluation

    report = json.loads((mixed / "report.json").read_text().replace('"wide"', json.dumps(EVIL)))
    report["cases"][0]["solution"]["steps"][0] = EVIL
    text = write_evaluation(report, tmp_path / "new").read_text(encoding="utf-8")
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.S)

    assert json.loads(data)["cases"][0]["solution"]["steps"][0] == EVIL
    assert text.count("<script") == 4
    assert json.loads((tmp_path / "new" / "report.json").read_text())["models"] == ["first", EVIL]


def test_each_suite_has_its_numbers_and_charts(mixed: Path) -> None:
    """First numbers with a rule beside them; reliability only of the model whose scores lie between 0 and 1."""
    text = page(mixed)
    titles = re.findall(r'<h3 class="untrusted">(.*?)</h3>', text)
    sections = re.findall(r'<section id="([\w-]+)"', text)

    assert [name for name in sections if name not in ("warnings", "labels")] == [
        "processbench", "prmbench", "pairs", "pool", "differences", "cases", "made",
    ]  # fmt: skip
    assert {"Reliability: processbench", "Accuracy against n: pool", "Score against length: pool, wide"} <= set(titles)
    [drawn] = re.findall(r'<svg role="img" aria-label="Reliability: processbench".*?</svg>', text, flags=re.S)
    assert set(re.findall(r"<title>([a-z]+)</title>", drawn)) == {"first", "calibrated"}
    assert "best rule without a model" in text
    assert "wide − rule" in text


def test_a_reliability_chart_says_which_steps_it_shows(mixed: Path) -> None:
    """PRMBench has labels behind the first error, too, and uses them; the other suites stop there."""
    found = json.loads((mixed / "report.json").read_text())
    notes = {}
    for suite in ("processbench", "prmbench", "pool"):
        charts = curves_of([[one for one in found["results"] if one["suite"] == suite]], found["models"])
        notes[suite] = next(one.note for one in charts if one.title.startswith("Reliability"))

    assert "Steps up to the first error" in notes["processbench"]
    assert "All labelled steps" in notes["prmbench"]
    assert "first error" not in notes["prmbench"]
    assert "steps" not in notes["pool"].lower()


def test_what_is_left_out_is_counted(mixed: Path, tmp_path: Path) -> None:
    """Mistakes, those that are shown and those that are not add up, and report.json without cases has none."""
    from gradatim.view.evaluation.page import evaluation_page

    report = json.loads((mixed / "report.json").read_text())
    report["cases"] = []
    table = re.findall(r"How many are left out.*?</table>", evaluation_page(report), flags=re.S)[0]
    rows = [re.findall(r'<td class="number">(\d+)</td>', row) for row in table.split("<tr>")[2:]]

    totals = [sum(one["mistakes"].values()) for one in report["results"]]
    assert rows == [[str(total), "0", str(total)] for total in totals]
