"""A reward model that runs elsewhere: everything that reads it except its weights, and the card that says it on disk.

What a server answers are the numbers of a bias-free head; `offset` is what the model's own head adds to the log-odds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from gradatim import backbones, runs
from gradatim.core import REDUCTIONS, Reduction
from gradatim.errors import CheckpointError, ConfigError
from gradatim.models.activation import Activation
from gradatim.models.encoding import Encoder, EncoderSettings, StepEncoder
from gradatim.models.model import Kind, RewardModel

SCHEMA = 1
CARD = "gradatim-served.json"
_PLAIN = ("name", "checkpoint", "kind", "reduction", "threshold", "activation", "offset")
_FIELDS = {"schema", *_PLAIN, "encoder"}


@dataclass(frozen=True, kw_only=True)
class Served:
    """How a served model is written to and read: the fields of a `RewardModel` without its module."""

    name: str
    """What scores are signed with."""
    kind: Kind
    """"prm" or "orm"."""
    encoder: Encoder
    """Prefixes -> the tokens that the server is sent, and where they are read."""
    reduction: Reduction = "min"
    """How a PRM's step scores become one value; always "outcome" for an ORM."""
    threshold: float = 0.5
    """A step that scores below is called wrong."""
    activation: Activation = "sigmoid"
    """What turns a logit into a score."""
    offset: float = 0.0
    """Added to every logit: the difference of the head's biases, which the served weights leave out."""
    checkpoint: str = ""
    """The identity of the model that was converted, with which scores are signed beside its name; empty: not known."""

    def __post_init__(self) -> None:
        if (self.kind == "orm") != (self.reduction == "outcome"):
            raise ConfigError(
                f'reduction={self.reduction!r} does not fit kind={self.kind!r}: "outcome" is what an ORM has'
            )

    @classmethod
    def of(cls, model: RewardModel, *, offset: float = 0.0, checkpoint: str = "") -> Served:
        """The reading of a model whose weights a server holds too; `offset` as above."""
        return cls(
            name=model.name,
            kind=model.kind,
            encoder=model.encoder,
            reduction=model.reduction,
            threshold=model.threshold,
            activation=model.activation,
            offset=offset,
            checkpoint=checkpoint,
        )


def write(served: Served, folder: Path) -> None:
    """Write the card beside the weights and the tokenizer; ConfigError for a model that has a foreign encoder."""
    if not isinstance(served.encoder, StepEncoder):
        raise ConfigError(f"{served.name} is written in a foreign format, which the card of a served model can't tell")
    own = served.encoder
    card = {
        "schema": SCHEMA,
        **{name: getattr(served, name) for name in _PLAIN},
        "encoder": {**asdict(own.settings), "max_length": own.max_length, "digest": own.digest},
    }
    runs.atomic_write(folder / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def read(folder: str | Path) -> Served:
    """The reading of a folder that `gradatim convert --to vllm` wrote, without loading a weight.

    CheckpointError for a folder without the card, and for a tokenizer that does not encode as it did then.
    """
    path = Path(folder) / CARD
    card = _card(path)
    encoding = dict(card["encoder"])
    digest, length = encoding.pop("digest"), encoding.pop("max_length")
    encoder = StepEncoder(backbones.load_tokenizer(str(folder)), EncoderSettings(**encoding), max_length=length)
    if encoder.digest != digest:
        raise CheckpointError(
            f"{folder}: written for steps@{digest}, but its tokenizer and settings now encode steps@{encoder.digest}; "
            "convert the model again"
        )
    return Served(
        name=card["name"],
        kind=card["kind"],
        encoder=encoder,
        reduction=card["reduction"],
        threshold=float(card["threshold"]),
        activation=card["activation"],
        offset=float(card["offset"]),
        checkpoint=str(card["checkpoint"]),
    )


def _card(path: Path) -> dict[str, Any]:
    try:
        card: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent}: no {CARD} in it; expected a folder that `gradatim convert --to vllm` wrote of a model in our "
            "own form or TRL's. A model in another public format can't be scored through a server: leave out --server"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: no JSON ({error}); convert the model again") from None
    if not isinstance(card, dict) or set(card) != _FIELDS or card["schema"] != SCHEMA:
        raise CheckpointError(f"{path}: not the card of a served model, schema {SCHEMA}; convert the model again")
    if (
        card["kind"] not in get_args(Kind)
        or card["reduction"] not in REDUCTIONS
        or card["activation"] not in get_args(Activation)
        or set(card["encoder"]) != {"separator", "prompt_template", "bos", "digest", "max_length"}
    ):
        raise CheckpointError(f"{path}: kind, reduction, activation or encoder is not known; convert the model again")
    return card
