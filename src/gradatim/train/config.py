"""What a training is asked to do. Values only: nothing here touches a file or imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from gradatim.core import Reduction
from gradatim.errors import ConfigError
from gradatim.models.encoding import line_ends
from gradatim.train.goals import IMPLICIT, POINTWISE, Objective
from gradatim.train.lessons import Weighting
from gradatim.train.targets import TargetConfig

BALANCES = ("steps", "class", "source")
"""What can be balanced."""


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
    "trl:PATH" or our own file. For an ORM and for "implicit-ce" solutions with verdicts; for "bradley-terry" and
    "implicit-dpo" these or preference pairs."""
    out: str = ""
    """Folder of the trained model."""
    name: str = ""
    """What the model's scores are signed with; empty: kind and backbone."""
    kind: Literal["prm", "orm"] = "prm"
    """"prm": a logit a step. "orm": one for the whole solution."""
    objective: Objective = "logistic"
    """"logistic": binary cross-entropy with the labels. "mse": squared error of the probability. "focal": cross-entropy in
    which what is well told counts less. "pqm": right steps of a solution above wrong ones, late right ones above early
    ones. "sibling-ranking": of the different steps after one prefix the better above the worse. "bradley-terry" (an ORM):
    the chosen solution of each pair above the other. "implicit-ce", "implicit-dpo": a language model whose log-ratio to
    the one it started from tells right solutions ("implicit-ce") or ranks pairs ("implicit-dpo"); it is read step by
    step. The rankings give no probabilities, and neither does "focal"."""
    gamma: float = 2.0
    """For "focal": how fast what is well told loses weight; 0 is "logistic"."""
    zeta: float = 4.0
    """For "pqm": the margin between wrong steps and everything else."""
    beta: float = 0.05
    """For the implicit objectives: factor of the log-ratios."""
    balance: tuple[str, ...] = ()
    """What is weighed so that its parts have the same evidence in sum: "steps" (the bins of `step_bins`), "class" (evidence
    for and against; probabilities stay what they are, as with a positive weight), "source". Several are met together."""
    step_bins: tuple[int, ...] = (2, 4, 8, 16, 32)
    """Upper ends of the bins of solutions by their number of steps; what is longer is a last bin."""
    source_weights: tuple[float, ...] = ()
    """A factor for each source in `data`; with balance "source" each source's share instead. Empty: all alike."""
    backbone: str = "lab"
    """The language model to start from: a hub name, a folder, or a name that Gradatim knows ("smollm2", "lab"); or the
    folder of a reward model that was trained here, of the same kind, to go on with it, head included."""
    separator: str = "\n"
    """Ends every step in front of the model; a step is read at its last token."""
    reduction: Reduction | None = None
    """How the trained PRM's step scores become one value. None: "min"; for the implicit objectives "last"."""
    weighting: Weighting = "prefix"
    """"prefix": a prefix that many solutions share counts once, and so does a pair, a step beside its siblings or a whole
    ranked solution that occurs several times. "trajectory": it counts once for each of them."""
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
    train_layers: int | None = None
    """Train only the backbone's last so many layers and the head, on the states below them, which are computed once;
    None: all layers."""
    features: str = ""
    """File (SQLite) that keeps what a frozen model computed for later trainings: a frozen backbone's features, the states
    below `train_layers`, or the reference's log-probabilities of an implicit objective; empty: kept until this one ends."""
    lora_rank: int = 0
    """Rank of LoRA updates to every linear layer of the backbone, merged into it when the model is saved; 0: none."""
    device: str = "auto"
    """Where to compute: "auto", "cpu", "cuda", "cuda:1"."""
    tracker: Literal["", "tensorboard", "trackio", "wandb"] = ""
    """Where losses are followed besides in the report: "tensorboard" (a folder beside the model's weights), "trackio"
    (on this machine) or "wandb" (offline, unless WANDB_MODE says otherwise); empty: nowhere."""
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
        self._check_objective()
        self._check_weights()
        self._check_idle()
        if self.kind == "prm" and self.reduction == "outcome":
            raise ConfigError('reduction="outcome" is what an ORM has; a PRM needs one over steps, such as "min"')
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out={self.held_out} is not a share of the problems, at least 0 and below 1")
        if self.freeze and self.lora_rank:
            raise ConfigError(f"lora_rank={self.lora_rank} updates the backbone and freeze=True forbids it; choose one")
        if self.train_layers is not None and (self.freeze or self.lora_rank):
            trains = "freeze=True" if self.freeze else f"lora_rank={self.lora_rank}"
            raise ConfigError(f"train_layers={self.train_layers} and {trains} train other weights; choose one")
        _at_least("lora_rank", self.lora_rank, 0)
        whole_numbers = (
            ("max_length", self.max_length),
            ("problems", self.problems),
            ("train_layers", self.train_layers),
        )
        for name, value in whole_numbers:
            if value is not None:
                _at_least(name, value, 1)

    def _check_objective(self) -> None:
        if self.objective == "bradley-terry" and self.kind != "orm":
            raise ConfigError('objective="bradley-terry" compares whole solutions; it needs kind="orm"')
        if self.objective in ("pqm", "sibling-ranking", *IMPLICIT) and self.kind != "prm":
            raise ConfigError(f'objective="{self.objective}" makes a model of steps; it needs kind="prm"')
        if self.objective in IMPLICIT and (self.freeze or self.train_layers is not None):
            raise ConfigError(f'objective="{self.objective}" trains the whole language model, or LoRA updates to it')
        _at_least("gamma", self.gamma, 0)
        _at_least("zeta", self.zeta, 0)
        if not self.beta > 0:
            raise ConfigError(f"beta={self.beta} is not above 0")

    def _check_weights(self) -> None:
        unknown = sorted(set(self.balance) - set(BALANCES))
        if unknown:
            raise ConfigError(f"balance={unknown[0]!r} is none of {', '.join(BALANCES)}")
        if list(self.step_bins) != sorted(set(self.step_bins)) or any(end < 1 for end in self.step_bins):
            raise ConfigError(f"step_bins={self.step_bins} are not numbers of steps from 1 on, in rising order")
        if self.source_weights and len(self.source_weights) != len(self.data):
            raise ConfigError(
                f"{len(self.source_weights)} source_weights for {len(self.data)} sources; give one for each"
            )
        if any(not 0 < weight < float("inf") for weight in self.source_weights):
            raise ConfigError(f"source_weights={self.source_weights} are not all above 0")
        by_class = self.targets.positive_weight != 1 or "class" in self.balance
        if by_class and self.objective not in (*POINTWISE, "implicit-ce"):
            raise ConfigError(
                f'objective="{self.objective}" ranks: it takes no positive_weight and no balance by class'
            )
        if self.targets.positive_weight != 1 and "class" in self.balance:
            raise ConfigError("balance by class finds the positive_weight; set one of them")
        if self.targets.step_weight != "step" and (self.kind == "orm" or self.objective not in POINTWISE):
            raise ConfigError(
                f"step_weight={self.targets.step_weight} weighs the steps of a process model whose objective is one of "
                f"{', '.join(POINTWISE)}"
            )

    def _check_idle(self) -> None:
        """What would change nothing is refused: the checkpoint would say that it was asked for."""
        usual = {field.name: field.default for field in fields(self)}
        caches = self.freeze or self.train_layers is not None or self.objective in IMPLICIT
        for name, used, where in (
            ("gamma", self.objective == "focal", "objective='focal'"),
            ("zeta", self.objective == "pqm", "objective='pqm'"),
            ("beta", self.objective in IMPLICIT, f"objectives {' and '.join(IMPLICIT)}"),
            ("features", caches, "freeze, train_layers and the implicit objectives"),
        ):
            if not used and getattr(self, name) != usual[name]:
                raise ConfigError(f"{name}={getattr(self, name)!r} changes nothing here: it is for {where}")
        if self.targets.unread != "zero" and not self.learns_outcomes:
            raise ConfigError(f"unread={self.targets.unread!r} changes nothing here: it is for verdicts, not for steps")

    @property
    def step_reduction(self) -> Reduction:
        """The reduction, with the default for what is trained."""
        return self.reduction or ("last" if self.objective in IMPLICIT else "min")

    @property
    def learns_outcomes(self) -> bool:
        """Whether it learns from verdicts or preferences of whole solutions, and not from labelled steps."""
        return self.kind == "orm" or self.objective in IMPLICIT

    @property
    def lr(self) -> float:
        """The peak learning rate, with the default for what is trained."""
        if self.fit.lr is not None:
            return self.fit.lr
        return 1e-3 if self.freeze else 2e-4 if self.lora_rank else 2e-5


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name}={value} is below {least}")
