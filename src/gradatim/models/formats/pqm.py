"""PQM, process Q-value models: a value at the special token [PRM] behind each step.

    Below is an instruction that describes a task.
    Write a response that appropriately completes the request.

    ### Instruction:
    {question}

    ### Response: Let's think step by step
    Step 1: {step} [PRM]
    Step 2: {step} [PRM]

without BOS. Steps are stripped and numbered anew: a label "Step k:" in front of one gives way. This is the template of the
published evaluation; the training script has another ("[INST] {question} [/INST]").

[PRM] is a token added to the backbone's tokenizer, whose embeddings were resized for it: the folder needs the tokenizer
with it. Head: `v_head.summary` = Linear(hidden, 1), read at [PRM]. The score is the value itself, unbounded: it ranks
steps, and no probability is claimed, so that 0 is the threshold. Solutions are judged by their worst step. Tensors of the
backbone may be named `pretrained_model.*`, as the wrapper of the training script names them.

Source: WindyLee0822/Process_Q_Model, bon_eval_hf.py, train_main.py and value_model.py.
"""

from __future__ import annotations

import re

from gradatim.core import Prefix
from gradatim.models.formats import value_head
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.rendering import Assembler, Piece, PieceEncoder
from gradatim.models.formats.weights import context
from gradatim.models.model import RewardModel

NAME = "pqm"
TAG = "[PRM]"
TEMPLATE = (
    "Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.\n\n"
    "### Instruction:\n{question}\n\n### Response: Let's think step by step"
)
_BEFORE, _AFTER = TEMPLATE.split("{question}")
_LABEL = re.compile(r"Step \d+:")


def render(prefix: Prefix) -> list[Piece]:
    """The evaluation template's words, the steps and their tags."""
    pieces = [Piece(f"{_BEFORE}{prefix.prompt}{_AFTER}")]
    for number, step in enumerate(prefix.steps):
        text = _LABEL.sub("", step.text.lstrip(), count=1) if _LABEL.match(step.text.lstrip()) else step.text
        pieces += [Piece(f"\nStep {number + 1}: {text.strip()} "), Piece(TAG, "control", number)]
    return pieces


def _match(facts: Facts) -> Match:
    found, missing = value_head.seen(facts)
    if TAG in facts.tokenizer.get_vocab():
        found.append(f"a token {TAG!r}")
    else:
        missing.append(f"found a tokenizer without {TAG!r}, expected it: add it as a special token, last, and save it")
    return Match(not missing, tuple(found), tuple(missing))


def _load(facts: Facts, asked: Asked) -> RewardModel:
    assembler = Assembler(facts.tokenizer, [TAG])
    return RewardModel(
        module=value_head.load_valued(facts, asked, wrapper="pretrained_model."),
        encoder=PieceEncoder(
            assembler,
            facts.tokenizer,
            render,
            settings={"format": NAME, "template": TEMPLATE},
            max_length=context(facts),
        ),
        kind="prm",
        name=f"{NAME} {facts.name}",
        threshold=0.0,
        activation="none",
    )


PQM = Format(name=NAME, match=_match, load=_load)
