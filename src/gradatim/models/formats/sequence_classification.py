"""Bradley-Terry and outcome models as stock sequence classifiers ("sequence-classification"): Skywork-Reward and kin.

Rendered: the checkpoint's own chat template; user = the question, assistant = the answer without white space at its
end; no system message is passed, no generation prompt. The template alone writes the beginning-of-sequence token, once.
Read: at the last token that is not `pad_token_id` of the configuration, as the stock classes do.
Head: `score`, linear (1, h), with or without bias.
Score: the raw number (a Bradley-Terry model's scores rank answers to one question and are no probabilities); with
`activation="sigmoid"` a probability, for outcome models that were trained with cross-entropy.
Weights: any causal `*ForSequenceClassification` of transformers with one label.
Source: the cards Skywork/Skywork-Reward-*, TRL's RewardTrainer, transformers' GenericForSequenceClassification.
"""

from __future__ import annotations

from transformers import AutoModelForSequenceClassification

from gradatim.errors import CheckpointError, ConfigError
from gradatim.models.activation import Activation
from gradatim.models.formats.chat import chat_of, whole_answer
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.rendering import Assembler, PieceEncoder
from gradatim.models.formats.weights import check_causal, context, load_body
from gradatim.models.model import RewardModel

NAME = "sequence-classification"
HEAD = "score.weight"
_ROLES = (("user", None), ("assistant", None))
_ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid")


def _match(facts: Facts) -> Match:
    if not facts.architecture.endswith("ForSequenceClassification"):
        return Match(fits=False)
    faults = []
    shape = facts.shapes.get(HEAD)
    if shape is None or shape[0] != 1:
        faults.append(f"found {'no' if shape is None else shape} {HEAD}, expected one of shape (1, hidden size)")
    try:
        chat_of(facts, _ROLES)
    except CheckpointError as error:
        faults.append(str(error))
    return Match(fits=not faults, found=(f"architecture {facts.architecture}",), missing=tuple(faults))


def _load(facts: Facts, asked: Asked) -> RewardModel:
    activation = asked.options.get("activation", "none")
    if activation not in _ACTIVATIONS:
        raise ConfigError(f"activation={activation!r}; expected one of {', '.join(_ACTIVATIONS)}")
    assembler, chat = Assembler(facts.tokenizer), chat_of(facts, _ROLES)
    faults = _match(facts).missing
    if faults:
        raise CheckpointError(f"{facts.folder}: {'; '.join(faults)}")
    module = load_body(facts, asked, auto=AutoModelForSequenceClassification)
    check_causal(facts, module)
    encoder = PieceEncoder(
        assembler,
        facts.tokenizer,
        whole_answer(assembler, chat),
        settings={"format": NAME, "chat": chat.plain()},
        max_length=context(facts),
        padding=facts.config.get("pad_token_id"),
    )
    return RewardModel(
        module=module,
        encoder=encoder,
        kind="orm",
        name=f"{NAME} {facts.name}",
        reduction="outcome",
        activation=activation,
    )


SEQUENCE_CLASSIFICATION = Format(
    name=NAME,
    options={"activation": '"none": the raw number (the default), or "sigmoid": a probability'},
    match=_match,
    load=_load,
)
"""A stock sequence classifier with one label."""
