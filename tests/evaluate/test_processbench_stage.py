"""`gradatim evaluate processbench`: the JSON that other programs rely on, and what happens to bad input."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gradatim.core import Prefix, Score
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.bench import read_recorded, read_subsets, subset_name
from gradatim.evaluate.processbench import ProcessBenchConfig, processbench_stage

ROWS: list[dict[str, Any]] = [
    {"id": "a-0", "problem": "1+1?", "steps": ["x", "y", "z"], "label": 1, "final_answer_correct": False},
    {"id": "a-1", "problem": "1+2?", "steps": ["x", "y"], "label": 0, "final_answer_correct": True},
    {"id": "a-2", "problem": "1+3?", "steps": ["x", "y"], "label": -1, "final_answer_correct": True},
    {"id": "a-3", "problem": "1+4?", "steps": ["x", "y"], "label": -1, "final_answer_correct": True},
]
SCORES = {"a-0": [0.9, 0.2, 0.1], "a-1": [0.8, 0.4], "a-2": [0.9, 0.9], "a-3": [0.3, 0.9]}


class Recall:
    """A scorer that knows its scores by (prompt, number of steps), and counts how often it is asked."""

    name = "recall"

    def __init__(self, scores: dict[str, list[float]]) -> None:
        self.scores = scores
        self.asked: list[Prefix] = []

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        self.asked += prefixes
        return [
            Score(value=0.5, steps=tuple(self.scores[one.prompt]), reduction="min", by=self.name) for one in prefixes
        ]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return str(path)


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> str:
    return write(tmp_path / "easy.dev.jsonl.gz", ROWS)


@pytest.fixture(name="scores")
def _scores(tmp_path: Path) -> str:
    return write(tmp_path / "recorded.jsonl", [{"id": id_, "step_scores": found} for id_, found in SCORES.items()])


def stage(**settings: Any) -> dict[str, Any]:
    return processbench_stage(ProcessBenchConfig(**settings), quiet=True)


def test_json_holds_what_it_should(data: str, scores: str):
    """Every number of a hand-computed example, with the keys that are promised."""
    out = stage(data=data, scores=scores)

    (subset,) = out["subsets"]
    promised = {
        "subset": "easy",
        "error_accuracy": 0.5,
        "correct_accuracy": 0.5,
        "f1": 0.5,
        "threshold": 0.5,
        "threshold_from": "fixed",
        "errors": 2,
        "correct": 2,
        "right_answer_wrong_step_accuracy": 0.0,
    }
    assert {name: subset[name] for name in promised} == promised
    assert set(subset["nulls"]) == {"always_correct", "first_step", "random", "length"}
    assert subset["nulls"]["always_correct"] == subset["nulls"]["first_step"] == 0.0
    error, correct = (1 / 4 + 1 / 3) / 2, (1 / 3 + 1 / 3) / 2
    assert subset["nulls"]["random"] == pytest.approx(2 * error * correct / (error + correct))
    assert out["model"] == "recorded"
    for name, (low, high) in subset["intervals"].items():
        assert low <= subset[name] <= high
    assert json.loads(json.dumps(out, allow_nan=False)) == out


def test_an_empty_class_is_null(tmp_path: Path, scores: str):
    """Without correct rows there is no correct accuracy and no F1; nulls follow."""
    out = stage(data=write(tmp_path / "wrong.jsonl", ROWS[:2]), scores=scores)

    (subset,) = out["subsets"]
    assert subset["correct_accuracy"] is None
    assert subset["f1"] is None
    assert subset["error_accuracy"] == 0.5
    assert set(subset["nulls"].values()) == {None}
    json.dumps(out, allow_nan=False)


def test_a_model_scores_each_solution_once_in_its_place(data: str):
    """The same numbers from a scorer as from recorded scores; rows of data and threshold file are scored once."""
    scorer = Recall({row["problem"]: SCORES[row["id"]] for row in ROWS})

    out = processbench_stage(ProcessBenchConfig(data=data, model="m", threshold_from=data), scorer, quiet=True)

    assert len(scorer.asked) == len(ROWS)
    assert scorer.asked[0].steps[0].text in ("x\n\n", "x")
    assert out["model"] == "recall"
    (subset,) = out["subsets"]
    assert subset["threshold_from"] == data
    assert subset["threshold_overlap"] == 4
    assert subset["f1"] == pytest.approx(2 / 3)


def test_threshold_from_uses_the_other_file_only(tmp_path: Path, data: str, scores: str):
    """The threshold is the best one on the other rows, whatever would be best here; overlap is counted."""
    other = [{**row, "id": f"b-{i}", "problem": f"other {i}"} for i, row in enumerate(ROWS)]
    there = {"b-0": [0.9, 0.06, 0.9], "b-1": [0.02, 0.9], "b-2": [0.1, 0.9], "b-3": [0.9, 0.9]}
    recorded = write(
        tmp_path / "both.jsonl", [{"id": id_, "step_scores": found} for id_, found in (SCORES | there).items()]
    )

    out = stage(data=data, scores=recorded, threshold_from=write(tmp_path / "other.jsonl", other))

    (subset,) = out["subsets"]
    assert subset["threshold"] == pytest.approx(0.08)
    assert subset["threshold_overlap"] == 0
    assert (subset["error_accuracy"], subset["correct_accuracy"], subset["f1"]) == (0.0, 1.0, 0.0)


def test_a_folder_has_a_subset_a_file(tmp_path: Path, scores: str):
    """Files of a folder are evaluated apart, in the order of their names; other files are left alone."""
    folder = tmp_path / "bench"
    folder.mkdir()
    write(folder / "b.jsonl", ROWS)
    write(folder / "a.dev.jsonl.gz", ROWS)
    (folder / "README.md").write_text("no rows")

    assert [one["subset"] for one in stage(data=str(folder), scores=scores)["subsets"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gsm8k.dev.jsonl.gz", "gsm8k"), ("x/math.jsonl", "math"), ("omni.jsonl.zst", "omni"), ("v1.5.jsonl", "v1.5")],
)
def test_subset_names(name: str, expected: str):
    """A subset is named by its file, without the endings that every file has."""
    assert subset_name(name) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 3}, r"label: 3 for 3 steps; expected label: 0-based index .*; if the labels count from 1"),
        ({"label": -2}, "label: -2"),
        ({"label": True}, "label: true"),
        ({"label": 0.5}, "label: 0.5"),
        ({"label": None}, "label: null"),
        ({"steps": []}, "at least one step"),
        ({"steps": ["x", 3]}, r"steps\[1\]: 3"),
        ({"steps": ["x", "  "]}, r"steps\[1\] without text"),
        ({"steps": "x"}, "steps: a list"),
        ({"problem": ""}, "problem"),
        ({"id": None}, "no 'id'"),
        ({"final_answer_correct": "yes"}, "final_answer_correct"),
        ({"id": "a-1"}, 'id "a-1" again'),
    ],
)
def test_bad_rows_stop_or_are_counted(tmp_path: Path, scores: str, change: dict[str, Any], message: str):
    """A malformed row is an error with file and line; with --skip-bad it is one counted drop and the rest goes on."""
    # the row to break comes last, so that a repeated id is found on it
    path = write(tmp_path / "bad.jsonl", [*ROWS[1:], {**ROWS[0], **change}])

    with pytest.raises(InputError, match=rf"bad\.jsonl:4: .*{message}"):
        stage(data=path, scores=scores)
    out = stage(data=path, scores=scores, skip_bad=True)
    assert list(out["drops"].values()) == [1]
    assert out["subsets"][0]["errors"] == 1


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([0.1, 0.2], "2 step scores for the 3 steps of id 'a-0'"),
        ([0.1, None, 0.3], "no score for step 1 of id 'a-0'"),
        (None, "no scores for id 'a-0'"),
    ],
)
def test_recorded_scores_must_fit(tmp_path: Path, data: str, found: list[float | None] | None, message: str):
    """A missing row, step or number is an error that names the id and the file."""
    rows = [{"id": id_, "step_scores": scores} for id_, scores in SCORES.items() if id_ != "a-0"]
    if found is not None:
        rows.append({"id": "a-0", "step_scores": found})  # type: ignore[dict-item]
    path = write(tmp_path / "short.jsonl", rows)

    with pytest.raises(InputError, match=rf"short\.jsonl: {message}"):
        stage(data=data, scores=path)


def test_a_scorer_that_loses_a_step_is_caught(data: str):
    """n_scores == n_steps also holds for models; an outcome model is refused in words."""
    short = Recall({row["problem"]: SCORES[row["id"]][:1] for row in ROWS})
    with pytest.raises(InputError, match=r"1 step scores for the . steps of id 'a-"):
        processbench_stage(ProcessBenchConfig(data=data, model="m"), short, quiet=True)
    none = Recall({row["problem"]: [] for row in ROWS})
    with pytest.raises(ConfigError, match="needs a process model"):
        processbench_stage(ProcessBenchConfig(data=data, model="m"), none, quiet=True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "m", "scores": "s"},
        {"model": "m", "threshold": "best"},
        {"model": "m", "threshold": "nan"},
        {"model": "m", "threshold": "0.3", "threshold_from": "f"},
    ],
)
def test_contradicting_settings_are_refused(settings: dict[str, str]):
    """Neither or both sources of scores, no number, two thresholds."""
    with pytest.raises(ConfigError):
        ProcessBenchConfig(data="d", **settings)


def test_missing_things_are_named(tmp_path: Path, scores: str):
    """A file that is not there, a folder without rows, an empty file."""
    with pytest.raises(InputError, match="no such file"):
        stage(data=str(tmp_path / "nowhere.jsonl"), scores=scores)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"without \.jsonl files"):
        stage(data=str(tmp_path / "empty"), scores=scores)
    with pytest.raises(InputError, match="no rows in the subset 'none'"):
        stage(data=write(tmp_path / "none.jsonl", []), scores=scores)


def test_two_models_in_one_file_are_refused(tmp_path: Path):
    """Which model was evaluated must be clear; a recorded name is kept."""
    both = [{"id": "a", "step_scores": [0.5], "prm_name": name} for name in ("one", "two")]
    with pytest.raises(InputError, match="scores by one, two; expected one model a file"):
        read_recorded(write(tmp_path / "both.jsonl", both))
    assert read_recorded(write(tmp_path / "one.jsonl", both[:1])).name == "one"


def test_unknown_final_answers_are_no_traps(tmp_path: Path):
    """Rows that do not say whether the answer is right are left out of that one measure only."""
    rows = [{key: value for key, value in row.items() if key != "final_answer_correct"} for row in ROWS]
    (found,) = read_subsets(write(tmp_path / "r.jsonl", rows)).values()

    assert [row.trap for row in found] == [False] * 4
    assert [row.trap for row in read_subsets(write(tmp_path / "s.jsonl", ROWS))["s"]] == [False, True, False, False]


def test_the_page_shows_the_numbers_and_the_command(tmp_path: Path, data: str, scores: str):
    """--report writes a page with the F1, its command and the solutions that went wrong."""
    folder = tmp_path / "report"

    stage(data=data, scores=scores, report=str(folder))

    text = (folder / "report.html").read_text()
    assert "gradatim evaluate processbench --data" in text
    assert "a-1: wrong step" in text
    assert "a-3: false alarm" in text
    assert json.loads((folder / "report.json").read_text())["tables"][0]["rows"][0][1]["value"] == 0.5


def test_scores_that_are_no_probabilities_have_no_reliability_diagram(data: str, tmp_path: Path):
    """They claim no share of right steps, and would be drawn outside the frame."""
    for scale, drawn in ((1, 1), (9, 0)):
        rows = [{"id": name, "step_scores": [scale * score for score in found]} for name, found in SCORES.items()]
        file = write(tmp_path / "s.jsonl", rows)
        stage(data=data, scores=file, report=str(tmp_path / "page"))

        assert len(json.loads((tmp_path / "page" / "report.json").read_text())["reliability"]) == drawn
