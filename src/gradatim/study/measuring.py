"""One trained model, measured: what it chooses, and what it says of steps, kept so that models can be compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Prefix, Score
from gradatim.errors import ConfigError
from gradatim.evaluate.first_error import Judged, predict
from gradatim.evaluate.lab_pool import JUDGED_DRAWS, Pool
from gradatim.evaluate.thresholds import best_threshold
from gradatim.progress import Progress, progress
from gradatim.stats import best_of_curve, weighted_majority_curve
from gradatim.study.contenders import Contender
from gradatim.study.material import Part

Floats = NDArray[np.float64]
DIGITS = 5
"""Decimals of a score that are kept."""


class Scorer(Protocol):
    """What is measured: a scorer that tells how far it is."""

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        """A score a prefix, in their order."""
        ...


@dataclass(frozen=True)
class Grounds:
    """What models are measured on."""

    pool: Part
    """Test problems with many candidates each."""
    development: Part
    """Problems on which thresholds are chosen, of another split."""
    longer: Part
    """Longer problems than any to learn from."""

    @property
    def parts(self) -> tuple[Part, Part, Part]:
        """All of them."""
        return self.pool, self.development, self.longer

    @cached_property
    def candidates(self) -> Pool:
        """The pool by problem."""
        return Pool.of(self.pool.problems, self.pool.solutions)

    @cached_property
    def judged(self) -> list[int]:
        """Places in the pool of the candidates whose steps are compared with the truth: each problem's first ones."""
        return [index for index, one in enumerate(self.pool.solutions) if one.draw < JUDGED_DRAWS and one.prefix.steps]


def measured(scorer: Scorer, contender: Contender, grounds: Grounds, *, quiet: bool = False) -> dict[str, Any]:
    """Score everything, and give what can be compared with another model's, problem by problem:

    "best", "weighted": for each test problem the expected correctness of best-of-n and of weighted majority among all
    candidates; "values": of the judged candidates. Of a model of steps also "threshold" (None where development
    problems can't tell one), and "here" and "longer": each judged solution's step scores, and its first error as
    predicted by the threshold, and by one half.
    """
    parts = grounds.parts if contender.kind == "prm" else (grounds.pool,)
    scores: dict[str, list[Score]] = {}
    total = sum(len(part.solutions) for part in parts)
    with progress(f"score {contender.name}", total, "solutions", quiet=quiet) as shown:
        for part in parts:
            scores[part.name] = scorer.score([solution.prefix for solution in part.solutions], shown=shown)
    here = [scores[grounds.pool.name][index] for index in grounds.judged]
    found = _choices(grounds.candidates, [one.value for one in scores[grounds.pool.name]])
    found["values"] = [round(one.value, DIGITS) for one in here]
    if contender.kind == "prm":
        threshold = _threshold(grounds.development.truth, scores[grounds.development.name])
        found["threshold"] = threshold
        found["here"] = _steps(here, threshold)
        found["longer"] = _steps(scores[grounds.longer.name], threshold)
    return found


def _choices(pool: Pool, values: Sequence[float]) -> dict[str, Any]:
    """Best-of-n and weighted majority among all candidates; one that can't be scored ranks below all others."""
    table: Floats = np.array(values, dtype=np.float64).reshape(pool.good.shape)
    finite = table[np.isfinite(table)]
    table = np.nan_to_num(table, nan=float(finite.min()) - 1 if len(finite) else 0.0)
    n = table.shape[1]
    weighted = []
    for index, row in enumerate(table):
        codes, right = pool.coded(index)
        weighted.append(float(weighted_majority_curve(np.clip(row, 0.0, None), codes, right, [n])[0][0, 0]))
    return {"best": best_of_curve(table, pool.good, [n])[:, 0].tolist(), "weighted": weighted}


def _threshold(truth: Sequence[Judged], scores: Sequence[Score]) -> float | None:
    rows = [
        Judged(problem=one.problem, scores=score.steps, error=one.error)
        for one, score in zip(truth, scores, strict=True)
    ]
    try:
        return best_threshold(rows)
    except ConfigError:  # all solutions are sound, or none is
        return None


def _steps(scores: Sequence[Score], threshold: float | None) -> dict[str, Any]:
    return {
        "scores": [[round(score, DIGITS) for score in one.steps] for one in scores],
        "said": [None if threshold is None else predict(one.steps, threshold) for one in scores],
        "at_half": [predict(one.steps, 0.5) for one in scores],
    }
