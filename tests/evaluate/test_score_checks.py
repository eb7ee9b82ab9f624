"""Each sign that scores are not what they are taken for is found where it was planted, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gradatim.evaluate.score_checks import Scored, check_scores, rank_correlation


def honest(count: int = 300) -> list[Scored]:
    """Scores of a fair model: about right, no function of length or place."""
    rng = np.random.default_rng(1)
    found = []
    for k in range(count):
        steps = int(rng.integers(2, 8))
        right = bool(rng.random() < 0.5)
        scores = tuple(rng.beta(4, 2) if right else rng.beta(2, 3) for _ in range(steps))
        found.append(Scored(f"p{k // 4}", scores, steps, int(rng.integers(20, 200)), right))
    return found


def kinds(solutions: list[Scored]) -> list[str]:
    return [one.kind for one in check_scores(solutions)]


def test_honest_scores_raise_nothing() -> None:
    """No warning about a fair model's scores, nor about no scores at all."""
    assert kinds(honest()) == []
    assert kinds([]) == []


PLANTED: dict[str, Callable[[Scored, int], Scored]] = {
    "misaligned": lambda one, k: replace(one, steps=(*one.steps, 0.5)) if k % 3 == 0 else one,
    "constant": lambda one, k: replace(one, steps=(0.7,) * one.listed),
    "out of range": lambda one, k: replace(one, steps=tuple(6 * score - 3 for score in one.steps)),
    "saturated": lambda one, k: replace(one, steps=tuple(float(score > 0.4) for score in one.steps)),
    "few values": lambda one, k: replace(one, steps=tuple(round(score * 4) / 4.5 + 0.05 for score in one.steps)),
    "flat": lambda one, k: replace(one, steps=(one.steps[0],) * one.listed),
    "inverted": lambda one, k: replace(one, steps=tuple(1 - score for score in one.steps)),
    "length proxy": lambda one, k: replace(one, value=one.characters / 200 + one.steps[0] / 50),
    "position proxy": lambda one, k: replace(
        one, steps=tuple(0.1 + 0.1 * at + 0.01 * s for at, s in enumerate(one.steps))
    ),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_what_was_planted_is_found(kind: str) -> None:
    """With the numbers that it rests on."""
    found = {one.kind: one for one in check_scores([PLANTED[kind](one, k) for k, one in enumerate(honest())])}

    assert kind in found
    assert found[kind].evidence
    assert any(character.isdigit() for character in found[kind].message)


def test_a_handful_says_nothing_of_ranks() -> None:
    """Ten solutions can be in any order by chance."""
    few = [PLANTED["inverted"](PLANTED["length proxy"](one, k), k) for k, one in enumerate(honest(10))]

    assert not {"inverted", "length proxy", "position proxy"} & set(kinds(few))


def test_evidence_of_misalignment() -> None:
    """How many rows, and by how much."""
    [found] = check_scores([PLANTED["misaligned"](one, k) for k, one in enumerate(honest())])

    assert found.evidence == {"solutions": 300, "misaligned": 100, "offsets": {"+1": 100}}


def test_length_is_judged_among_right_solutions() -> None:
    """Wrong solutions that are longer are no bias: among equally good ones the value does not follow length."""
    solutions = [replace(one, characters=one.characters + (0 if one.right else 500)) for one in honest()]

    assert "length proxy" not in kinds(solutions)


def test_length_within_problems_counts_more() -> None:
    """A scorer that goes by length among solutions of one problem is found though problems differ more than that."""
    rng = np.random.default_rng(2)
    solutions = [
        Scored(f"p{k // 4}", (0.5,), 1, characters, True, value=3 * (k // 4 % 7) + characters / 100)
        for k in range(240)
        for characters in [int(rng.integers(20, 200))]
    ]
    [found] = [one for one in check_scores(solutions) if one.kind == "length proxy"]

    assert found.evidence["within_problems"] == pytest.approx(1.0)
    assert abs(found.evidence["correlation"]) < 0.5


def test_rank_correlation_with_ties() -> None:
    """Spearman's with mean ranks, by hand; NaN where nothing varies."""
    assert rank_correlation([1, 2, 2, 3], [1, 3, 2, 4]) == pytest.approx(
        np.corrcoef([1, 2.5, 2.5, 4], [1, 3, 2, 4])[0, 1]
    )
    assert np.isnan(rank_correlation([1, 1], [1, 2]))
