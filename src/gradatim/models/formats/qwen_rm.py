"""Qwen2.5-Math-RM-72B ("qwen-rm"): one number for a whole answer.

Rendered: the checkpoint's own chat template; system = the message of the card, user = the question, assistant = the
answer without white space at its end; no generation prompt.
Read: at the last token, which is the line end that the template writes AFTER `<|im_end|>`.
Head: `score.0` (h, h), ReLU, `score.2` (1, h), with biases.
Score: the raw number; it ranks answers to one question and is no probability.
Weights: `Qwen2ForRewardModel`: `model.*`, `score.0.*`, `score.2.*`; a `lm_head.weight` beside them is not used.
Source: the card Qwen/Qwen2.5-Math-RM-72B.
"""

from __future__ import annotations

from gradatim.errors import CheckpointError
from gradatim.models.formats.chat import chat_of, whole_answer
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.headed import MLP_KEYS, Headed, mlp, mlp_faults
from gradatim.models.formats.qwen_prm import SYSTEM
from gradatim.models.formats.rendering import Assembler, PieceEncoder
from gradatim.models.formats.weights import UNUSED, context, load_body
from gradatim.models.model import RewardModel

ARCHITECTURE = "Qwen2ForRewardModel"
LABELS = 1
_ROLES = (("system", SYSTEM), ("user", None), ("assistant", None))


def _match(facts: Facts) -> Match:
    found = [f"architecture {ARCHITECTURE}"] if facts.architecture == ARCHITECTURE else []
    faults = mlp_faults(facts, LABELS)
    if not faults:
        found.append("a two-layer head with one output")
    if not found:
        return Match(fits=False)
    if facts.architecture != ARCHITECTURE:
        faults.append(f"found architecture {facts.architecture!r}, expected {ARCHITECTURE}")
    try:
        chat_of(facts, _ROLES)
    except CheckpointError as error:
        faults.append(str(error))
    return Match(fits=not faults, found=tuple(found), missing=tuple(faults))


def _load(facts: Facts, asked: Asked) -> RewardModel:
    assembler, chat = Assembler(facts.tokenizer), chat_of(facts, _ROLES)
    head = mlp(facts, LABELS)
    encoder = PieceEncoder(
        assembler,
        facts.tokenizer,
        whole_answer(assembler, chat),
        settings={"format": "qwen-rm", "chat": chat.plain()},
        max_length=context(facts),
    )
    return RewardModel(
        module=Headed(load_body(facts, asked, beside=[*MLP_KEYS, *UNUSED]), head),
        encoder=encoder,
        kind="orm",
        name=f"qwen-rm {facts.name}",
        reduction="outcome",
        activation="none",
    )


QWEN_RM = Format(name="qwen-rm", match=_match, load=_load)
"""A whole answer's raw number."""
