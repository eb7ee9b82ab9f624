"""Preferences: accuracies as they were published, against plain recomputation."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gradatim.cli import app
from gradatim.core import Prefix, Step
from gradatim.errors import InputError
from gradatim.evaluate.preferences import (
    Choice,
    preference_result,
    read_choices,
    style_accuracies,
    ties_score,
    worth,
)

VALUES = st.lists(st.integers(0, 4).map(float), min_size=6, max_size=6)


def choice(identity: str, chosen: int, rejected: int, subset: str = "s", lengths: tuple[int, ...] = ()) -> Choice:
    sizes = lengths or (3,) * (chosen + rejected)
    answers = tuple(Prefix(identity, identity, (Step("x" * size),)) for size in sizes)
    return Choice(id=f"{subset}/{identity}", chosen=answers[:chosen], rejected=answers[chosen:], subset=subset)


@given(VALUES)
def test_rm_bench_cells(values: list[float]) -> None:
    """The nine cells counted one by one: rows are the chosen styles, columns the rejected ones."""
    hard, normal, easy = [], [], []
    for i in range(3):
        for j in range(3):
            kind = hard if j > i else easy if j < i else normal
            kind.append(values[i] > values[3 + j])

    assert style_accuracies(values) == pytest.approx([np.mean(hard), np.mean(normal), np.mean(easy)])
    assert worth("rm-bench", values, 3) == pytest.approx(np.mean([*hard, *normal, *easy]))


def test_one_of_k_shares_ties() -> None:
    """The best of four; a tie at the top is worth its share; a pair's tie one half."""
    assert worth("reward-bench-2", [3.0, 1.0, 2.0, 0.0], 1) == 1.0
    assert worth("reward-bench-2", [2.0, 1.0, 2.0, 2.0], 1) == pytest.approx(1 / 3)
    assert worth("reward-bench-2", [1.0, 1.5, 0.0, 0.0], 1) == 0.0
    assert worth("pairs", [1.0, 1.0], 1) == 0.5


def test_ties_by_hand() -> None:
    """Two prompts, each with one right answer and with several, worked out on paper."""
    choices = [choice(f"{kind}:{k}", 2 if kind == "tied" else 1, 2, "Ties") for k in (0, 1) for kind in ("ref", "tied")]
    values = [
        [5.0, 1.0, 2.0],  # ref 0: gap 3
        [4.0, 3.0, 1.0, 0.0],  # tied 0: gap 2, spread 1: right, preferred, also with the smaller gap 2
        [5.0, 4.5, 0.0],  # ref 1: gap 0.5
        [4.0, 3.0, 1.0, 0.0],  # tied 1: the smaller gap 0.5 is not above the spread 1
    ]
    margin = (math.tanh(2 / 1 - 1) + math.tanh(0.5 / 1 - 1)) / 2

    assert ties_score(choices, values) == pytest.approx(0.3 + 0.3 + 0.2 * 1 + 0.2 * 0.5 + 0.01 * margin)
    assert math.isnan(ties_score(choices[:1], values[:1]))


def test_reward_bench_average_has_ties_as_one_subset() -> None:
    """The headline is the mean over subsets, of which Ties is one; rows of Ties are in no accuracy."""
    rows = [choice("a", 1, 3, "Math"), choice("b", 1, 3, "Math"), choice("c", 1, 3, "Focus")]
    ties = [choice("ref:0", 1, 2, "Ties"), choice("tied:0", 2, 2, "Ties")]
    values = [[1.0, 0, 0, 0], [0.0, 1, 0, 0], [1.0, 0, 0, 0], [5.0, 1, 2], [4.0, 3, 1, 0]]
    found = preference_result("reward-bench-2", [*rows, *ties], values, model="m", source="scores")

    assert found.measures["accuracy"].value == pytest.approx(2 / 3)
    ties_value = found.measures["ties_score"].value
    assert found.measures["subset_average"].value == pytest.approx((0.5 + 1 + ties_value) / 3)
    assert {one["name"]: one["accuracy"].value for one in found.by["class"]} == {"Math": 0.5, "Focus": 1.0}


def test_rules_that_read_nothing() -> None:
    """Longest and shortest among pairs, and chance."""
    rows = [choice("a", 1, 1, lengths=(9, 2)), choice("b", 1, 1, lengths=(1, 2)), choice("c", 1, 1, lengths=(5, 1))]
    found = preference_result("pairs", rows, [[1.0, 0.0]] * 3, model="m", source="scores")
    nulls = {name: one.value for name, one in found.nulls["accuracy"].items()}

    assert nulls == pytest.approx(
        {"random": 0.5, "longest": 2 / 3, "shortest": 1 / 3, "most_steps": 0.5, "fewest_steps": 0.5}
    )
    assert found.over_nulls["accuracy"]["longest"].value == pytest.approx(1 / 3)


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_readers(tmp_path: Path) -> None:
    """Each suite's rows, with the keys that recorded scores use; texts are split without loss."""
    row = {"id": 7, "prompt": "P", "chosen": ["a\n\nb"], "rejected": ["c", "d", "e"], "subset": "Math"}
    styles = {"id": "x", "prompt": "P", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"], "domain": "math"}
    pair = {"prompt": "P", "chosen": "a", "rejected": "b"}
    read = {"skip_bad": False, "drops": Counter[str]()}
    [best] = read_choices("reward-bench-2", written(tmp_path / "best.jsonl", row), **read)  # type: ignore[arg-type]
    [nine] = read_choices("rm-bench", written(tmp_path / "nine.jsonl", styles), **read)  # type: ignore[arg-type]
    [two] = read_choices("pairs", written(tmp_path / "two.jsonl", pair), **read)  # type: ignore[arg-type]

    assert best.keys == ("Math/7/chosen/0", "Math/7/rejected/0", "Math/7/rejected/1", "Math/7/rejected/2")
    assert [step.text for step in best.chosen[0].steps] == ["a\n\n", "b"]
    assert (nine.subset, len(nine.answers), len(two.answers)) == ("math", 6, 2)
    with pytest.raises(InputError, match="three of each"):
        read_choices("rm-bench", written(tmp_path / "bad.jsonl", {**styles, "chosen": ["a"]}), **read)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [(), ("--json",), ("--report", "page")])
def test_ties_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: tuple[str, ...]) -> None:
    """RewardBench 2 with rows of Ties only has a score and no accuracy: printed, as JSON, and on a page, also for two."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": "ref:0", "prompt": "P", "chosen": ["a"], "rejected": ["x", "y"], "subset": "Ties"},
        {"id": "tied:0", "prompt": "Q", "chosen": ["a", "b"], "rejected": ["x"], "subset": "Ties"},
    ]
    written(tmp_path / "ties.jsonl", *rows)
    ends = [f"{row['id']}/{side}/{k}" for row in rows for side in ("chosen", "rejected") for k in range(len(row[side]))]
    for name, wrong in (("one", 0.1), ("two", 0.6)):
        values = {end: 0.9 if "chosen" in end else wrong for end in ends}
        written(tmp_path / name, *({"id": f"Ties/{end}", "value": value} for end, value in values.items()))
    words = ["evaluate", "reward-bench-2=ties.jsonl", "--scores", "one", "--scores", "two", *mode]
    done = CliRunner().invoke(app, words)

    assert done.exception is None
    if mode == ("--json",):
        found = json.loads(done.stdout)
        assert [one["headline"] for one in found["results"]] == ["ties_score", "ties_score"]
        assert found["results"][0]["measures"]["subset_average"] == found["results"][0]["measures"]["ties_score"]
        assert found["differences"] == []
    else:
        assert "ties_score" in done.stdout
    if mode[:1] == ("--report",):
        assert "ties score" in (tmp_path / "page" / "report.html").read_text()
