"""PRMScore against a step-by-step count in the manner of the published code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core import Prefix, Step
from gradatim.errors import ConfigError
from gradatim.evaluate.bench import BenchRow
from gradatim.evaluate.prmscore import (
    CATEGORIES,
    best_prm_threshold,
    counts_of,
    cross_fitted_prm,
    prm_score,
    prmbench_result,
)
from gradatim.evaluate.sources import Judgement
from gradatim.evaluate.thresholds import Thresholds
from gradatim.stats import fold_of


def row(number: int, kind: str, marks: Sequence[int | None], problem: str | None = None) -> BenchRow:
    prefix = Prefix(problem or f"p{number}", f"Q{number}", tuple(Step(f"s{k}\n") for k in range(len(marks))))
    error = list(marks).index(-1) if -1 in marks else None
    return BenchRow(
        id=f"{kind}_{number}", prefix=prefix, error=error, answer_correct=None, marks=tuple(marks), group=kind
    )


@st.composite
def judged_rows(draw: st.DrawFn, least: int = 3) -> list[tuple[BenchRow, tuple[float, ...]]]:
    kinds = ("redundency", "circular", "confidence", "deception", "multi_solutions", "correct")
    found = []
    for number in range(draw(st.integers(least, 9))):
        kind = draw(st.sampled_from(kinds)) if number else "confidence"
        steps = draw(st.integers(1, 4))
        right_only = kind in ("correct", "multi_solutions")
        marks = [1 if right_only else draw(st.sampled_from([1, -1])) for _ in range(steps)]
        scores = tuple(draw(st.sampled_from([0.1, 0.4, 0.5, 0.6, 0.9])) for _ in range(steps))
        found.append((row(number, kind, marks), scores))
    return found


def published(items: Sequence[tuple[BenchRow, tuple[float, ...]]], at: float) -> dict[str, float]:
    """Precision, recall and their harmonic means from counted steps, class by class, as the published notebook adds up."""

    def score(kinds: set[str], single: bool = False) -> float:
        counts = {"TP": 0, "FP": 0, "TN": 0, "FN": 0}
        for one, scores in items:
            for mark, value in zip(one.marks, scores, strict=True):
                if one.group in kinds:
                    name = ("T" if (value >= at) == (mark == 1) else "F") + ("P" if value >= at else "N")
                    counts[name] += 1
        tp, fp, tn, fn = (counts[name] for name in ("TP", "FP", "TN", "FN"))

        def f1(hit: int, false: int, missed: int) -> float:
            if hit + false + missed == 0:
                return math.nan
            precision = hit / (hit + false) if hit + false else 0.0
            recall = hit / (hit + missed) if hit + missed else 0.0
            return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

        return f1(tp, fp, fn) if single else (f1(tp, fp, fn) + f1(tn, fn, fp)) / 2

    kinds = {one.group for one, _ in items} - {"correct"}
    found = {"all": score(kinds), **{kind: score({kind}, kind == "multi_solutions") for kind in kinds}}
    for name, classes in CATEGORIES.items():
        inside = [found[kind] for kind in classes if kind in kinds]
        if inside:
            found[f"prm_score_{name}"] = sum(inside) / len(inside)
    return found


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or a == pytest.approx(b, abs=1e-12)


def result_of(items: Sequence[tuple[BenchRow, tuple[float, ...]]], at: float) -> Any:
    rows = [one for one, _ in items]
    cut = Thresholds((at,) * len(rows), (at,), "fixed")
    return prmbench_result(rows, [Judgement(scores) for _, scores in items], cut, model="m", source="scores")


@settings(max_examples=5)
@given(judged_rows(), st.sampled_from([0.3, 0.5, 0.55]))
def test_scores_are_the_published_ones(items: list[tuple[BenchRow, tuple[float, ...]]], at: float) -> None:
    """The overall score pools the steps of all classes but the originals; a category is the mean of its classes."""
    found, wanted = result_of(items, at), published(items, at)

    assert same(found.measures["prm_score"].value, wanted["all"])
    for one in found.by["class"]:
        assert same(one["prm_score"].value, wanted[one["name"]]), one["name"]
    for name, estimate in found.measures.items():
        if name.startswith("prm_score_"):
            assert same(estimate.value, wanted[name]), name


def test_by_hand() -> None:
    """Two modified solutions, one original: every number worked out on paper."""
    items = [
        (row(1, "confidence", [1, -1, 1]), (0.9, 0.2, 0.3)),  # TP, TN, FN
        (row(2, "circular", [1, -1]), (0.8, 0.7)),  # TP, FP
        (row(1, "correct", [1, 1]), (0.9, 0.1)),
    ]
    found = result_of(items, 0.5)
    value = {name: estimate.value for name, estimate in found.measures.items()}

    assert value["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert value["negative_f1"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert value["prm_score"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert value["correct_step_accuracy"] == pytest.approx(2 / 3)
    assert value["wrong_step_accuracy"] == pytest.approx(1 / 2)
    assert value["total_step_accuracy"] == pytest.approx(3 / 5)
    assert value["first_error_accuracy"] == pytest.approx(1 / 2)
    assert value["originals_step_accuracy"] == pytest.approx(1 / 2)
    assert value["similarity"] == pytest.approx(abs(1 / 3 - 1 / 2))  # the circular one has no original here
    assert found.nulls["prm_score"]["always_correct"].value == pytest.approx((2 * 3 / (2 * 3 + 2) + 0) / 2)
    assert found.counts["right_steps"] == 3
    assert found.counts["wrong_steps"] == 2


def test_all_classes_with_wrong_steps_only_for_multi_solutions() -> None:
    """The class without wrong steps has its F1 as score, not half of it."""
    found = result_of([(row(1, "multi_solutions", [1, 1]), (0.9, 0.2)), (row(2, "circular", [-1]), (0.2,))], 0.5)

    [single] = [one for one in found.by["class"] if one["name"] == "multi_solutions"]
    assert single["prm_score"].value == single["f1"].value == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match="without a modified solution"):
        result_of([(row(1, "correct", [1]), (0.9,))], 0.5)


def test_unlabelled_and_unscored_steps_count_nowhere() -> None:
    """Missing is neither right nor wrong."""
    assert counts_of(row(1, "circular", [1, None, -1]), [1.0, 1.0, math.nan]) == (1, 0, 0, 0)


@settings(max_examples=40)
@given(judged_rows(least=4))
def test_no_threshold_is_better_than_the_best(items: list[tuple[BenchRow, tuple[float, ...]]]) -> None:
    """Every threshold between, below and above the scores is tried."""
    inside = [(one, scores) for one, scores in items if one.group != "correct"]
    marks = {mark for one, _ in inside for mark in one.marks}
    if marks != {1, -1}:
        with pytest.raises(ConfigError, match="both right and wrong steps"):
            best_prm_threshold([one for one, _ in items], [scores for _, scores in items])
        return

    def score(at: float) -> float:
        table = [counts_of(one, [float(value >= at) for value in scores]) for one, scores in inside]
        return float(np.nan_to_num(prm_score(np.array(table).sum(axis=0, keepdims=True)), nan=-1.0)[0])

    chosen = best_prm_threshold([one for one, _ in items], [scores for _, scores in items])

    assert score(chosen) == pytest.approx(max(score(at) for at in (0.0, 0.2, 0.45, 0.55, 0.7, 1.0)))


def test_cross_fit_never_sees_its_own_problem() -> None:
    """Each fold's threshold is the best on the other four."""
    rng = np.random.default_rng(0)
    rows = [row(k, "circular", [1, -1, 1], f"p{k % 12}") for k in range(24)]
    scores = [tuple(rng.random(3)) for _ in rows]
    folds = fold_of([one.prefix.problem_id for one in rows])
    wanted = []
    for fold in folds:
        others = [index for index, at in enumerate(folds) if at != fold]
        wanted.append(best_prm_threshold([rows[k] for k in others], [scores[k] for k in others]))

    assert cross_fitted_prm(rows, scores).rows == pytest.approx(wanted)
