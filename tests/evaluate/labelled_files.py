"""Labelled solutions and their scores as files, for the tests of calibration and of first-error sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradatim import records
from gradatim.core import Labels, Prefix, Score, Solution, Step, Tally
from gradatim.labels.datasets import write_labelled


@dataclass
class Written:
    """Labelled solutions to be written, with the scores of their steps."""

    items: list[tuple[Solution, Labels]] = field(default_factory=list)
    scores: list[tuple[str, Score]] = field(default_factory=list)

    def add(
        self, problem: str, texts: Sequence[str], steps: Sequence[float], tallies: Sequence[Tally], **changes: Any
    ) -> None:
        """One solution; its first error is the first step without a good mark, unless `changes` say otherwise."""
        prefix = Prefix(problem, f"what is {problem}?", tuple(Step(text) for text in texts))
        solution = Solution(prefix=prefix, author="policy", draw=len(self.items))
        error = next((t for t, tally in enumerate(tallies) if tally.tried and not tally.good), None)
        asked = {
            "truth": "validity",
            "source": "exact",
            "by": "checker",
            "error": error,
            "error_known": True,
            **changes,
        }
        self.items.append((solution, Labels(solution_id=solution.id, tallies=tuple(tallies), **asked)))
        self.scores.append((solution.id, Score(value=min(steps), steps=tuple(steps), reduction="min", by="prm")))

    def write(self, folder: Path) -> dict[str, str]:
        """The files, as the settings `labels` and `scores`."""
        labels, scores = folder / "labelled.jsonl", folder / "scores.jsonl"
        write_labelled(labels, self.items)
        records.write_scores(scores, self.scores)
        return {"labels": str(labels), "scores": str(scores)}


def simulated(problems: int, seed: int, *, temperature: float = 1.0, steps: int = 5, each: int = 1) -> Written:
    """Solutions whose step t is valid with a chance p that is drawn anew, and scores sigma(temperature * logit(p)).

    Scores are calibrated at temperature 1, too sure above it.
    """
    rng, made = np.random.default_rng(seed), Written()
    for p in range(problems):
        for draw in range(each):
            chances = rng.beta(4, 1, size=steps)
            valid = rng.random(steps) < chances
            odds = temperature * (np.log(chances) - np.log1p(-chances))
            texts = [f"{p} {draw} {t}\n" for t in range(steps)]
            made.add(f"p{p}", texts, (1 / (1 + np.exp(-odds))).tolist(), [Tally(int(good), 1) for good in valid])
    return made
