"""The automatic choice of chooser, scorer and reduction: found on other problems, with its regret."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pool_files import pool_rows, score_rows, write

from gradatim.choose import ChooseConfig, choose_stage
from gradatim.choose.auto import optimism, selected
from gradatim.choose.measure import Method, expected
from gradatim.errors import ConfigError, InputError
from gradatim.problems.pools import read_pool
from gradatim.stats import FOLDS, fold_of


def choose(
    folder: Path, truth: Sequence[Sequence[bool | None]], steps: dict[str, Any], **settings: Any
) -> dict[str, Any]:
    """The result for a pool in which candidate c of problem p is right as `truth[p][c]` says and answers accordingly;
    `steps[name][p][c]` are the two step scores."""
    problems = {
        f"p{p}": [("right" if one else f"wrong{c}", one) for c, one in enumerate(row)] for p, row in enumerate(truth)
    }
    rows = pool_rows(problems)
    files = [
        write(folder / f"{name}.jsonl", score_rows(rows, [pair for row in values for pair in row], name))
        for name, values in steps.items()
    ]
    config = ChooseConfig(pool=write(folder / "pool.jsonl", rows), scores=tuple(files), n=(4,), **settings)
    result = choose_stage(config, quiet=True)
    json.dumps(result)
    return result


def test_the_scorer_and_reduction_that_know_are_found(tmp_path: Path) -> None:
    """Only the last score of "knows" tells right from wrong; the smallest is a constant, and "guesses" is noise."""
    rng = np.random.default_rng(0)
    truth = np.zeros((30, 4), dtype=bool)
    truth[np.arange(30), rng.integers(4, size=30)] = True
    knows = [[(0.1, 0.9 if right else 0.2) for right in row] for row in truth]
    guesses = rng.random((30, 4, 2)).tolist()
    result = choose(tmp_path, truth.tolist(), {"guesses": guesses, "knows": knows}, auto=True)

    found = result["auto"]
    assert found["accuracy"]["value"] == 1.0
    # Thirty of thirty have Wilson's interval; a difference keeps its own.
    lows = [one["accuracy"]["low"] for one in (found, found["best_in_hindsight"])]
    assert lows == pytest.approx([30 / (30 + 1.959964**2)] * 2)
    assert found["regret"]["low"] == found["regret"]["high"] == 0.0
    assert all(rule.endswith("knows") for rule in found["chosen"])
    assert sum(found["chosen"].values()) == 30
    assert result["chosen_by"]["chooser"] == "auto"


def test_a_problem_has_no_say_in_its_own_choice(tmp_path: Path) -> None:
    """Two scorers, each right on the problems of its folds only: every fold is chosen for by the others, who are
    mistaken more often than not; the regret is what that costs."""
    ids = [f"p{p}" for p in range(20)]
    fold = np.array(fold_of(ids))
    truth = [[True, False]] * 20
    steps = {
        name: [[(0.5, 0.9), (0.5, 0.1)] if right else [(0.5, 0.1), (0.5, 0.9)] for right in where]
        for name, where in (("a", fold < 3), ("b", fold >= 3))
    }
    result = choose(tmp_path, truth, steps, auto=True, chooser="best_of_n", reduction=("last",))

    # For folds 3 and 4 a wins 3 to 1; for 0 to 2 there are two of each, and a comes first.
    right = np.where(fold < 3, 1.0, 0.0)
    assert result["auto"]["rules"] == 2
    assert result["auto"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert result["auto"]["best_in_hindsight"]["rule"] == "best_of_n last a"
    assert result["auto"]["regret"]["value"] == pytest.approx(0)


def test_problems_without_verdicts_get_what_is_best_on_all_others(tmp_path: Path) -> None:
    """Their choice is there (a vote would take the first), and they are in no accuracy."""
    truth: list[list[bool | None]] = [[False, True]] * 12
    steps = [[(0.1, 0.1), (0.9, 0.9)]] * 13
    result = choose(tmp_path, [*truth, [None, None]], {"prm": steps}, auto=True, reduction=("min",))

    assert result["choices"][12]["candidate"] == 1
    assert sum(result["auto"]["chosen"].values()) == 12


def test_best_of_n_has_to_be_better_than_the_vote_by_its_error() -> None:
    """Two votes, two others; the gap of the best of each is .5 +- .5 in four problems (error .29), or less."""
    votes = np.array([True, True, False, False])
    worth = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 1, 1], [0, 0, 0, 1]], dtype=float)
    assert selected(worth, votes) == 2
    worth[2] = [0, 0.5, 1, 0]
    assert selected(worth, votes) == 1
    assert selected(worth[2:], votes[2:]) == 0
    assert selected(worth[[3, 3]], votes[2:]) == 0
    assert selected(worth[:2], votes[:2]) == 1


def test_worth_is_a_mean_over_numbers_of_candidates(tmp_path: Path) -> None:
    """Of four candidates two, three and all, by hand: the right one has the second highest score, and its answer is the
    only one that two have."""
    rows = pool_rows({"p": [("a", True), ("b", False), ("a", True), ("c", False)]})
    pool = read_pool(write(tmp_path / "pool.jsonl", rows))
    method = Method("m", "min", ((0.8, 0.9, 0.7, 0.1),))
    found = expected(pool.problems, [method], (0.5, 0.75, 1.0))

    # Best of two is right unless b is there: 3 of 6 pairs; of three, 1 of 4. The vote of two: aa; ab, ac, bc ties.
    assert found["best_of_n"] == pytest.approx(np.array([[(3 / 6 + 1 / 4 + 0) / 3]]))
    assert found["majority"] == pytest.approx(np.array([[((1 + 4 * 0.5) / 6 + (2 * 1 + 2 / 3) / 4 + 1) / 3]]))


def test_optimism_is_what_the_luckiest_of_equals_seems_to_gain() -> None:
    """Twenty rules, each right in half of 100 problems: the best seems better by about what the luckiest of twenty is
    (1.87 standard deviations); one rule alone seems what it is."""
    rng = np.random.default_rng(0)
    found = [optimism((rng.random((20, 100)) < 0.5).astype(float), seed) for seed in range(20)]

    assert np.mean(found) == pytest.approx(1.87 * 0.05, rel=0.4)
    assert optimism((rng.random((1, 100)) < 0.5).astype(float), 0) == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("chooser", ["majority", "weighted_majority", "best_of_n"])
def test_a_chooser_that_is_named_makes_the_choices(tmp_path: Path, chooser: Any) -> None:
    """The vote takes the two that agree, their weights the one that weighs more, the best the highest."""
    truth = [[True, True, False]]
    steps = {"prm": [[(0.2, 0.2), (0.2, 0.2), (0.5 if chooser == "weighted_majority" else 0.3,) * 2]]}
    result = choose(tmp_path, truth, steps, chooser=chooser)

    assert result["choices"][0]["candidate"] == {"majority": 0, "weighted_majority": 2, "best_of_n": 2}[chooser]
    assert result["chosen_by"]["chooser"] == chooser


def test_the_learned_chooser_is_fitted_on_other_problems(tmp_path: Path) -> None:
    """It finds what a noisy scorer knows; its choice for a problem does not change with that problem's own verdicts."""
    rng = np.random.default_rng(2)
    truth = rng.random((40, 4)) < 0.5
    truth[:, 0], truth[:, 1] = True, False
    values = np.clip(0.3 + 0.3 * truth + 0.25 * rng.normal(size=truth.shape), 0.01, 0.99)
    steps = {"prm": [[(v, v) for v in row] for row in values.tolist()]}
    first = choose(tmp_path, truth.tolist(), steps, chooser="learned", reduction=("last",))
    other = truth.copy()
    other[7] = ~other[7]
    second = choose(tmp_path, other.tolist(), steps, chooser="learned", reduction=("last",))

    assert first["learned"]["accuracy"]["value"] > truth.mean() + 0.1
    assert set(first["learned"]["weights"]) == {"last prm", "min prm", "log share of the answer", "log number of steps"}
    mates = [
        p
        for p, at in enumerate(fold_of([f"p{p}" for p in range(40)]))
        if at == fold_of([f"p{p}" for p in range(40)])[7]
    ]
    assert len(mates) == 40 // FOLDS
    same = [p for p in mates if p != 7]
    assert [first["choices"][p] for p in same] == [second["choices"][p] for p in same]


def test_what_can_not_be_chosen_is_refused(tmp_path: Path) -> None:
    """Too few verdicts, no scores, or a fit where a choice was asked for."""
    with pytest.raises(InputError, match="3 problems with verdicts"):
        choose(tmp_path, [[True, False]] * 3, {"prm": [[(0.5, 0.5)] * 2] * 3}, auto=True)
    with pytest.raises(ConfigError, match="--auto chooses among score files"):
        ChooseConfig(pool="p", auto=True)
    with pytest.raises(ConfigError, match="without scores to choose by"):
        ChooseConfig(pool="p", chooser="learned")
    with pytest.raises(ConfigError, match="fitted, not chosen"):
        ChooseConfig(pool="p", scores=("s",), chooser="learned", auto=True)
