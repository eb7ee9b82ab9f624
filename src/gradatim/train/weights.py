"""Factors of what solutions owe, found on the training part: by source, by number of steps and by class.

Where several are to be balanced at once, the factors are found by raking (Deming and Stephan 1940): each margin is set right in
turn until all of them are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gradatim.errors import ConfigError
from gradatim.train.config import TrainConfig
from gradatim.train.items import Item
from gradatim.train.lessons import Tokens, prefix_keys
from gradatim.train.targets import Evidence

Cell = tuple[int, int]
"""(source, bin of the number of steps)."""

ROUNDS = 1000
"""Of raking, at most: some margins are met in the limit only, and then what is shown says how near they are."""

LARGEST = 1e6
"""A factor beyond this, or below one over it: the margins contradict each other, and raking runs away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What an item's evidence is multiplied by: its source's factor times its bin's; evidence for a step by `positive` too."""

    sources: tuple[float, ...]
    """A factor a source."""
    bins: tuple[float, ...]
    """A factor a bin of the number of steps."""
    positive: float
    """The positive weight, given or found."""

    def factor(self, cell: Cell) -> float:
        """The factor of an item."""
        return self.sources[cell[0]] * self.bins[cell[1]]


def cell_of(item: Item, config: TrainConfig) -> Cell:
    """The source and the bin of an item."""
    return item.source, bisect_left(config.step_bins, item.steps)


def evidence_by_cell(items: Sequence[Item], config: TrainConfig) -> dict[Cell, Evidence]:
    """What the items of each cell owe before they are weighed, as the lessons count it.

    Where no single read owes, a pair or a ranked solution owes its weight as "good"; siblings are made of evidence, and
    it is the evidence that is counted.
    """
    found: dict[Cell, Evidence] = {}
    for item, owed in zip(items, _owed(items, config), strict=True):
        good, bad = found.get(cell_of(item, config), (0.0, 0.0))
        found[cell_of(item, config)] = Evidence(good + owed.good, bad + owed.bad)
    return found


def found_weights(cells: dict[Cell, Evidence], config: TrainConfig) -> Weights:
    """The factors that the settings ask for, on the evidence of the training part; what is not balanced keeps factor 1.

    ConfigError if the classes are to be balanced and there is one only, or for balances that contradict each other.
    """
    sources = list(config.source_weights or [1.0] * max(1, len(config.data), *(source + 1 for source, _ in cells)))
    given, bins, positive = list(sources), [1.0] * (len(config.step_bins) + 1), config.targets.positive_weight
    if "class" in config.balance and not all(map(sum, zip(*cells.values(), strict=True))):
        raise ConfigError(
            "balance by class needs evidence for steps and evidence against some; the training part has one"
        )
    total = sum(map(sum, cells.values()))

    def owed(cell: Cell) -> float:
        good, bad = cells[cell]
        return sources[cell[0]] * bins[cell[1]] * (positive * good + bad)

    for _ in range(ROUNDS):
        before = [*sources, *bins, positive]
        if "source" in config.balance:
            _level(sources, 0, cells, owed, total, given)
        if "steps" in config.balance:
            _level(bins, 1, cells, owed, total, [1.0] * len(bins))
        if "class" in config.balance:
            factors = {cell: sources[cell[0]] * bins[cell[1]] for cell in cells}
            good, bad = (sum(factors[cell] * evidence[side] for cell, evidence in cells.items()) for side in (0, 1))
            positive = bad / good
        if not all(1 / LARGEST < factor < LARGEST for factor in (*sources, *bins, positive)):
            raise ConfigError(
                f"balance by {' and '.join(config.balance)} can't be met together: evidence for steps and against them lies "
                "in parts of its own, so that to level one is to tilt the other; balance by one of them"
            )
        if all(abs(new - old) <= 1e-12 * old for new, old in zip([*sources, *bins, positive], before, strict=True)):
            break
    return Weights(sources=tuple(sources), bins=tuple(bins), positive=positive)


def _level(
    factors: list[float],
    axis: int,
    cells: Iterable[Cell],
    owed: Callable[[Cell], float],
    total: float,
    shares: Sequence[float],
) -> None:
    """Set the factors along one axis so that its parts owe the total in the given shares."""
    sums: Counter[int] = Counter()
    for cell in cells:
        sums[cell[axis]] += owed(cell)  # type: ignore[assignment]
    whole = sum(shares[part] for part in sums)
    for part, found in sums.items():
        factors[part] *= total * shares[part] / (whole * found)


def _owed(items: Sequence[Item], config: TrainConfig) -> list[Evidence]:
    """What each item owes. Under "prefix" what is owed once for several of them is divided among them."""
    keys = [_keys(item, config) for item in items]
    copies = Counter(key for found in keys for key in found) if config.weighting == "prefix" else None
    return [
        _total(item, [1 / copies[key] if copies else 1.0 for key in found], config)
        for item, found in zip(items, keys, strict=True)
    ]


def _keys(item: Item, config: TrainConfig) -> Sequence[object]:
    """What the parts of an item that owe are told apart by: labelled prefixes, a whole solution, or a pair."""
    if not isinstance(item.learnt, Tokens):
        return (item.learnt.pair,)
    return (item.learnt.ids,) if config.objective == "pqm" else prefix_keys(item.learnt)


def _total(item: Item, shares: Sequence[float], config: TrainConfig) -> Evidence:
    weight = item.learnt.weight
    if not isinstance(item.learnt, Tokens) or config.objective == "pqm":
        return Evidence(weight * shares[0], 0.0)
    entries = [(share, evidence) for share, (_, evidence) in zip(shares, item.learnt.evidence, strict=True)]
    return Evidence(weight * sum(s * e.good for s, e in entries), weight * sum(s * e.bad for s, e in entries))
