"""Free evidence: what a policy's own sampled solutions say of a problem, and of the prefixes that they share."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.core import Prefix, Solution, Tally, Verdict
from gradatim.steps import SPLITTERS


class Others:
    """Counts the solutions that a policy wrote and a verifier has seen, by each of their prefixes.

    They are draws from their prefixes like any rollout, wherever their steps were cut (see `writer_of`). A solution's own
    outcome is left out of what it is told: it would carry that outcome into its labels.
    """

    def __init__(self, policy: str, solutions: Sequence[Solution]) -> None:
        self.writer = writer_of(policy)
        self._sums: dict[Prefix, Tally] = {}
        for solution in filter(self._counts, solutions):
            own = own_tally(solution.finish, solution.verdict)
            for k in range(len(solution.prefix.steps) + 1):
                prefix = solution.prefix.first(k)
                self._sums[prefix] = self._sums.get(prefix, Tally()) + own

    def _counts(self, solution: Solution) -> bool:
        return solution.verdict is not None and writer_of(solution.author) == self.writer

    def whole(self, problem: Prefix) -> Tally:
        """The tally of a problem's solutions, all of them."""
        return self._sums.get(problem.first(0), Tally())

    def tally(self, solution: Solution, k: int) -> Tally:
        """The tally of the other solutions that begin with this one's first k steps."""
        whole = self._sums.get(solution.prefix.first(k), Tally())
        if not self._counts(solution):
            return whole
        own = own_tally(solution.finish, solution.verdict)
        return Tally(whole.good - own.good, whole.tried - own.tried, whole.lost - own.lost)


_CUTS = frozenset(getattr(splitter, "__name__", "") for splitter in SPLITTERS.values())


def writer_of(policy: str) -> str:
    """A policy's name without the word for its splitter, which decides where a whole text is cut, and not what it says."""
    return " ".join(word for word in policy.split(" ") if word not in _CUTS)


def own_tally(finish: str, verdict: Verdict | None) -> Tally:
    """A solution's outcome as a tally of one: cut off or unread is tried, not good, lost; no verdict is not tried."""
    if finish == "length":
        return Tally(0, 1, 1)
    if verdict is None:
        return Tally()
    return Tally(int(verdict == Verdict.CORRECT), 1, int(verdict == Verdict.UNPARSED))
