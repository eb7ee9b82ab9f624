"""A reward model: a stock Hugging Face classifier, the encoder that feeds it, and how its logits are to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from gradatim import backbones
from gradatim.core import Reduction
from gradatim.errors import ConfigError
from gradatim.models.activation import Activation
from gradatim.models.context import context_of
from gradatim.models.encoding import Encoder, EncoderSettings, Encoding, StepEncoder
from gradatim.models.forward import body_of, forward_blocks, head_of
from gradatim.trees import Block

Kind = Literal["prm", "orm"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Where a reward model comes from; saved beside its weights."""

    backbone: str = ""
    """The language model that it grew from."""
    labels: Mapping[str, Any] = field(default_factory=dict)
    """How labels became targets: the fields of the target configuration, and who labelled."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Digest of each file that it was trained on."""
    weighting: str = ""
    """What counts once in the loss: "prefix" (each distinct labelled prefix) or "trajectory" (each solution)."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Anything else worth telling: the numbers it reached, the command that made it."""


class Readable(Protocol):
    """What the engine runs: tokens in trees -> a value at each requested token -> a logit a scored step.

    `RewardModel` is one, and what `gradatim.models.formats` loads.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def reduction(self) -> Reduction: ...

    @property
    def threshold(self) -> float: ...

    @property
    def activation(self) -> Activation: ...

    @property
    def encoder(self) -> Encoder: ...

    @property
    def module(self) -> nn.Module:
        """Holds the transformer that `gradatim.models.forward.body_of` finds."""
        ...

    @property
    def device(self) -> torch.device: ...

    def reads(self, encoding: Encoding) -> tuple[int, ...]:
        """The tokens (indices into `encoding.ids`, ascending) whose values are needed; none if nothing is scored."""
        ...

    def logits(self, blocks: Sequence[Block], nodes: Sequence[Sequence[int]]) -> torch.Tensor:
        """(sum of len(nodes),): the value at each requested node of each block, in the order asked for."""
        ...

    def step_logits(self, encoding: Encoding, values: Sequence[float]) -> tuple[float, ...]:
        """The values at `reads(encoding)` -> one logit a scored step of a PRM, or the one logit of an ORM."""
        ...


@dataclass(frozen=True, kw_only=True)
class RewardModel:
    """A PRM (`*ForTokenClassification`) has a logit a step, z1 - z0; an ORM (`*ForSequenceClassification`) a solution.

    The ORM is read at the last token of the encoding (a separator, in our own); models of preference pairs
    (Bradley-Terry) are ORMs too. To turn logits into scores wrap it in `gradatim.score.engine.ModelScorer`.
    """

    module: nn.Module
    """The stock classification model, head included."""
    encoder: Encoder
    """Prefixes -> tokens."""
    kind: Kind
    """"prm" or "orm"."""
    name: str
    """What scores are signed with."""
    reduction: Reduction = "min"
    """How a PRM's step scores become one value; always "outcome" for an ORM."""
    threshold: float = 0.5
    """A step that scores below is called wrong."""
    activation: Activation = "sigmoid"
    """What turns a logit into a score."""
    recipe: Recipe = field(default_factory=Recipe)
    """How it was made."""

    def __post_init__(self) -> None:
        if (self.kind == "orm") != (self.reduction == "outcome"):
            raise ConfigError(
                f'reduction={self.reduction!r} does not fit kind={self.kind!r}: "outcome" is what an ORM has'
            )

    @classmethod
    def create(
        cls,
        backbone: str | Path,
        *,
        kind: Kind,
        name: str = "",
        settings: EncoderSettings | None = None,
        reduction: Reduction = "min",
        seed: int = 0,
        dtype: str = "float32",
        device: str = "auto",
    ) -> RewardModel:
        """A fresh head on a language model: a hub name, a folder, or a name that `gradatim.backbones` knows."""
        loaded, tokenizer = backbones.load_policy_backbone(str(backbone), dtype=dtype, device=device)
        return cls.grow(
            loaded, tokenizer, kind=kind, name=name or f"{kind} on {backbone}", settings=settings, reduction=reduction,
            seed=seed, recipe=Recipe(backbone=str(backbone)),
        )  # fmt: skip

    @classmethod
    def grow(
        cls,
        causal: nn.Module,
        tokenizer: Any,
        *,
        kind: Kind,
        name: str,
        settings: EncoderSettings | None = None,
        reduction: Reduction = "min",
        seed: int = 0,
        recipe: Recipe | None = None,
    ) -> RewardModel:
        """A fresh head on a causal model's body. The body is taken over, not copied: don't use `causal` afterwards.

        The head is drawn from N(0, 0.01 / hidden size): a new model starts close to 0.5 everywhere.
        """
        encoder = StepEncoder(tokenizer, settings, max_length=context_of(causal.config))
        module = _classifier(causal, kind, _pad_token(tokenizer, encoder), seed)
        return cls(
            module=module,
            encoder=encoder,
            kind=kind,
            name=name,
            reduction=reduction if kind == "prm" else "outcome",
            recipe=recipe or Recipe(),
        )

    @property
    def own_encoder(self) -> StepEncoder:
        """Our own encoder, for what trains or saves; ConfigError for a model that reads tokens in a foreign way."""
        if not isinstance(self.encoder, StepEncoder):
            raise ConfigError(
                f"{self.name} is written in a foreign format: it can be scored with, not trained or saved"
            )
        return self.encoder

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.module.parameters()).device

    def reads(self, encoding: Encoding) -> tuple[int, ...]:
        """The tokens at which it is read: each scored step's for a PRM, the last for an ORM; none without any step."""
        if self.kind == "prm":
            return tuple(read for read in encoding.reads if read is not None)
        return (encoding.last,) if encoding.reads else ()

    def logits(self, blocks: Sequence[Block], nodes: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits at the requested nodes of each block; see `gradatim.models.forward.forward_blocks`."""
        return forward_blocks(self.module, blocks, nodes)

    def step_logits(self, encoding: Encoding, values: Sequence[float]) -> tuple[float, ...]:
        """The values themselves: every read is a step's logit."""
        return tuple(values)


def _pad_token(tokenizer: Any, encoder: StepEncoder) -> int:
    """A padding token that never ends an encoding: stock classes read the last token that is not padding."""
    for name in ("pad_token", "eos_token", "unk_token", "bos_token"):
        token = getattr(tokenizer, f"{name}_id")
        if token is not None and token != encoder.separator_id:
            tokenizer.pad_token = getattr(tokenizer, name)
            return int(token)
    raise ConfigError(
        "the tokenizer has no pad, eos, unk or bos token beside the separator; add a padding token to it, "
        "or a stock classifier would take the last separator for padding"
    )


def _classifier(causal: nn.Module, kind: Kind, pad: int, seed: int) -> nn.Module:
    """The stock classification model around a causal model's body."""
    body, config = body_of(causal), _config(causal, kind, pad)
    auto = AutoModelForTokenClassification if kind == "prm" else AutoModelForSequenceClassification
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            module: nn.Module = auto.from_config(config)
    except ValueError as error:
        raise ConfigError(f"transformers has no {auto.__name__} for {type(causal).__name__}") from error
    if type(body_of(module)) is not type(body):
        raise ConfigError(
            f"{type(module).__name__} has another body than {type(causal).__name__}; it can't be taken over"
        )
    setattr(module, str(module.base_model_prefix), body)
    head = head_of(module)
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"the head of {type(module).__name__} is a {type(head).__name__}, expected a linear layer")
    weight = next(body.parameters())
    head.to_empty(device=weight.device).to(weight.dtype)
    draws = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        head.weight.copy_(draws * (0.1 / math.sqrt(head.in_features)))
        if head.bias is not None:
            head.bias.zero_()
    return module.eval()


def _config(causal: nn.Module, kind: Kind, pad: int) -> Any:
    """The causal model's own configuration, changed in place: its layers hold on to it."""
    config: Any = causal.config
    config.pad_token_id = pad
    config.classifier_dropout = 0.0
    if kind == "prm":
        config.id2label, config.label2id = {0: "LABEL_0", 1: "LABEL_1"}, {"LABEL_0": 0, "LABEL_1": 1}
    else:
        config.id2label, config.label2id = {0: "LABEL_0"}, {"LABEL_0": 0}
    return config
