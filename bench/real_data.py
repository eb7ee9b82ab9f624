"""PRM800K and PRMBench, divided by problem: rows to train on, and rows that nobody trains on."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gradatim.core import Labels, Solution, seed_for
from gradatim.labels.datasets import load_labelled

Row = dict[str, Any]

IGNORED = -100
"""TRL's label of a step that is not learned from."""


def write_split(data: Path, folder: Path, *, held_out: int, per_problem: int, seed: int) -> dict[str, Any]:
    """Write `held-out.jsonl`, `prm800k.jsonl`, `prmbench.jsonl` and `trl.jsonl` to a folder, and say what is in them.

    Held out are so many problems of PRM800K, each with at most `per_problem` of its rows in which every step up to the
    first error is rated. The others have no problem that is held out or that ProcessBench's rows have, and are whole:
    {problem, steps, ratings}, null where a step was not rated (often one that the labeller wrote; what comes after it
    is rated again). `trl.jsonl` is `prm800k.jsonl` in a seeded order as TRL takes it: a solution ends at its first wrong
    step, a neutral step is a good one, and one that is not rated is ignored.
    """
    human = load_labelled(f"prm800k:{data}/prm800k/phase1_train.jsonl.gz")
    planted = load_labelled(f"prmbench:{data}/prmbench")
    asked = {_plain(one.prefix.prompt) for one, _ in load_labelled(f"processbench:{data}/processbench")}
    names = sorted({one.prefix.prompt for one, _ in human})
    apart = set(random.Random(seed_for(seed, "held-out")).sample(names, held_out))
    avoided = asked | {_plain(name) for name in apart}
    tested = [one for one in human if one[0].prefix.prompt in apart]
    counts: dict[str, Any] = {"held_out": _write_tests(tested, folder / "held-out.jsonl", per_problem, seed)}
    for name, labelled in (("prm800k", human), ("prmbench", planted)):
        rows = [_row(*one) for one in labelled if _plain(one[0].prefix.prompt) not in avoided]
        write_rows(folder / f"{name}.jsonl", rows)
        labels = sum(rating is not None for row in rows for rating in row["ratings"])
        counts[name] = {"problems": len({row["problem"] for row in rows}), "rows": len(rows), "labels": labels}
        if name == "prm800k":
            taken = [taken for row in rows if (taken := _for_trl(row))]
            random.Random(seed_for(seed, "rows")).shuffle(taken)
            write_rows(folder / "trl.jsonl", taken)
    return counts


def read_rows(path: Path) -> list[Row]:
    """The rows of a file of JSON Lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """A file of JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _row(solution: Solution, labels: Labels) -> Row:
    steps = [step.text.rstrip() for step in solution.prefix.steps]
    return {"problem": solution.prefix.prompt, "steps": steps, "ratings": _marks(labels)}


def _for_trl(row: Row) -> Row | None:
    """None: no step of it has a label."""
    ratings = up_to_error(row["ratings"])
    if all(rating is None for rating in ratings):
        return None
    labels = [IGNORED if rating is None else int(rating != -1) for rating in ratings]
    return {"prompt": row["problem"], "completions": row["steps"][: len(labels)], "labels": labels}


def up_to_error(ratings: list[int | None]) -> list[int | None]:
    """The ratings up to the first wrong step, with it."""
    return ratings[: ratings.index(-1) + 1] if -1 in ratings else ratings


def _write_tests(
    labelled: Iterable[tuple[Solution, Labels]], path: Path, per_problem: int, seed: int
) -> Mapping[str, int]:
    """In PRM800K's own form, with an id by which scores are found again."""
    by_problem = defaultdict[str, list[Row]](list)
    for solution, labels in labelled:
        row = {"id": solution.id, **_row(solution, labels)}
        if None not in up_to_error(row["ratings"]):
            by_problem[solution.prefix.prompt].append(row)
    rows = []
    for prompt, own in sorted(by_problem.items()):
        rows += random.Random(seed_for(seed, "rows", prompt)).sample(own, min(per_problem, len(own)))
    write_rows(path, rows)
    return {"problems": len(by_problem), "rows": len(rows), "wrong": sum(-1 in row["ratings"] for row in rows)}


def _marks(labels: Labels) -> list[int | None]:
    """1, 0, -1 or None for each step; PRMBench has tallies of one vote."""
    if labels.ratings is not None:
        return list(labels.ratings)
    return [None if not tally.tried else 1 if tally.good else -1 for tally in labels.tallies]


def _plain(text: str) -> str:
    """A problem's text by its letters and digits, to find it again where it is set otherwise."""
    return "".join(filter(str.isalnum, text)).lower()
