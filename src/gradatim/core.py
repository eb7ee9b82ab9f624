"""The nouns of the loop, in the order the loop meets them. Standard library only."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Literal, Protocol, get_args

from gradatim import heat


class Verdict(StrEnum):
    """What a verifier says of a finished solution."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNPARSED = "unparsed"
    """No answer could be read; counted apart, never as "incorrect". A check that ran out of time is no verdict at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question, and the gold answer that only a verifier looks at. `answer` is None where no gold is known."""

    id: str
    prompt: str
    answer: str | None = None
    source: str = ""
    meta: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)

    def start(self) -> Prefix:
        """The prefix of no steps: what a policy is asked to continue."""
        return Prefix(self.id, self.prompt)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a solution, with the separator that ends it: `"".join(s.text for s in steps)` is the solution.

    `kind` is "reasoning" for plain chains of thought. Agent trajectories also have "query", "tool_call", "evidence",
    "answer", and "observation": written by the environment, context only, never scored (tally (0, 0), score NaN).
    "control" is for prompts alone: control tokens that a critic's format writes between turns. No file may hold one.
    """

    text: str
    kind: str = "reasoning"


@dataclass(frozen=True, slots=True)
class Prefix:
    """A question and the steps written so far: what is continued, scored and searched.

    It holds no answer, so nothing that writes or scores can see one.
    """

    problem_id: str
    prompt: str
    steps: tuple[Step, ...] = ()

    @property
    def text(self) -> str:
        """The steps as one text, without the prompt."""
        return "".join(step.text for step in self.steps)

    def then(self, step: Step) -> Prefix:
        """This prefix with one more step."""
        return replace(self, steps=(*self.steps, step))

    def first(self, k: int) -> Prefix:
        """The first k steps; ValueError outside 0..len(steps)."""
        if not 0 <= k <= len(self.steps):
            raise ValueError(f"asked for {k} steps of a solution that has {len(self.steps)}")
        return replace(self, steps=self.steps[:k])


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A prefix that its author stopped writing; `draw` says which of its samples this is.

    `answer` is the final answer that could be read from the text (None: unread), never the gold one.
    `joiner` is what a reader appended to every step but the last when the data came as a list of bare steps
    (None: the steps are the text as it was written); a writer of such lists removes exactly that.
    """

    prefix: Prefix
    author: str
    draw: int
    finish: Literal["stop", "length"] = "stop"
    verdict: Verdict | None = None
    answer: str | None = None
    joiner: str | None = None

    @property
    def id(self) -> str:
        """16 hex digits from the problem, author, draw and steps."""
        texts = (step.text for step in self.prefix.steps)
        key = "\x1f".join((self.prefix.problem_id, self.author, str(self.draw), *texts))
        return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two finished solutions of one problem of which the first is preferred, by `margin` where the data says so."""

    chosen: Prefix
    rejected: Prefix
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Tally:
    """Evidence that a step is good: of `tried` continuations, `good` ended well; `lost` of them had no readable answer."""

    good: int = 0
    tried: int = 0
    lost: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.good <= self.tried - self.lost <= self.tried:
            raise ValueError(f"a tally needs good + lost <= tried, got {self.good} + {self.lost} of {self.tried}")

    @property
    def rate(self) -> float:
        """Share of `tried` that was good; NaN when nothing was tried."""
        return self.good / self.tried if self.tried else math.nan

    @property
    def smoothed(self) -> float:
        """(good + 1) / (tried + 2), Laplace's rule of succession: never 0 or 1, and 1/2 when nothing was tried."""
        return (self.good + 1) / (self.tried + 2)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.good + other.good, self.tried + other.tried, self.lost + other.lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What one labeller found out about one solution: a tally a step, and where it says the first error is.

    A step that was not looked at has tally (0, 0); a human's yes is (1, 1). `error` is the 0-based first wrong step, None for
    none; meaningful only if `error_known`. `truth` says what is labelled: each step's validity, or the value V(prefix) under a
    named policy. `rule` names the stopping rule and its settings; `bounds` are its nominal error rates. Raw human ratings
    (-1, 0, 1, None = not rated) are kept as they are: what neutral means is decided in train/targets only.
    With `optional_stopping` the outcomes decided how many were tried: rates are biased, and only the likelihood of the counts may
    be learned from. `start` is the tally of the problem itself (no steps written), where it is known. `note` is what a person
    wrote about the solution; nothing is learned from it.
    """

    solution_id: str
    tallies: tuple[Tally, ...]
    error: int | None = None
    error_known: bool = False
    truth: Literal["validity", "value"]
    source: Literal["rollouts", "human", "judge", "exact", "consensus"]
    by: str
    rule: str = ""
    bounds: tuple[float, float] | None = None
    ratings: tuple[int | None, ...] | None = None
    optional_stopping: bool = False
    start: Tally = Tally()
    note: str = ""


Reduction = Literal["min", "prod", "mean", "last", "gmean", "max", "softmin", "weighted", "sum", "outcome"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a scorer thinks of one prefix. `value` is what every later stage ranks by.

    `steps` has one entry a step of the prefix (NaN for observations) from a process model, none from an outcome model;
    `logits` are kept where the backend has them. `calibrated` names the map that made these numbers probabilities, and of
    what; empty: they are as the model gave them. `checkpoint` is a digest of the model behind the name `by`, which another
    model may bear too; empty where it is not known. `prefix` is what was scored, for showing it.
    """

    value: float
    steps: tuple[float, ...] = ()
    logits: tuple[float, ...] | None = None
    reduction: Reduction = "outcome"
    by: str
    calibrated: str = ""
    checkpoint: str = ""
    prefix: Prefix | None = field(default=None, repr=False, compare=False)

    def first_error(self, threshold: float = 0.5) -> int | None:
        """0-based index of the first step that scores below `threshold`; None if there is none. NaN steps are passed over."""
        return next((index for index, value in enumerate(self.steps) if value < threshold), None)

    def __str__(self) -> str:
        """The steps with their scores, one a line, the first error marked; then the value and how it was reduced."""
        error = self.first_error()
        texts = [step.text.strip() for step in self.prefix.steps] if self.prefix else [""] * len(self.steps)
        lines = [
            f"{'✗' if index == error else ' '} {value:.3f}  {text}"
            for index, (value, text) in enumerate(zip(self.steps, texts, strict=True))
        ]
        how = f", {self.calibrated}" if self.calibrated else ""
        return "\n".join([*lines, f"  {self.value:.3f}  ({self.reduction}, by {self.by}{how})"])

    def _repr_html_(self) -> str:
        texts = [step.text for step in self.prefix.steps] if self.prefix and self.steps else None
        shown = heat.strip(self.steps or (self.value,), texts, self.first_error())
        return f"{shown}<div>{self.value:.3f} ({self.reduction}, {html.escape(self.by)})</div>"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, how sure we are of it, and how many problems it rests on."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a policy wrote after a prefix: `finish` says why it stopped, `tokens` how many it wrote.

    "failed" means that there is no text, through no fault of the policy's (a server's, say; `error` tells): such a draw
    says nothing about the prefix and is in no denominator.
    """

    text: str
    finish: Literal["stop", "length", "step", "failed"]
    tokens: int
    error: str = ""


class Policy(Protocol):
    """Writes on from prefixes.

    Law: the text for (prefix, draw) depends only on the policy, its settings, the seed, the prefix and the draw;
    `draws=range(0, 8)` gives what `range(0, 4)` and `range(4, 8)` give. Temperature, top_p, token limit and the step
    splitter belong to the policy and to its `name`.
    """

    @property
    def name(self) -> str: ...

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        """For each prefix a list with one continuation a draw; with `one_step` each stops after one step."""
        ...


class Verifier(Protocol):
    """Compares a solution's text with a problem's gold answer. Law: it accepts its own gold."""

    def __call__(self, problem: Problem, text: str) -> Verdict: ...


class Splitter(Protocol):
    """Law: the steps' texts join to the text, and no step is empty."""

    def __call__(self, text: str) -> tuple[Step, ...]: ...


class Scorer(Protocol):
    """Law: a batch scores as its members would alone, to within the backend's rounding."""

    @property
    def name(self) -> str: ...

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]: ...


class Labeller(Protocol):
    """Finds out what each step of a solution is worth."""

    def label(self, solutions: Iterable[Solution]) -> Iterable[Labels]: ...


def seed_for(run_seed: int, *names: str | int) -> int:
    """A seed in 0..2^31-1 that depends on the run's seed and the names alone."""
    key = "\x1f".join(map(str, (run_seed, *names)))
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=4).digest()) & 0x7FFF_FFFF
