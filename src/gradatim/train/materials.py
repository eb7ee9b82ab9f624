"""What a training learns from: labelled solutions, solutions with verdicts or preference pairs, all drops counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gradatim.core import Labels, Pair, Solution
from gradatim.train.split import problems_of
from gradatim.train.targets import Example, TargetConfig, outcome_examples, process_examples, usable_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """Either examples, for logistic losses, or pairs, for Bradley-Terry."""

    examples: tuple[Example, ...] = ()
    """Solutions with their evidence."""
    pairs: tuple[Pair, ...] = ()
    """Solutions that should rank above others of their problems."""
    rows: int = 0
    """Rows that were read, or pairs that were made of them, those that were dropped included."""
    drops: Counter[str] = field(default_factory=Counter)
    """Those that were left out, by reason."""
    notes: tuple[str, ...] = ()
    """What else was made of what was read."""
    origins: tuple[int, ...] = ()
    """Which of several joined materials each example or pair comes from; empty where there is one."""
    labelled_by: tuple[str, ...] = ()
    """Who found the labels, as "source: by"."""

    @property
    def problems(self) -> list[str]:
        """The problem of each example or pair."""
        return problems_of([pair.chosen for pair in self.pairs] or [example.prefix for example in self.examples])

    @property
    def sources(self) -> tuple[int, ...]:
        """The source of each example or pair, as a number from 0."""
        return self.origins or (0,) * len(self.pairs or self.examples)


def from_labelled(labelled: Iterable[tuple[Solution, Labels]], targets: TargetConfig) -> Materials:
    """Labelled solutions, for a process model."""
    rows, drops = list(labelled), Counter[str]()
    by = sorted({f"{labels.source}: {labels.by}" for _, labels in rows})
    examples = process_examples(rows, targets, drops)
    return Materials(examples=tuple(examples), rows=len(rows), drops=drops, labelled_by=tuple(by))


def from_solutions(solutions: Sequence[Solution], targets: TargetConfig) -> Materials:
    """Solutions with verdicts, for an outcome model or an implicit process model."""
    drops = Counter[str]()
    examples = outcome_examples(solutions, targets, drops)
    return Materials(examples=tuple(examples), rows=len(solutions), drops=drops, labelled_by=("verdicts",))


def joined(parts: Iterable[Materials]) -> Materials:
    """Several materials of one kind as one, which remembers which is whose."""
    found = list(parts)
    return Materials(
        examples=tuple(example for part in found for example in part.examples),
        pairs=tuple(pair for part in found for pair in part.pairs),
        origins=tuple(number for number, part in enumerate(found) for _ in part.pairs or part.examples),
        rows=sum(part.rows for part in found),
        drops=sum((part.drops for part in found), Counter[str]()),
        notes=tuple(note for part in found for note in part.notes),
        labelled_by=tuple(sorted({by for part in found for by in part.labelled_by})),
    )


def from_pairs(pairs: Sequence[Pair]) -> Materials:
    """Preference pairs, for an outcome model or an implicit process model."""
    drops = Counter[str]()
    return Materials(pairs=tuple(usable_pairs(pairs, drops)), rows=len(pairs), drops=drops, labelled_by=("pairs",))
