"""Named sources -> what a training learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gradatim import records, runs
from gradatim.core import Solution
from gradatim.errors import ConfigError
from gradatim.labels.datasets import FORMS, load_labelled
from gradatim.labels.outcome import outcome_pairs
from gradatim.labels.pairs import load_pairs
from gradatim.problems.sources import rows_of
from gradatim.train.config import TrainConfig
from gradatim.train.goals import PAIRED
from gradatim.train.materials import Materials, from_labelled, from_pairs, from_solutions, joined


def read_materials(config: TrainConfig) -> Materials:
    """Everything that the sources of a training hold, rows that could not be read counted with the drops."""
    drops = Counter[str]()
    found = joined([_read(source, config, drops) for source in config.data])
    return replace(found, rows=found.rows + drops.total(), drops=found.drops + drops)


def digests(sources: Sequence[str]) -> dict[str, str]:
    """The digest of each source that is a file or folder here, bare or after its "form:"; others are left out."""
    found = {}
    for source in sources:
        paths = [path for path in (source, source.partition(":")[2]) if path and Path(path).exists()]
        if paths:
            found[source] = runs.fingerprint(paths[0])
    return found


def _read(source: str, config: TrainConfig, drops: Counter[str]) -> Materials:
    if not config.learns_outcomes:
        return from_labelled(load_labelled(source, skip_bad=config.skip_bad, drops=drops), config.targets)
    if config.objective not in PAIRED:
        return from_solutions(_solutions(source, config, drops), config.targets)
    if _holds_pairs(source):
        return from_pairs(load_pairs(source, skip_bad=config.skip_bad, drops=drops))
    solutions = _solutions(source, config, drops)
    pairs, counts = outcome_pairs(solutions, seed=config.seed)
    left_out = ", ".join(f"{count} x {reason}" for reason, count in counts.items()) or "nothing"
    note = f"{source}: {len(pairs)} pairs of {len(solutions)} solutions; left out: {left_out}"
    return replace(from_pairs(pairs), notes=(note,), labelled_by=("verdicts",))


def _solutions(source: str, config: TrainConfig, drops: Counter[str]) -> list[Solution]:
    if (form := source.partition(":")[0]) in FORMS:
        raise ConfigError(
            f"{source}: {form} rows label steps, and kind={config.kind} with objective={config.objective} learns whether "
            "whole solutions are right; name a file of {problem, steps, verdict} rows, or leave kind and objective out"
        )
    path = Path(source) / "solutions.jsonl" if Path(source).is_dir() else source
    return records.read_solutions(path, skip_bad=config.skip_bad, drops=drops)


def _holds_pairs(source: str) -> bool:
    """Whether a source holds preference pairs rather than solutions, told from its first row."""
    if source == "-":
        return True  # standard input can't be read twice
    first = None if Path(source).is_dir() else next(rows_of(source, skip_bad=True), None)
    return first is not None and "chosen" in first.data
