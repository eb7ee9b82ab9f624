"""PRM800K and PRMBench, divided by problem: rows to train on in a seeded order of problems, and rows nobody trains on."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gradatim import trees
from gradatim.core import Labels, Solution, seed_for
from gradatim.labels.datasets import load_labelled
from gradatim.models.encoding import StepEncoder

Row = dict[str, Any]


def write_split(
    data: Path, folder: Path, encoder: StepEncoder, *, held_out: int, per_problem: int, max_length: int, seed: int
) -> dict[str, Any]:
    """Write `held-out.jsonl`, `prm800k.jsonl` and `both.jsonl` to a folder, and say what is in them.

    Held out are so many problems of PRM800K, each with at most `per_problem` of its rows in which the first error is
    known. Of the rest `prm800k.jsonl` has PRM800K's rows, `both.jsonl` PRMBench's too; neither has a problem that
    ProcessBench's rows have, or a solution longer than `max_length` tokens. Training rows are {prompt, completions,
    labels}, a neutral step is a good one, and a solution ends at its first wrong step.
    """
    human = load_labelled(f"prm800k:{data}/prm800k/phase1_train.jsonl.gz")
    planted = load_labelled(f"prmbench:{data}/prmbench")
    asked = {_plain(one.prefix.prompt) for one, _ in load_labelled(f"processbench:{data}/processbench")}
    names = sorted({one.prefix.prompt for one, _ in human})
    apart = set(random.Random(seed_for(seed, "held-out")).sample(names, held_out))
    avoided = asked | {_plain(name) for name in apart}
    kept, counts = defaultdict[str, list[Row]](list), dict[str, Any]()
    tested = [one for one in human if one[0].prefix.prompt in apart]
    counts["held_out"] = _write_tests(tested, folder / "held-out.jsonl", per_problem, seed)
    for name, labelled in (("prm800k", human), ("both", [*human, *planted])):
        kept = _by_problem(_training_rows(labelled, avoided, encoder, max_length))
        order = sorted(kept, key=lambda prompt: seed_for(seed, "order", prompt))
        rows = [row for prompt in order for row in kept[prompt]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        counts[name] = {"problems": len(order), "rows": len(rows)}
    return counts


def problems_for(rows: Sequence[Row], encoder: StepEncoder, tokens: float) -> list[Row]:
    """The rows of the first problems that have about so many distinct tokens together."""
    chosen: list[Row] = []
    for own in _by_problem(rows).values():
        if tokens <= 0:
            break
        chosen += own
        tokens -= trees.distinct_tokens([_tokens(row, encoder) for row in own])
    return chosen


def read_rows(path: Path) -> list[Row]:
    """The rows of a file of JSON Lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _training_rows(
    labelled: Iterable[tuple[Solution, Labels]], avoided: set[str], encoder: StepEncoder, max_length: int
) -> list[Row]:
    rows = []
    for solution, labels in labelled:
        ratings = _marks(labels)
        known = ratings.index(None) if None in ratings else len(ratings)
        end = ratings.index(-1) + 1 if -1 in ratings[:known] else known
        if end and _plain(solution.prefix.prompt) not in avoided:
            row = {
                "prompt": solution.prefix.prompt,
                "completions": [step.text.rstrip() for step in solution.prefix.steps[:end]],
                "labels": [rating != -1 for rating in ratings[:end]],
            }
            if len(_tokens(row, encoder)) <= max_length:
                rows.append(row)
    return rows


def _write_tests(
    labelled: Iterable[tuple[Solution, Labels]], path: Path, per_problem: int, seed: int
) -> Mapping[str, int]:
    """In PRM800K's own form, with an id by which scores are found again."""
    by_problem = defaultdict[str, list[Row]](list)
    for solution, labels in labelled:
        ratings = _marks(labels)
        end = ratings.index(-1) + 1 if -1 in ratings else len(ratings)
        if end and None not in ratings[:end]:
            steps = [step.text.rstrip() for step in solution.prefix.steps]
            row = {"id": solution.id, "problem": solution.prefix.prompt, "steps": steps, "ratings": ratings}
            by_problem[solution.prefix.prompt].append(row)
    rows = []
    for prompt, own in sorted(by_problem.items()):
        rows += random.Random(seed_for(seed, "rows", prompt)).sample(own, min(per_problem, len(own)))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"problems": len(by_problem), "rows": len(rows), "wrong": sum(-1 in row["ratings"] for row in rows)}


def _marks(labels: Labels) -> list[int | None]:
    """1, 0, -1 or None for each step; PRMBench has tallies of one vote."""
    if labels.ratings is not None:
        return list(labels.ratings)
    return [None if not tally.tried else 1 if tally.good else -1 for tally in labels.tallies]


def _by_problem(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found = defaultdict[str, list[Row]](list)
    for row in rows:
        found[row["prompt"]].append(row)
    return dict(found)


def _tokens(row: Row, encoder: StepEncoder) -> list[int]:
    """As both contenders write it: each text on its own."""
    ids = list(_encoded(encoder, row["prompt"] + "\n"))
    for text in row["completions"]:
        ids += _encoded(encoder, text)
        ids += _encoded(encoder, "\n")
    return ids


_known: dict[str, tuple[int, ...]] = {}


def _encoded(encoder: StepEncoder, text: str) -> tuple[int, ...]:
    if text not in _known:
        _known[text] = tuple(encoder.tokenizer.encode(text, add_special_tokens=False))
    return _known[text]


def _plain(text: str) -> str:
    """A problem's text by its letters and digits, to find it again where it is set otherwise."""
    return "".join(filter(str.isalnum, text)).lower()
