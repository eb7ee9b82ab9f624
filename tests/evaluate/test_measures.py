"""Sums over rows: values, paired differences, and intervals that hold what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradatim.evaluate.measures import Measure, harmonic, matthews, ratio
from gradatim.evaluate.step_suite import best_rule
from gradatim.stats import bootstrap, bootstrap_sums, paired_bootstrap


def measure(hits: list[float], problems: list[str] | None = None, ids: list[str] | None = None) -> Measure:
    names = tuple(ids or [f"r{k}" for k in range(len(hits))])
    return Measure(names, tuple(problems or names), np.stack([hits, np.ones(len(hits))], axis=1), ratio)


def test_a_ratio_of_counts_is_the_bootstrap_of_a_mean() -> None:
    """Means have an interval of their own: the same numbers, whole problems drawn together."""
    hits, problems = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0], ["a", "a", "b", "b", "c", "d"]

    assert measure(hits, problems).estimate(3) == bootstrap(hits, problems, seed=3)


def test_a_difference_is_paired() -> None:
    """Rows are matched by id, in whatever order, and resampled together."""
    first, second = [1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]
    ids = ["a", "b", "c", "d"]
    one, other = measure(first, ids=ids, problems=ids), measure(second[::-1], ids=ids[::-1], problems=ids[::-1])

    found, wanted = one.minus(other, 1), paired_bootstrap(first, second, ids, seed=1)
    assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
    assert one.minus(one).low == one.minus(one).high == 0.0


def test_a_difference_is_over_the_rows_that_both_have() -> None:
    """A row that one side lacks is in neither mean."""
    one, other = measure([1.0, 0.0], ids=["a", "b"]), measure([0.0], ids=["a"])

    assert one.minus(other).value == 1.0


def test_all_hits_are_not_certain() -> None:
    """Four of four: Wilson's interval, not one without width."""
    found = measure([1.0] * 4).estimate()

    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.510, abs=1e-3)


def test_statistics_of_sums() -> None:
    """The harmonic mean of two accuracies and Matthews' correlation, by hand; empty classes."""
    sums = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 0.0, 4.0], [0.0, 0.0, 1.0, 2.0]])
    assert harmonic(sums)[:2] == pytest.approx([2 * 0.5 * 0.75 / 1.25, 0.0])
    assert math.isnan(harmonic(sums)[2])

    right = np.array([1, 1, 1, 0, 0, 0, 0])
    said = np.array([1, 1, 0, 0, 0, 0, 1])
    cells = [(a & b).sum() for a, b in ((said, right), (1 - said, 1 - right), (said, 1 - right), (1 - said, right))]
    assert matthews(np.array([cells], dtype=float))[0] == pytest.approx(np.corrcoef(right, said)[0, 1])
    assert matthews(np.array([[3.0, 0.0, 2.0, 0.0]]))[0] == 0.0


def test_resamples_without_a_value_leave_the_interval() -> None:
    """With one row of a class many resamples have no F1; the others make the interval."""
    found = bootstrap_sums([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], harmonic, ["a", "b", "c"])

    assert found.value == pytest.approx(2 / 3)
    assert 0 <= found.low <= found.value <= found.high <= 1
    with pytest.raises(ValueError, match="items x columns"):
        bootstrap_sums([1.0], ratio)


def test_the_best_rule_of_some_rows() -> None:
    """The rule that is best on the rows that are asked for, whatever it is on others; none where none has a value."""
    rules = {"a": measure([1.0, 0.0, 0.0]), "b": measure([0.0, 1.0, 1.0])}

    assert rules["b"].value == pytest.approx(2 / 3)
    assert best_rule(rules, [0]) == {"name": "a", "value": 1.0}
    assert best_rule(rules, [0, 1, 2]) == {"name": "b", "value": pytest.approx(2 / 3)}
    assert best_rule(rules, []) is None
