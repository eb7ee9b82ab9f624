"""How large each study is. Values only; `--budget` names one of three sizes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gradatim.errors import ConfigError
from gradatim.study.contenders import picked


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusConfig:
    """How large the study of consensus is, and how bad its judges are."""

    problems: int = 40
    """Problems of the test split, which the tables are about; half as many of the shape split are for choosing a rule."""
    solutions: int = 8
    """Solutions of each by the self-correcting policy."""
    rollouts: int = 16
    """Rollouts of each distinct step, for the labels by counting."""
    repair: float = 0.3
    """Chance that the policy at once mends a step that went wrong."""
    miss: float = 0.2
    """Of solutions with an error, the share that a judge calls right."""
    false_alarm: float = 0.1
    """Of solutions without one, the share in which a judge names a step."""
    off_by_one: float = 0.1
    """Of solutions with an error, the share in which a judge names the step before or after."""
    aim: float = 0.9
    """First-error F1 that a rule has to reach on the development problems to be chosen."""
    seed: int = 0
    """Decides what is sampled, rolled out and judged."""

    def __post_init__(self) -> None:
        if self.problems < 4 or self.solutions < 1 or self.rollouts < 1:
            raise ConfigError(
                f"problems={self.problems}, solutions={self.solutions}, rollouts={self.rollouts}; "
                "expected at least 4, 1 and 1"
            )
        if not 0 <= self.repair < 1 or not 0 < self.aim <= 1:
            raise ConfigError(f"repair={self.repair}, aim={self.aim}; expected a chance below 1 and a share above 0")


CONSENSUS: dict[str, ConsensusConfig] = {
    "tiny": ConsensusConfig(),
    "small": ConsensusConfig(problems=200, solutions=16, rollouts=32),
    "full": ConsensusConfig(problems=800, solutions=16, rollouts=32),
}
"""What `--budget` stands for: a minute, ten minutes, an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletersConfig:
    """How large the study of completers is."""

    tier: Literal["a", "b"] = "a"
    """"a": policies in closed form. "b": the lab's language model, at several temperatures."""
    problems: int = 40
    """Problems of the test split."""
    solutions: int = 8
    """Solutions of each, by one author whoever completes them."""
    rollouts: tuple[int, ...] = (4, 8, 16)
    """Rollouts of each distinct step; even numbers, so that a mixture of two has as many of each."""
    seed: int = 0
    """Decides what is sampled and rolled out."""

    def __post_init__(self) -> None:
        if self.tier not in ("a", "b"):
            raise ConfigError(f"tier={self.tier!r}; expected a or b")
        if self.problems < 2 or self.solutions < 1:
            raise ConfigError(f"problems={self.problems}, solutions={self.solutions}; expected at least 2 and 1")
        if not self.rollouts or any(k < 2 or k % 2 for k in self.rollouts):
            raise ConfigError(
                f"rollouts={self.rollouts}; expected even numbers of rollouts, so that two can share them"
            )


COMPLETERS: dict[str, CompletersConfig] = {
    "tiny": CompletersConfig(),
    "small": CompletersConfig(problems=150, solutions=16, rollouts=(2, 4, 8, 16, 32)),
    "full": CompletersConfig(problems=600, solutions=16, rollouts=(2, 4, 8, 16, 32, 64)),
}
"""What `--budget` stands for, in tier a: seconds, minutes, half an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningConfig:
    """How large the study of learning curves is."""

    counts: tuple[int, ...] = (50, 150)
    """Solutions to learn from; multiples of `solutions`, in rising order."""
    solutions: int = 10
    """Solutions of each training problem. Few solutions of many problems teach more than many of a few."""
    rollouts: int = 8
    """Rollouts of each distinct step, for the labels by counting."""
    seeds: int = 1
    """Trainings of each contender at each count, on other problems, with other first weights and orders."""
    epochs: int = 6
    """Passes over the solutions, at least."""
    shown: int = 300
    """Solutions that a training sees at least, all passes together: small counts are passed over more often."""
    lr: float = 3e-4
    """Peak learning rate."""
    test_problems: int = 30
    """Problems to choose answers for, and to find first errors in."""
    candidates: int = 16
    """Solutions of each of them to choose from."""
    other_problems: int = 20
    """Development problems and longer problems, as many of each."""
    contenders: tuple[str, ...] = ()
    """Names of those that compete; empty: all."""
    device: str = "auto"
    """Where models are trained and run: "auto", "cpu", "cuda"."""
    seed: int = 0
    """Decides what is sampled, rolled out and judged."""

    def __post_init__(self) -> None:
        picked(self.contenders)
        for name in ("solutions", "rollouts", "seeds", "epochs", "shown", "test_problems", "candidates"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; expected at least 1")
        if self.other_problems < 2:
            raise ConfigError(f"other_problems={self.other_problems}; expected at least 2")
        if not self.counts or list(self.counts) != sorted(set(self.counts)) or self.counts[0] < 1:
            raise ConfigError(f"counts={self.counts}; expected numbers of solutions in rising order")
        if odd := [count for count in self.counts if count % self.solutions]:
            raise ConfigError(f"counts={self.counts}: {odd[0]} is no multiple of solutions={self.solutions}")

    def passes(self, count: int) -> int:
        """Passes over so many solutions, the same for all contenders."""
        return max(self.epochs, -(-self.shown // count))


LEARNING: dict[str, LearningConfig] = {
    "tiny": LearningConfig(),
    "small": LearningConfig(
        counts=(100, 300, 1000, 3000),
        solutions=2,
        seeds=3,
        shown=6000,
        test_problems=200,
        candidates=64,
        other_problems=150,
    ),
    "full": LearningConfig(
        counts=(100, 300, 1000, 3000, 10000),
        solutions=2,
        seeds=3,
        shown=10000,
        test_problems=500,
        candidates=64,
        other_problems=300,
    ),
}
"""What `--budget` stands for, on 2 CPU cores: ten minutes, some hours, a day."""
