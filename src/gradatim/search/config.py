"""How a search goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gradatim.errors import ConfigError
from gradatim.search.backtrack import backtrack
from gradatim.search.beam import beam, dvts
from gradatim.search.frontier import Method
from gradatim.search.mcts import mcts
from gradatim.steps import SPLITTERS

_OWN = {
    "beam": ("width", "keep"),
    "dvts": ("width", "keep"),
    "lookahead": ("width", "keep", "ahead"),
    "mcts": ("width", "keep", "simulations", "exploration"),
    "backtrack": ("width", "keep", "retries", "drop"),
}
"""The settings that each method obeys beside `n`."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Which search, and how much of it."""

    method: Literal["beam", "dvts", "lookahead", "mcts", "backtrack"] = "beam"
    """Beam search, diverse verifier tree search, beam search that looks ahead, Monte-Carlo tree search, or
    backtracking: a step is written again when the score drops."""
    n: int = 4
    """Finished solutions that a search is asked for; it ends when it has them, and may end with fewer."""
    width: int = 16
    """Draws of one step in a round, shared by the prefixes that go on (beam, dvts, lookahead)."""
    keep: int = 4
    """Prefixes that go on (beam, lookahead: at most `n`), or trees (dvts); must divide `width`. width / keep draws are an
    expansion in mcts, and in backtrack as many steps are turned down at one place before the step before them is given
    up."""
    ahead: int = 2
    """Steps that lookahead writes beyond a prefix before it judges it."""
    simulations: int = 32
    """Expansions of mcts; if nothing is finished after so many, the best prefix is written to its end."""
    exploration: float = 1.0
    """Weight of what was visited little (mcts)."""
    drop: float = 0.2
    """A step is turned down whose score is lower by more than this than the score before it (backtrack)."""
    retries: int = 8
    """Steps of a solution that may be written again (backtrack)."""
    step_limit: int = 64
    """A solution with so many steps is cut off."""
    token_budget: int | None = None
    """A problem's search ends once the policy wrote so many tokens for it; the last round may exceed it."""
    splitter: str = "line"
    """Where a step ends (a name in `gradatim.steps.SPLITTERS`)."""
    seed: int = 0
    """With policy, prefix and draw it decides every text."""
    batch: int = 8
    """Problems that are searched side by side, and recorded together; changes no result but by float rounding."""

    def __post_init__(self) -> None:
        if self.method not in _OWN:
            raise ConfigError(f"method={self.method!r}; expected one of {', '.join(_OWN)}")
        for name in ("n", "width", "keep", "step_limit", "batch", "simulations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; expected at least 1")
        for name in ("ahead", "retries", "drop", "exploration"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name}={getattr(self, name)}; expected a finite number from 0 on")
        if self.width % self.keep:
            raise ConfigError(f"keep={self.keep} does not divide width={self.width}")
        if self.method in ("beam", "lookahead") and self.keep > self.n:
            raise ConfigError(
                f"keep={self.keep} is more than n={self.n}: {self.method} never goes on with more prefixes than solutions "
                "that are still to be found; raise n, or lower keep"
            )
        if self.token_budget is not None and self.token_budget < 1:
            raise ConfigError(f"token_budget={self.token_budget}; expected at least 1")
        if self.splitter not in SPLITTERS:
            raise ConfigError(f"splitter={self.splitter!r}; expected one of {', '.join(sorted(SPLITTERS))}")

    @property
    def label(self) -> str:
        """The method with the settings that it obeys."""
        limits = f"steps={self.step_limit}" + (f" tokens={self.token_budget}" if self.token_budget else "")
        own = " ".join(f"{name}={getattr(self, name):g}" for name in ("n", *_OWN[self.method]))
        return f"{self.method} {own} {limits} seed={self.seed}"

    def search(self) -> Method:
        """The search, to be started with a problem's tree."""
        n, width, keep = self.n, self.width, self.keep
        each = width // keep
        if self.method == "dvts":
            return lambda tree: dvts(tree, n=n, width=width, keep=keep)
        if self.method == "mcts":
            return lambda tree: mcts(tree, n=n, each=each, simulations=self.simulations, exploration=self.exploration)
        if self.method == "backtrack":
            return lambda tree: backtrack(tree, n=n, retries=self.retries, drop=self.drop, patience=each)
        ahead = self.ahead if self.method == "lookahead" else 0
        return lambda tree: beam(tree, n=n, width=width, keep=keep, ahead=ahead)
