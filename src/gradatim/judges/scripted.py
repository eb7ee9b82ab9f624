"""Judges of known error, for tests, studies and dry runs. They need no model: they are told the truth, and err as often
as they are asked to.

A judge's errors come from two numbers between 0 and 1 a solution: the first decides whether it errs, the second where.
Judges that are given the same numbers (`shared`) err on the same solutions; `like` finds numbers that could have made
another labeller's errors, Monte-Carlo labels for example, so that a judge may err where they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from gradatim.core import Labels, Prefix, Solution, seed_for
from gradatim.errors import ConfigError
from gradatim.judges.opinions import Opinion, labels_of, names

Numbers = Callable[[Prefix], tuple[float, float]]
"""Two numbers in [0, 1) of a solution: small first ones mean that a judge errs; the second says where it then points."""


def shared_numbers(seed: int) -> Numbers:
    """Independent uniform numbers for each solution, the same for every judge that is given them."""
    return lambda prefix: _uniform(seed, "shared", prefix)


def like(opinions: Iterable[tuple[Prefix, int | None, int | None]], seed: int) -> Numbers:
    """Numbers that would have made the errors of a labeller: for each solution its truth and what it said.

    Uniform on [0, 1) over the solutions with an error, and over those without, so that a judge keeps its own rates.
    Where the labeller missed the error the first number lies lowest, next where it named a wrong step, and highest where
    it was right: of judges with these rates none agrees more with its errors (comonotone). The second number points
    where the labeller did. Solutions that are not among the opinions are a KeyError.
    """
    given = list(opinions)
    counts = {erroneous: [0, 0, 0] for erroneous in (True, False)}
    for _, truth, said in given:
        counts[truth is not None][_rank(truth, said)] += 1
    found: dict[Prefix, tuple[float, float]] = {}
    for prefix, truth, said in given:
        ranks, rank = counts[truth is not None], _rank(truth, said)
        first, second = _uniform(seed, "like", prefix)
        among = (sum(ranks[:rank]) + first * ranks[rank]) / sum(ranks)
        found[prefix] = (among, _pointing(len(prefix.steps), truth, said, second))
    return found.__getitem__


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedJudge:
    """Finds first errors with known error rates; deterministic by (seed, prefix, draw).

    Of solutions with an error it calls the share `miss` right, and of the share `off_by_one` it names the step before or
    after (in a solution of one step there is none, and it is right). Of solutions without one it names some step, all
    equally often, in the share `false_alarm`. With chance `correlation` a solution's `shared` numbers decide in place
    of its own, for all draws alike: its rates stay what they are.
    """

    miss: float = 0.0
    """Of solutions with an error, the share that it calls right."""
    false_alarm: float = 0.0
    """Of solutions without an error, the share in which it names a step."""
    off_by_one: float = 0.0
    """Of solutions with an error, the share in which it names a neighbour of the first wrong step."""
    seed: int = 0
    """Decides its own numbers."""
    shared: Numbers | None = None
    """Numbers that it has in common with another labeller: see `shared_numbers` and `like`."""
    correlation: float = 0.0
    """Chance, a solution, that the shared numbers decide."""

    def __post_init__(self) -> None:
        rates = (self.miss, self.false_alarm, self.off_by_one, self.correlation)
        if not all(0 <= rate <= 1 for rate in rates) or self.miss + self.off_by_one > 1:
            raise ConfigError(
                f"miss={self.miss}, false_alarm={self.false_alarm}, off_by_one={self.off_by_one}, "
                f"correlation={self.correlation}; expected shares, and miss + off_by_one at most 1"
            )
        if self.correlation and self.shared is None:
            raise ConfigError(f"correlation={self.correlation} without shared numbers to correlate with")

    @property
    def name(self) -> str:
        """Its error rates and seed."""
        told = f"miss={self.miss:g} false_alarm={self.false_alarm:g} off_by_one={self.off_by_one:g}"
        with_others = f" correlation={self.correlation:g}" if self.correlation else ""
        return f"scripted judge {told}{with_others} seed={self.seed}"

    def first_error(self, prefix: Prefix, truth: int | None, draw: int = 0) -> int | None:
        """The first error that it names in a solution whose true one is `truth` (0-based; None for none)."""
        first, second = self._numbers(prefix, draw)
        steps = len(prefix.steps)
        if truth is None:
            return int(second * steps) if steps and first < self.false_alarm else None
        if first < self.miss:
            return None
        if first >= self.miss + self.off_by_one or steps < 2:
            return truth
        before = truth > 0 and (second < 0.5 or truth == steps - 1)
        return truth - 1 if before else truth + 1

    def judge(self, prefix: Prefix, truth: int | None, draw: int = 0) -> Opinion:
        """`first_error` as an opinion: steps before it are right, it is wrong, those behind it are not judged."""
        return names(prefix.steps, self.first_error(prefix, truth, draw))

    def label(self, solution: Solution, truth: int | None, draws: int = 1) -> Labels:
        """Labels of a solution by so many draws, as a critic's would be counted (see `labels_of`)."""
        opinions = [self.judge(solution.prefix, truth, draw) for draw in range(draws)]
        return labels_of(solution, opinions, by=self.name, rule=f"first error by most of {draws} draws")

    def _numbers(self, prefix: Prefix, draw: int) -> tuple[float, float]:
        if self.shared is not None and _uniform(self.seed, "common", prefix)[0] < self.correlation:
            return self.shared(prefix)
        return _uniform(self.seed, draw, prefix)


def _uniform(seed: int, what: str | int, prefix: Prefix) -> tuple[float, float]:
    texts = (step.text for step in prefix.steps)
    rng = Random(seed_for(seed, "judge", what, prefix.problem_id, prefix.prompt, *texts))
    return rng.random(), rng.random()


def _rank(truth: int | None, said: int | None) -> int:
    """0: missed (or a false alarm), 1: named a wrong step, 2: right."""
    if said == truth:
        return 2
    return 0 if said is None or truth is None else 1


def _pointing(steps: int, truth: int | None, said: int | None, number: float) -> float:
    """A second number that points where the labeller did, as `ScriptedJudge.first_error` reads it."""
    if said is None or said == truth:
        return number
    if truth is None:
        return (said + number) / steps
    return number / 2 if said < truth else 0.5 + number / 2
