"""Small pool and score files for the tests of pools and choosing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as they are, good or bad; returns the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def pool_rows(problems: Mapping[str, Sequence[tuple[str | None, bool | None]]]) -> Rows:
    """Public pool rows: for each problem its candidates' answers and whether they are correct; two steps each."""
    rows = []
    for problem_id, candidates in problems.items():
        for index, (answer, correct) in enumerate(candidates):
            row: dict[str, Any] = {"problem_id": problem_id, "candidate_index": index}
            if index == 0:
                row["problem"] = {"id": problem_id, "question": f"what is {problem_id}?", "ground_truth": "?"}
            row["steps"] = [f"first of {index}", f"so it is {answer}"]
            rows.append({**row, "extracted_answer": answer, "is_correct": correct, "model_name": "author"})
    return rows


def score_rows(pool: Rows, values: Sequence[Sequence[float | None]], scorer: str = "prm") -> Rows:
    """Public score rows of a pool, two step scores each."""
    return [
        {
            "prm_name": scorer,
            "problem_id": row["problem_id"],
            "candidate_index": row["candidate_index"],
            "step_scores": list(steps),
            "is_correct": row["is_correct"],
            "n_steps": len(steps),
        }
        for row, steps in zip(pool, values, strict=True)
    ]
