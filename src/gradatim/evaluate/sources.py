"""What judges the rows of a suite: a model, scores that were recorded, or the labels of a judge.

All three come down to a score for each step, and a judge's labels also to the first error that it names (or to no decision).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gradatim.core import Labels, Prefix, Score, Scorer
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.bench import BenchRow, Recorded, subset_name
from gradatim.labels.datasets import load_labelled
from gradatim.progress import progress
from gradatim.records import is_whole_json, read_labels, read_rows, read_scores, reason, schema_of

BATCH = 64
"""Solutions handed to a scorer at a time."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a source says of one row."""

    scores: tuple[float, ...]
    """One a step, NaN where a step has none."""
    said: int | None = None
    """The first error that a judge names, None for none; meaningful only for a source that does not need a threshold."""
    decided: bool = True
    """Whether a judge came to a decision; an undecided row counts as missed, and is counted."""


class Source(Protocol):
    """Judges rows and finished solutions. `judge` gives None for a row that the source knows nothing of."""

    name: str
    kind: str

    @property
    def needs_threshold(self) -> bool: ...

    def judge(self, rows: Sequence[BenchRow]) -> list[Judgement | None]: ...

    def values(self, keys: Sequence[str], prefixes: Sequence[Prefix]) -> list[float | None]: ...


class ModelSource:
    """A reward model; every distinct solution is scored once, and kept."""

    kind = "model"
    needs_threshold = True

    def __init__(
        self, scorer: Scorer, *, skip_bad: bool = False, drops: Counter[str] | None = None, quiet: bool = False
    ) -> None:
        """With `skip_bad` a solution that the model can't take (too long, say) has no score, and is counted."""
        self.name, self._scorer, self._quiet = scorer.name, scorer, quiet
        self._skip_bad, self._drops = skip_bad, Counter[str]() if drops is None else drops
        self._found: dict[Prefix, Score | None] = {}

    def judge(self, rows: Sequence[BenchRow]) -> list[Judgement | None]:
        """Step scores of each row; ConfigError for a model of whole solutions, InputError for a row it can't take."""
        found: list[Judgement | None] = []
        for row, score in zip(rows, self.scores([row.prefix for row in rows]), strict=True):
            if score is None:
                found.append(None)
                continue
            if not score.steps:
                raise ConfigError(f"{self.name} scores whole solutions, not steps; this suite needs a process model")
            if len(score.steps) != len(row.prefix.steps):
                raise InputError(
                    f"{len(score.steps)} scores by {self.name} for {len(row.prefix.steps)} steps of {row.id}"
                )
            found.append(Judgement(score.steps))
        return found

    def values(self, keys: Sequence[str], prefixes: Sequence[Prefix]) -> list[float | None]:
        """One value a solution, under the model's own reduction."""
        return [None if score is None else score.value for score in self.scores(prefixes)]

    def scores(self, prefixes: Sequence[Prefix]) -> list[Score | None]:
        """The model's score of each solution; None for one that it can't take."""
        new = sorted(
            {prefix for prefix in prefixes if prefix not in self._found}, key=lambda one: (one.problem_id, one.text)
        )
        new = self._taken(new)
        with progress(f"score with {self.name}", len(new), "solutions", quiet=self._quiet or not new) as shown:
            for start in range(0, len(new), BATCH):
                batch = new[start : start + BATCH]
                self._found.update(zip(batch, self._scorer.score(batch), strict=True))
                shown.advance(len(batch))
        return [self._found[prefix] for prefix in prefixes]

    def _taken(self, prefixes: list[Prefix]) -> list[Prefix]:
        """Those that the model can take, if it can tell; the others are counted, once each."""
        refused = getattr(self._scorer, "refused", None)
        if not self._skip_bad or refused is None or not prefixes:
            return prefixes
        why = refused(prefixes)
        for prefix, error in zip(prefixes, why, strict=True):
            if error is not None:
                self._found[prefix] = None
                self._drops[f"{self.name}: {reason(error)}"] += 1
        return [prefix for prefix, error in zip(prefixes, why, strict=True) if error is None]


class RecordedSource:
    """Scores from files, by one scorer. Rows with another number of scores than steps are an InputError that sums them
    up, or with `skip_bad` left out and counted."""

    kind = "scores"
    needs_threshold = True

    def __init__(self, recorded: Recorded, *, skip_bad: bool = False, drops: Counter[str] | None = None) -> None:
        self.name, self.recorded, self._skip_bad = recorded.name, recorded, skip_bad
        self._drops = Counter[str]() if drops is None else drops

    def judge(self, rows: Sequence[BenchRow]) -> list[Judgement | None]:
        """The recorded step scores; None for a row that has none, or another number of them than steps."""
        found = [self.recorded.find(row) for row in rows]
        wrong = [
            (row, len(score.steps))
            for row, score in zip(rows, found, strict=True)
            if score is not None and len(score.steps) != len(row.prefix.steps)
        ]
        if wrong and not self._skip_bad:
            raise misaligned(self.recorded, wrong, sum(score is not None for score in found))
        if wrong:
            self._drops[f"{self.name}: another number of scores than steps"] += len(wrong)
        out = {row.id for row, _ in wrong}
        return [
            None if score is None or row.id in out else Judgement(score.steps)
            for row, score in zip(rows, found, strict=True)
        ]

    def values(self, keys: Sequence[str], prefixes: Sequence[Prefix]) -> list[float | None]:
        """The recorded values (the smallest step score where no value was recorded)."""
        scores = [self.recorded.scores.get(key) for key in keys]
        return [None if score is None or math.isnan(score.value) else score.value for score in scores]


class LabelSource:
    """The labels of a judge, found by the ids of the solutions as `load_labelled` reads them from the suite's data."""

    kind = "labels"
    needs_threshold = False

    def __init__(self, name: str, labels: Sequence[Labels]) -> None:
        self.name = name
        self._labels = {one.solution_id: one for one in labels}

    def judge(self, rows: Sequence[BenchRow]) -> list[Judgement | None]:
        """Step scores are the rates of the tallies; the first error is the one that the judge names."""
        return [None if (one := self._labels.get(row.solution_id)) is None else _decision(row, one) for row in rows]

    def values(self, keys: Sequence[str], prefixes: Sequence[Prefix]) -> list[float | None]:
        """None: labels of steps do not rank solutions."""
        return [None] * len(keys)


def _decision(row: BenchRow, labels: Labels) -> Judgement:
    if len(labels.tallies) != len(row.prefix.steps):
        raise InputError(
            f"{len(labels.tallies)} tallies by {labels.by} for the {len(row.prefix.steps)} steps of {row.id}"
        )
    rates = tuple(tally.rate for tally in labels.tallies)
    if labels.error_known:
        return Judgement(rates, labels.error)
    error = next((index for index, rate in enumerate(rates) if rate < 0.5), None)
    decided = not any(math.isnan(rate) for rate in rates[: len(rates) if error is None else error])
    return Judgement(rates, error, decided)


def misaligned(recorded: Recorded, wrong: Sequence[tuple[BenchRow, int]], known: int) -> InputError:
    """The error about rows with another number of scores than steps: how many, by how much, and which first."""
    by = Counter(count - len(row.prefix.steps) for row, count in wrong)
    usual, times = by.most_common(1)[0]
    row, count = wrong[0]
    return InputError(
        f"{len(wrong)} of {known} rows with another number of scores than steps ({times} of them {usual:+d}); the first "
        f"is id {row.id!r}: {count} scores for {len(row.prefix.steps)} steps",
        expected="one score a step",
        file=recorded.file,
        fix="score the steps as they are listed, or go on without these rows with --skip-bad",
    )


# Opening


def open_recorded(paths: Sequence[str | Path], *, skip_bad: bool, drops: Counter[str]) -> list[RecordedSource]:
    """A source for each scorer that occurs in the files, in order; rows without a name bear their file's."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    scores: defaultdict[str, dict[str, Score]] = defaultdict(dict)
    for path in paths:
        items = read_scores(path, skip_bad=skip_bad, drops=drops)
        if not items:
            raise InputError("no scores", expected="rows of {id, step_scores} or {id, value}", file=path)
        for key, score in items:
            name = subset_name(path) if score.by == "recorded" else score.by
            if key in scores[name]:
                raise InputError(f"a second score of {key!r} by {name!r}", expected="one score a solution", file=path)
            scores[name][key] = score
            if str(path) not in files[name]:
                files[name].append(str(path))
    return [
        RecordedSource(Recorded(", ".join(files[name]), name, found), skip_bad=skip_bad, drops=drops)
        for name, found in scores.items()
    ]


def open_labels(paths: Sequence[str | Path], *, skip_bad: bool, drops: Counter[str]) -> list[LabelSource]:
    """A source for each labeller in the files of labels, or of labelled solutions."""
    found: defaultdict[str, list[Labels]] = defaultdict(list)
    for path in paths:
        for labels in _labels(str(path), skip_bad, drops):
            found[" ".join(filter(None, (labels.by, labels.rule))) or subset_name(path)].append(labels)
    return [LabelSource(name, labels) for name, labels in found.items()]


def _labels(path: str, skip_bad: bool, drops: Counter[str]) -> list[Labels]:
    if not is_whole_json(path):
        first = next(read_rows(path, skip_bad=skip_bad), None)
        if first is not None and schema_of(first) == "labels":
            return read_labels(path, skip_bad=skip_bad, drops=drops)
    return [labels for _, labels in load_labelled(path, skip_bad=skip_bad, drops=drops)]


def from_models(
    openers: Sequence[Callable[[], Scorer]], *, skip_bad: bool, drops: Counter[str], quiet: bool
) -> Iterator[Source]:
    """Models as sources, each loaded when it is its turn."""
    for load in openers:
        yield ModelSource(load(), skip_bad=skip_bad, drops=drops, quiet=quiet)
