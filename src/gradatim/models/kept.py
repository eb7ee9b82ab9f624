"""Which tokens have their keys and values kept, and where: a tree of runs with a slot a token, least recent out first.

Slots never move. Only a run that nothing hangs below can be dropped, so what is kept is always whole paths.
"""

from __future__ import annotations

from collections import OrderedDict

from gradatim.trees import shared


class Run:
    """Tokens that follow one another on the paths of the same sequences, and the slots of their keys and values."""

    __slots__ = ("above", "below", "born", "ids", "slots")

    def __init__(self, above: Run | None, ids: tuple[int, ...], slots: list[int], born: int) -> None:
        self.above = above
        """What it hangs below; None for the root, which has no tokens."""
        self.ids, self.slots = ids, slots
        self.below: dict[int, Run] = {}
        """Runs by the token with which they begin."""
        self.born = born
        """The turn in which its tokens were added."""


class Kept:
    """All kept runs. `capacity` is how many tokens there is room for; it may be set at any time."""

    def __init__(self, capacity: int = 0) -> None:
        self.capacity = capacity
        self.values: dict[int, float] = {}
        """What the model said at the tokens where it was read, by slot."""
        self._root = Run(None, (), [], 0)
        self._recent: OrderedDict[Run, int] = OrderedDict()
        self._turn = 0
        self._free: list[int] = []
        self._fresh = 0

    def __len__(self) -> int:
        """Tokens that are kept."""
        return self._fresh - len(self._free)

    def begin(self) -> None:
        """A new turn: what is found or added from here on is not dropped before the next turn begins."""
        self._turn += 1

    def find(self, ids: tuple[int, ...]) -> tuple[Run, list[int]]:
        """The longest kept beginning of a sequence: its last run, and its slots. It is in use from here on."""
        run, slots = self._root, list[int]()
        while len(slots) < len(ids) and (following := run.below.get(ids[len(slots)])) is not None:
            common = shared(following.ids, ids[len(slots) : len(slots) + len(following.ids)])
            run = following if common == len(following.ids) else self._split(following, common)
            slots += run.slots
        self._use(run)
        return run, slots

    def room(self, wanted: int) -> int:
        """How many of so many new tokens can be added in this turn; drops the least recent runs to make room."""
        while self.capacity - len(self) < wanted and self._recent:
            oldest, turn = next(iter(self._recent.items()))
            if turn == self._turn:
                break
            self._drop(oldest)
        return max(0, min(wanted, self.capacity - len(self)))

    def add(self, above: Run, ids: tuple[int, ...]) -> list[int]:
        """Keep more tokens, for which `room` has said that there is room, below a path that ends here: their slots."""
        run = Run(above, ids, [self._slot() for _ in ids], self._turn)
        above.below[ids[0]] = run
        self._use(run)
        return run.slots

    def undo(self) -> None:
        """Drop what was added in this turn."""
        # The most recent is never below another one, so in the opposite order nothing hangs below what is dropped.
        for run in [run for run in self._recent if run.born == self._turn]:
            self._drop(run)

    def _drop(self, run: Run) -> None:
        assert run.above is not None
        assert not run.below
        del run.above.below[run.ids[0]]
        del self._recent[run]
        for slot in run.slots:
            self.values.pop(slot, None)
        self._free += run.slots

    def _slot(self) -> int:
        if self._free:
            return self._free.pop()
        self._fresh += 1
        return self._fresh - 1

    def _split(self, run: Run, count: int) -> Run:
        """A run of its own for the first tokens of a run, which stays as recent as it was, below it."""
        assert run.above is not None
        upper = Run(run.above, run.ids[:count], run.slots[:count], run.born)
        run.above.below[run.ids[0]] = upper
        run.above, run.ids, run.slots = upper, run.ids[count:], run.slots[count:]
        upper.below[run.ids[0]] = run
        return upper

    def _use(self, run: Run) -> None:
        """Mark a run, then what is above it: so a run is always more recent than all below it, and the oldest is bare."""
        while run.above is not None:
            self._recent[run] = self._turn
            self._recent.move_to_end(run)
            run = run.above
