"""Nested folds: what is found is found on other problems, and noise stays noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pool_files import Rows, pool_rows, score_rows, write

from gradatim.choose.nested import CONTRASTS, METHODS, NestedConfig, nested_stage
from gradatim.errors import ConfigError, InputError

PROBLEMS, SIZE = 40, 6


def pool_and_truth(seed: int) -> tuple[Rows, np.ndarray[Any, Any]]:
    """A pool in which about two of six candidates are right, and most wrong ones agree, so that votes fail."""
    truth = np.random.default_rng(seed).random((PROBLEMS, SIZE)) < 1 / 3
    truth[:, 0], truth[:, 1] = True, False
    rows = {f"p{p}": [("right" if right else "wrong", bool(right)) for right in truth[p]] for p in range(PROBLEMS)}
    return pool_rows(rows), truth


def nested(tmp_path: Path, pool: Rows, scores: dict[str, np.ndarray[Any, Any]], **settings: Any) -> dict[str, Any]:
    """The result for scorers that give every candidate one number, as both of its step scores."""
    files = [
        write(tmp_path / f"{name}.jsonl", score_rows(pool, [(float(v), float(v)) for v in values.ravel()], name))
        for name, values in scores.items()
    ]
    path = write(tmp_path / "pool.jsonl", pool)
    given = {"pool": path, "scores": tuple(files), "repeats": 1, "reduction": ("min",), **settings}
    result = nested_stage(NestedConfig(**given), quiet=True)
    json.dumps(result, allow_nan=False)
    return result


def accuracy(result: dict[str, Any]) -> dict[str, float]:
    return {row["method"]: row["accuracy"]["value"] for row in result["methods"]}


def test_a_pair_that_knows_more_than_its_members_is_found(tmp_path: Path) -> None:
    """Each of two scorers falls for a wrong candidate in half of the problems, not in the other's half; the folds find
    out which two they are among noise."""
    pool, truth = pool_and_truth(0)
    random = np.random.default_rng(1)
    good = {name: 0.3 + 0.4 * truth + 0.2 * random.random(truth.shape) for name in ("a", "b")}
    for k, name in enumerate(good):
        good[name][k::2, 1], good[name][1 - k :: 2, 1] = 0.95, 0.05  # candidate 1 is never right
    noise = {name: random.random(truth.shape) for name in ("x", "y")}

    result = nested(tmp_path, pool, {**noise, **good})

    found = accuracy(result)
    assert list(found) == list(METHODS)
    assert found["random"] == pytest.approx(truth.mean())
    assert found["oracle"] == 1.0
    assert found["best pair"] == 1.0
    oracle = next(row["accuracy"] for row in result["methods"] if row["method"] == "oracle")
    assert (oracle["low"], oracle["high"]) == (pytest.approx(PROBLEMS / (PROBLEMS + 1.959964**2)), 1.0)  # Wilson's
    assert found["best single"] < 0.6
    assert found["learned"] > 0.9
    assert next(iter(result["chosen"]["best pair"])) == "min a and min b"
    assert [row["contrast"] for row in result["contrasts"]] == [f"{a} - {b}" for a, b in CONTRASTS]
    for row, (a, b) in zip(result["contrasts"], CONTRASTS, strict=True):
        assert row["difference"]["value"] == pytest.approx(found[a] - found[b])
        assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]


def test_noise_is_no_better_than_chance(tmp_path: Path) -> None:
    """Twelve scorers of pure noise: the best on all problems looks good, the nested one does not, and learns nothing."""
    pool, truth = pool_and_truth(2)
    random = np.random.default_rng(3)
    noise = {f"s{k}": random.random(truth.shape) for k in range(12)}
    naive = max(truth[np.arange(PROBLEMS), values.argmax(axis=1)].mean() for values in noise.values())

    result = nested(tmp_path, pool, noise, repeats=2)

    found = accuracy(result)
    assert naive > truth.mean() + 0.1
    assert found["best single"] < naive
    chance = next(row["accuracy"] for row in result["methods"] if row["method"] == "best single")
    assert chance["low"] < truth.mean() < chance["high"]
    assert abs(found["all by rank"] - truth.mean()) < 0.2


def test_neither_the_order_of_rows_nor_another_scale_changes_the_result(tmp_path: Path) -> None:
    """Folds go by problem ids, pairs by ranks; only the learned combination sees the scale."""
    pool, truth = pool_and_truth(4)
    random = np.random.default_rng(5)
    scores = {name: np.round(0.4 * truth + 0.6 * random.random(truth.shape), 2) for name in "ab"}
    first = nested(tmp_path, pool, scores)
    turned = [row for p in reversed(range(PROBLEMS)) for row in pool[p * SIZE : (p + 1) * SIZE]]
    second = nested(tmp_path, turned, {name: values[::-1] for name, values in scores.items()})
    third = nested(tmp_path, pool, {"a": scores["a"] * 7, "b": scores["b"]})

    assert accuracy(second) == pytest.approx(accuracy(first))
    assert second["chosen"] == first["chosen"]
    for name in set(METHODS) - {"learned"}:
        assert accuracy(third)[name] == pytest.approx(accuracy(first)[name])


def test_too_little_is_an_error(tmp_path: Path) -> None:
    """One scorer, too few problems, problems without verdicts, settings out of range."""
    pool, truth = pool_and_truth(6)
    values = truth.astype(float)
    with pytest.raises(ConfigError, match="at least two"):
        nested(tmp_path, pool, {"a": values})
    with pytest.raises(InputError, match="at least 10 problems"):
        nested(tmp_path, pool[: 9 * SIZE], {"a": values[:9], "b": values[:9]})
    bare = [{**row, "is_correct": None} for row in pool]
    with pytest.raises(InputError, match="40 of them without verdicts"):
        nested(tmp_path, bare, {"a": values, "b": values})
    for settings in ({"folds": 1}, {"repeats": 0}, {"reduction": ("median",)}, {"same_answer": "fuzzy"}):
        with pytest.raises(ConfigError, match="expected"):
            NestedConfig(pool="p", scores=("a",), **settings)  # type: ignore[arg-type]
