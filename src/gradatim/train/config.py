"""What a training is asked to do. Values only: nothing here touches a file or imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gradatim.core import Reduction
from gradatim.errors import ConfigError
from gradatim.models.encoding import line_ends
from gradatim.train.lessons import Weighting
from gradatim.train.targets import TargetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How the weights are found, whatever the data."""

    epochs: int = 1
    """Passes over the training part."""
    lr: float | None = None
    """Peak learning rate; None: 1e-3 for a head on a frozen backbone, 2e-4 with LoRA, 2e-5 for a whole model."""
    decay: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls to 0 after the warm-up."""
    warmup: float = 0.05
    """Share of all steps in which the learning rate rises from 0."""
    weight_decay: float = 0.01
    """AdamW's, for matrices only."""
    clip: float = 1.0
    """Largest norm of the gradient; what is above is scaled down to it."""
    batch_tokens: int = 8192
    """Distinct tokens that one step of the optimiser learns from, about: whole trees are never cut for it."""
    block_tokens: int | None = None
    """Largest tree, and most tokens (padding included) in one forward pass: what bounds the memory. A solution that is
    longer runs alone. None: four times the model's width, up to which attention costs less than the rest."""
    checks: int = 1
    """How often in an epoch the held-out loss is measured, the last time at its end."""
    patience: int = 3
    """Stop after so many checks in a row without a better held-out loss; 0: never stop early."""
    bfloat16: bool = False
    """Compute in bfloat16 where autocast finds it safe; weights, losses and the optimiser stay in float32."""
    checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more work."""
    save_minutes: float = 5.0
    """How often the state is saved, to go on from after a stop; 0: after every step."""

    def __post_init__(self) -> None:
        _at_least("epochs", self.epochs, 1)
        _at_least("batch_tokens", self.batch_tokens, 1)
        if self.block_tokens is not None:
            _at_least("block_tokens", self.block_tokens, 1)
        _at_least("checks", self.checks, 1)
        _at_least("patience", self.patience, 0)
        _at_least("weight_decay", self.weight_decay, 0)
        _at_least("save_minutes", self.save_minutes, 0)
        if self.lr is not None and not 0 < self.lr < float("inf"):
            raise ConfigError(f"lr={self.lr} is not a learning rate above 0")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup={self.warmup} is not a share of the steps, at least 0 and below 1")
        if not self.clip > 0:
            raise ConfigError(f"clip={self.clip} is not above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """What `gradatim train` does: which data, onto which backbone, into which folder."""

    data: tuple[str, ...] = ()
    """Where the examples come from. For a PRM labelled solutions: "prm800k:PATH", "math-shepherd:PATH", "plain:PATH",
    "trl:PATH" or our own file. For an ORM solutions with verdicts; for Bradley-Terry these or preference pairs."""
    out: str = ""
    """Folder of the trained model."""
    name: str = ""
    """What the model's scores are signed with; empty: kind and backbone."""
    kind: Literal["prm", "orm"] = "prm"
    """"prm": a logit a step. "orm": one for the whole solution."""
    objective: Literal["logistic", "bradley-terry"] = "logistic"
    """"logistic": labels decide. "bradley-terry": the chosen solution of each pair should rank above the other."""
    backbone: str = "lab"
    """The language model to start from: a hub name, a folder, or a name that Gradatim knows ("smollm2", "lab")."""
    separator: str = "\n"
    """Ends every step in front of the model; a step is read at its last token."""
    reduction: Reduction = "min"
    """How the trained PRM's step scores become one value."""
    weighting: Weighting = "prefix"
    """"prefix": a prefix that many solutions share counts once. "trajectory": it counts once for each of them."""
    max_length: int | None = None
    """Longest solution in tokens, with its problem; None: what the backbone can take."""
    too_long: Literal["error", "drop"] = "error"
    """What a longer solution does: it stops the training before it starts, or is left out and counted. None is cut."""
    problems: int | None = None
    """At most so many problems, with all their solutions, chosen by the seed; the others are counted as dropped."""
    held_out: float = 0.1
    """Share of the problems, with all their solutions, that is kept apart: the model with the least loss on it is the
    one that is saved. 0: no part is kept apart, and the last model is saved."""
    freeze: bool = False
    """Train only the head, on features that the backbone computes once."""
    features: str = ""
    """File (SQLite) that keeps a frozen backbone's features for later trainings; empty: kept until this one ends."""
    lora_rank: int = 0
    """Rank of LoRA updates to every linear layer of the backbone, merged into it when the model is saved; 0: none."""
    device: str = "auto"
    """Where to compute: "auto", "cpu", "cuda", "cuda:1"."""
    skip_bad: bool = False
    """Leave out malformed rows, and count them, instead of stopping at the first."""
    seed: int = 0
    """Decides the head's first weights, the held-out part and the order of batches."""
    targets: TargetConfig = field(default_factory=TargetConfig)
    """How labels become evidence."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How the weights are found."""

    def __post_init__(self) -> None:
        line_ends(self.separator)
        if self.objective == "bradley-terry" and self.kind != "orm":
            raise ConfigError('objective="bradley-terry" compares whole solutions; it needs kind="orm"')
        if self.kind == "prm" and self.reduction == "outcome":
            raise ConfigError('reduction="outcome" is what an ORM has; a PRM needs one over steps, such as "min"')
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out={self.held_out} is not a share of the problems, at least 0 and below 1")
        if self.freeze and self.lora_rank:
            raise ConfigError(f"lora_rank={self.lora_rank} updates the backbone and freeze=True forbids it; choose one")
        _at_least("lora_rank", self.lora_rank, 0)
        for name, value in (("max_length", self.max_length), ("problems", self.problems)):
            if value is not None:
                _at_least(name, value, 1)

    @property
    def lr(self) -> float:
        """The peak learning rate, with the default for what is trained."""
        if self.fit.lr is not None:
            return self.fit.lr
        return 1e-3 if self.freeze else 2e-4 if self.lora_rank else 2e-5


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name}={value} is below {least}")
