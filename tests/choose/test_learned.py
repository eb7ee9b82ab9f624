"""The learned combination: it minimises what it says, and learns nothing from how hard problems are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from pool_files import pool_rows, score_rows, write

from gradatim.choose import learned
from gradatim.errors import ConfigError
from gradatim.problems.pool_scores import read_pool_scores
from gradatim.problems.pools import read_pool

LAST = ("log share of the answer", "log number of steps")


def made(count: int, seed: int = 0) -> list[learned.Examples]:
    """Problems in which the first feature tells right from wrong with noise, the second is noise, and the third is the
    share of right candidates: what a pooled regression would lean on."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        correct = random.random(6) < random.random()
        correct[:2] = (True, False)
        features = random.normal(size=(6, 3))
        features[:, 0] += 1.5 * correct
        features[:, 2] = correct.mean()
        found.append(learned.Examples(features, correct))
    return found


def test_the_weights_minimise_the_stated_loss() -> None:
    """Against plain gradient descent on pairs: logistic loss, each problem of weight 1, ridge on scaled weights."""
    problems = made(12)
    found = learned.fit(problems, [f"p{k}" for k in range(12)])

    pairs = [(p.features[p.correct][:, None] - p.features[~p.correct][None]).reshape(-1, 3) for p in problems]
    scale = np.sqrt(np.mean([np.mean(pair**2, axis=0) for pair in pairs], axis=0))
    scale[scale == 0] = 1
    rows = np.concatenate(pairs) / scale
    share = np.concatenate([np.full(len(pair), 1 / len(pair)) for pair in pairs])
    weights = np.zeros(3)
    for _ in range(5_000):
        slope = weights - found.strength * (share / (1 + np.exp(rows @ weights))) @ rows
        weights -= 0.1 * slope / max(1.0, found.strength)
    assert found.strength in learned.STRENGTHS
    assert found.weights == pytest.approx(weights / scale, abs=1e-3)


def test_what_is_the_same_for_all_candidates_has_no_weight() -> None:
    """The difficulty of a problem can't stand in for the worth of a candidate."""
    found = learned.fit(made(30), [f"p{k}" for k in range(30)])

    assert found.weights[2] == 0
    assert found.weights[0] > 5 * abs(found.weights[1])


def test_problems_without_both_kinds_teach_nothing() -> None:
    """All right or all wrong: left out, and an error if too few others are there."""
    problems = made(4)
    sure = learned.Examples(np.ones((3, 3)), np.array([True, True, True]))
    ids = [f"p{k}" for k in range(5)]

    with_sure, without = learned.fit([*problems, sure], ids), learned.fit(problems, ids[:4])

    assert with_sure.weights == pytest.approx(without.weights)
    with pytest.raises(ConfigError, match="1 problems with right and wrong"):
        learned.fit([problems[0], sure], ["a", "b"])


def test_one_pair_a_problem_is_enough() -> None:
    """Two problems with a right and a wrong candidate each: every fold fits a single pair. The weights are where the slope
    of the loss, written out for two rows, is 0."""
    problems = [
        learned.Examples(np.array([[1.0, 0.5], [0.0, 0.0]]), np.array([True, False])),
        learned.Examples(np.array([[0.0, 0.0], [-1.0, 1.0]]), np.array([False, True])),
    ]
    found = learned.fit(problems, ["a", "b"])

    rows = np.array([[1.0, 0.5], [-1.0, 1.0]]) / (scale := np.sqrt([1.0, (0.25 + 1) / 2]))
    weights = found.weights * scale
    assert weights == pytest.approx(found.strength * (1 / (1 + np.exp(rows @ weights))) @ rows, abs=1e-4)
    assert weights[1] > 0


def test_features_are_log_odds_votes_and_length(tmp_path: Path) -> None:
    """Of a scorer its last and smallest step as log-odds, of raw scores the numbers, the vote (unread is half a
    vote), and the length."""
    rows = pool_rows({"p": [("1", True), ("1", True), ("2", False), (None, False)]})
    pool = read_pool(write(tmp_path / "pool.jsonl", rows))
    a = write(tmp_path / "a.jsonl", score_rows(rows, [(0.9, 0.8), (0.5, 1.0), (0.0, 0.2), (0.3, 0.4)], "a"))
    b = write(tmp_path / "b.jsonl", score_rows(rows, [(4.0, -2.0), (1.0, 2.0), (0.0, 0.0), (3.0, 5.0)], "b"))
    pool, scored = read_pool_scores(pool, [a, b])

    [found] = learned.examples(pool, scored)

    def odds(p: float) -> float:
        return math.log(p / (1 - p))

    length = math.log(2)
    assert learned.names(scored) == ["last a", "min a", "last b", "min b", *LAST]
    assert found.correct.tolist() == [True, True, False, False]
    assert found.features[0] == pytest.approx([odds(0.8), odds(0.8), -2.0, -2.0, math.log(0.5), length])
    assert found.features[1] == pytest.approx([odds(0.999), odds(0.5), 2.0, 1.0, math.log(0.5), length])
    assert found.features[2] == pytest.approx([odds(0.2), odds(0.001), 0.0, 0.0, math.log(0.25), length])
    assert found.features[3][-2] == pytest.approx(math.log(0.125))
