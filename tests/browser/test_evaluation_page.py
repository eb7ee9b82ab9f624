"""The page of `gradatim evaluate` in a browser: it shows both models, takes marks, and gives labels that a training reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gradatim import heat, records
from gradatim.core import Prefix, Score
from gradatim.evaluate.asked import EvaluateConfig
from gradatim.evaluate.mixed import evaluate_stage
from gradatim.labels.datasets import load_labelled

EVIL = '</script><img src=x onerror="alert(1)"><!--<script>alert(2)</script>\u202e\x1b[31m&lt;'
"""Ends a script, begins others, turns the direction of the text, and writes in red on a terminal."""


class Noisy:
    """Scores that depend on the texts and the model's name alone, the wrong steps a little lower."""

    def __init__(self, name: str) -> None:
        self.name = name

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        found = []
        for prefix in prefixes:
            texts = [self.name + prefix.first(k + 1).text.strip() for k in range(len(prefix.steps))]
            chance = [int(records.prompt_id(text), 16) / 2**64 for text in texts]
            steps = tuple(x * 0.7 if "wrong" in text else 0.3 + 0.7 * x for x, text in zip(chance, texts, strict=True))
            found.append(Score(value=min(steps), steps=steps, reduction="min", by=self.name))
        return found


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two models, one of them of an evil name, on 24 solutions, evil in every text."""
    folder = tmp_path_factory.mktemp("page")
    rows = [
        {
            "id": f"row-{k}" if k else f"row-0 {EVIL}",
            "generator": ("small", "large")[k % 2],
            "problem": f"What is {k} + {k}? {EVIL if k % 5 == 0 else ''}",
            "steps": [
                f"{k}: step {n}{' wrong' if n == k % 4 else ''} {EVIL if n == 1 else 'x' * 40}"
                for n in range(5 + k % 3)
            ],
            "label": k % 4 if k % 3 else -1,
            "final_answer_correct": k % 2 == 0,
        }
        for k in range(24)
    ]
    data = folder / "easy.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scorers = [Noisy("plain"), Noisy(f"evil {EVIL}")]
    config = EvaluateConfig(
        suites=(f"processbench={data}",), model=tuple(one.name for one in scorers), report=str(folder), cases=8
    )
    evaluate_stage(config, [lambda one=one: one for one in scorers], quiet=True)  # type: ignore[misc]
    return folder


@pytest.fixture(name="report")
def _report(folder: Path) -> Path:
    return folder / "report.html"


def cases(folder: Path) -> list[dict[str, Any]]:
    found = json.loads((folder / "report.json").read_text())["cases"]
    return [one for one in found if one["by"]["plain"]["mistaken"]]


def marked(page: Any) -> list[str | None]:
    """What each step of the case that is shown is marked with."""
    script = "rows => rows.map(row => row.querySelector('input:checked').value)"
    return page.eval_on_selector_all("#case tr[data-step]", script)  # type: ignore[no-any-return]


def exported(page: Any, path: Path) -> Path:
    """The file that the page hands over."""
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(path)
    return path


def test_hostile_texts_are_texts(opened: Any, report: Path) -> None:
    """Nothing in a problem, step, id or model's name becomes markup; what turns or hides text is made visible. (Requests, words
    on the console and dialogs fail every test here.)"""
    with opened(report) as page:
        page.select_option("#filters select >> nth=0", "all")
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 4
        assert "evil </script><img" in page.locator("#model-a option >> nth=1").inner_text()
        first = page.locator("#case .steps").inner_text()
        assert '</script><img src=x onerror="alert(1)">' in first
        assert "⟨U+202E⟩⟨U+001B⟩[31m&lt;" in first


def test_both_models_are_beside_each_other(opened: Any, folder: Path, report: Path) -> None:
    """Each step shows the scores of report.json, and which step each model calls wrong; colours are those of the other pages."""
    with opened(report) as page:
        page.locator("#list li >> nth=1").click()
        key = page.locator("#case h3").inner_text().split()[0]
        [case] = [one for one in cases(folder) if one["id"].split()[0] == key]
        shown = page.eval_on_selector_all(
            "#case tr[data-step]",
            "rows => rows.map(row => [...row.querySelectorAll('td.score')].map(td => td.innerText))",
        )
        for side, said in enumerate(case["by"].values()):
            assert [row[side].split()[0] for row in shown] == [f"{score:.3f}" for score in said["scores"]]
            assert [k for k, row in enumerate(shown) if "✗" in row[side]] == [said["named"]] * (
                said["named"] is not None
            )
        values = [0.0, 0.123, 0.5, 0.77, 1.0]
        assert page.evaluate("values => values.map(one => colour(one))", values) == list(map(heat.colour, values))
        assert page.locator("#differences tbody tr:visible").count() == 5

        page.select_option("#model-b", "")
        assert page.locator("#case tr[data-step] >> nth=0").locator("td.score").count() == 1


def test_the_surest_mistakes_come_first_and_can_be_looked_for(opened: Any, folder: Path, report: Path) -> None:
    """The list is in order of sureness; filters and the search leave those that fit."""
    wanted = sorted(cases(folder), key=lambda one: -one["by"]["plain"]["sureness"])
    with opened(report) as page:
        names = page.locator("#list .name").all_inner_texts()
        assert [name.split()[0] for name in names] == [one["id"].split()[0] for one in wanted]

        small = [one["id"] for one in wanted if one["solution"]["author"] == "small"]
        page.locator("#filters").get_by_label("Generator").select_option("small")
        assert page.locator("#list li").count() == len(small)
        page.get_by_label("Search").fill("no such words")
        assert "No such case" in page.locator("#count").inner_text()
        assert page.locator("#case").is_hidden()


def test_the_keyboard_is_enough(opened: Any, report: Path) -> None:
    """Tab reaches the list and the steps, and shows where it is; keys move and mark."""
    with opened(report) as page:
        seen: list[str] = []
        for _ in range(60):
            page.keyboard.press("Tab")
            ringed = page.evaluate(
                "() => { const e = document.activeElement, box = e.closest('fieldset, .button') || e;"
                "return [e.id || e.name || e.tagName, getComputedStyle(box).outlineStyle !== 'none'] }"
            )
            assert ringed[1], f"no focus ring on {ringed[0]}"
            seen.append(ringed[0])
            if ringed[0] == "step-0":
                break
        assert seen.index("theme") < seen.index("model-a") < seen.index("list") < seen.index("step-0")

        page.keyboard.press("r")
        page.keyboard.press("w")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("n")
        assert marked(page)[:4] == ["right", "bad", "none", "neutral"]
        page.keyboard.press("ArrowUp")
        page.keyboard.press("u")
        assert marked(page)[3] == "none"

        first = page.locator("#case h3").inner_text()
        page.keyboard.press("j")
        second = page.locator("#case h3").inner_text()
        assert second != first
        assert set(marked(page)) == {"none"}
        page.keyboard.press("a")
        assert set(marked(page)) == {"right"}
        page.keyboard.press("k")
        assert page.locator("#case h3").inner_text() == first
        page.focus("#list")
        page.keyboard.press("ArrowDown")
        assert page.locator("#case h3").inner_text() == second


def test_marks_become_labels_that_a_training_reads(opened: Any, report: Path, tmp_path: Path) -> None:
    """What is marked is what is read, and what is not marked stays unlabelled; the note, the name and the subset are there."""
    with opened(report) as page:
        page.locator("#case tr[data-step='0'] label.right").click()
        page.locator("#case tr[data-step='2'] label.bad").click()
        page.fill("#note", f"unsure {EVIL}")
        page.keyboard.press("Tab")
        page.locator("#list li >> nth=1").click()
        page.click("#rest")
        page.fill("#by", "Ada")
        file = exported(page, tmp_path / "labels.jsonl")

    (_, labels), (_, whole) = load_labelled(str(file))
    assert labels.ratings == (1, None, -1, *[None] * (len(labels.tallies) - 3))
    assert [tally.tried for tally in labels.tallies] == [1, 0, 1, *[0] * (len(labels.tallies) - 3)]
    assert (labels.error, labels.error_known, labels.source, labels.by) == (2, False, "human", "Ada")
    assert labels.note == f"unsure {EVIL}"
    assert labels.rule == "marked on the page of processbench, easy"
    assert set(whole.ratings or ()) == {1}
    assert (whole.error, whole.error_known) == (None, True)
    suite = f"processbench={report.parent / 'easy.jsonl'}"
    judged = evaluate_stage(EvaluateConfig(suites=(suite,), labels=(str(file),), skip_bad=True))["results"][0]
    assert (judged["model"], judged["source"], judged["counts"]["rows"]) == (f"Ada {labels.rule}", "labels", 2)

    with opened(report) as page:  # a browser that knows nothing of it
        page.set_input_files("#import", file)
        page.locator("#kept", has_text="2 read").wait_for()
        assert marked(page)[:3] == ["right", "none", "bad"]
        assert page.input_value("#note") == f"unsure {EVIL}"
        page.locator("#case tr[data-step='0'] label.bad").click()
        page.set_input_files("#import", file)
        page.locator("#kept", has_text="1 marked otherwise here").wait_for()
        assert marked(page)[0] == "bad"


def test_explain_takes_the_labels(opened: Any, report: Path, tmp_path: Path) -> None:
    """`gradatim train --explain` counts the marked steps of the exported file, and nothing else."""
    from gradatim.train.config import TrainConfig
    from gradatim.train.explain import explain_stage

    with opened(report) as page:
        page.locator("#case tr[data-step='0'] label.right").click()
        page.locator("#case tr[data-step='1'] label.bad").click()
        page.keyboard.press("j")
        page.click("#rest")
        steps = len(marked(page))
        file = exported(page, tmp_path / "labels.jsonl")
    told = explain_stage(TrainConfig(data=(str(file),), backbone="lab", held_out=0.0))

    assert told["rows"] == {"read": 2, "used": 2, "dropped": {}}
    assert {one["class"]: one["evidence"] for one in told["classes"]} == {"for": 1 + steps, "against": 1}


def test_marks_outlive_the_page(opened: Any, report: Path) -> None:
    """They are there after a reload; without any store the page says so, keeps them meanwhile, and warns before it is left."""
    with opened(report) as page:
        page.locator("#case tr[data-step='1'] label.neutral").click()
        assert page.locator("#kept").inner_text() == "1 solution marked. Kept in this browser."
        page.reload()
        assert marked(page)[1] == "neutral"
        assert page.locator("#list .name >> nth=0").inner_text().startswith("✎")

    blocked = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }})"
    leaving = (
        "() => { const e = new Event('beforeunload', {cancelable: true}); dispatchEvent(e); return e.defaultPrevented }"
    )
    with opened(report, script=blocked) as page:
        assert not page.evaluate(leaving)
        page.locator("#case tr[data-step='1'] label.neutral").click()
        assert marked(page)[1] == "neutral"
        assert "keeps nothing for this page: export" in page.locator("#kept").inner_text()
        assert page.evaluate(leaving)


def contrast(one: str, other: str) -> float:
    """Of two colours "rgb(r, g, b)", as WCAG 2 has it."""

    def light(colour: str) -> float:
        channels = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(opened: Any, report: Path, scheme: str) -> None:
    """Contrast of at least 4.5 for all kinds of text, as the system has it and after the button."""
    pairs = [
        *(("body", "body"), ("a", "body"), (".note", ".card"), (".miss", ".card"), (".interval", ".card")),
        *(("#case .steps .text", ".card"), ("#case .prompt", "#case .prompt"), (".mark label", ".mark fieldset")),
        *(("#list .kind", "#list li[aria-selected=true]"), ("#list .kind", "#list")),
    ]
    script = """pairs => pairs.map(([text, ground]) => [text, getComputedStyle(document.querySelector(text)).color,
        getComputedStyle(document.querySelector(ground)).backgroundColor])"""
    with opened(report, color_scheme=scheme) as page:
        grounds = []
        for _ in range(2):
            for name, ink, paper in page.evaluate(script, pairs):
                assert contrast(ink, paper) >= 4.5, (name, ink, paper)
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            page.click("#theme")
        assert contrast(*grounds) > 10


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_it_fits_the_screen(opened: Any, report: Path, width: int) -> None:
    """The page never scrolls sideways, and the steps of a case can be marked."""
    with opened(report, viewport={"width": width, "height": 700}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#case tr[data-step='0'] label.bad").click()
        assert marked(page)[0] == "bad"


def test_numbers_can_be_read_without_scripts(opened: Any, report: Path) -> None:
    """Tables and charts are in the page as it is; where the cases are is told."""
    with opened(report, java_script_enabled=False) as page:
        assert page.locator("#processbench table.headline tbody tr").count() == 2
        assert page.locator("#processbench figure svg").count() == 3
        assert page.locator("#browser").is_hidden()
        assert "report.json" in page.locator("noscript").inner_text()


def test_every_suite_can_be_looked_at(opened: Any, tmp_path: Path) -> None:
    """Planted errors, preferences and a pool on one page: each has its cases; preferences have answers and no marks."""
    planted = [
        {
            "original_question": f"Q{k}?", "modified_question": f"Q{k}?", "idx": f"p_{k}", "classification": "circular",
            "original_process": ["a", f"b{k}"], "modified_process": ["a", f"c{k}", f"d{k}"], "error_steps": [2],
        }
        for k in range(4)
    ]  # fmt: skip
    pairs = [{"prompt": f"P{k}?", "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(8)]
    pool = [
        {
            "problem_id": f"w{k}", "candidate_index": c, "problem": f"W{k}?", "steps": [f"{k} {c}", "so"],
            "extracted_answer": str(c % 2), "is_correct": c % 2 == 0, "model_name": "m",
        }
        for k in range(6)
        for c in range(4)
    ]  # fmt: skip
    suites = []
    for name, rows in {"prmbench": planted, "pairs": pairs, "pool": pool}.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        suites.append(f"{name}={tmp_path / name}")
    config = EvaluateConfig(suites=tuple(suites), model=("one",), report=str(tmp_path))
    evaluate_stage(config, [lambda: Noisy("one")], quiet=True)

    with opened(tmp_path / "report.html") as page:
        place = page.locator("#filters").get_by_label("Subset")
        for index, (head, marks) in enumerate([("PRMBench", 3), ("Preference pairs", 0), ("Best of n", 2)]):
            place.select_option(str(index))
            assert place.locator("option:checked").inner_text() == head
            assert page.locator("#list li").count() > 0
            assert page.locator("#case fieldset").count() == marks
            assert page.locator("#case td.score").count() == (marks or 2)
