"""Qwen2.5-Math-PRM-7B and -72B, Qwen2.5-Math-7B-PRM800K ("qwen-prm"), and ReasonFlux-PRM-7B ("reasonflux-prm").

Rendered: the checkpoint's own chat template; user = the question, assistant = every step followed by the one token
`<extra_0>`, with nothing between. "qwen-prm" passes the system message of Qwen's card; "reasonflux-prm" passes none, so
that the template's default is written, if it has one.
Read: at each `<extra_0>`.
Head: `score.0` (h, h), ReLU, `score.2` (2, h), with biases, on the last hidden state; label 1 is a good step.
Score: softmax(logits)[1]. Solutions are ranked by the product of their steps' scores.
Weights: `Qwen2ForProcessRewardModel`: `model.*`, `score.0.*`, `score.2.*`; a `lm_head.weight` beside them is not used.
Told apart: by the template's default system message. One that is not Qwen2.5-Math's belongs to "reasonflux-prm".
Source: the cards Qwen/Qwen2.5-Math-PRM-7B and Gen-Verse/ReasonFlux-PRM-7B; arXiv:2501.07301 (the product).

`<extra_0>` must be one token: in the stock Qwen2.5 vocabulary it is five, and the card's snippet then reads at `<`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from gradatim.core import Prefix
from gradatim.errors import CheckpointError
from gradatim.models.formats.chat import Chat, chat_of
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.headed import MLP_KEYS, Headed, mlp, mlp_faults
from gradatim.models.formats.rendering import Assembler, Piece, PieceEncoder, control_id
from gradatim.models.formats.weights import UNUSED, context, load_body
from gradatim.models.model import RewardModel

ARCHITECTURE = "Qwen2ForProcessRewardModel"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
"""The system message of Qwen's cards, and the default of Qwen2.5-Math's chat template."""
TAG = "<extra_0>"
LABELS = 2


def _match(facts: Facts, *, reasonflux: bool) -> Match:
    found = [f"architecture {ARCHITECTURE}"] if facts.architecture == ARCHITECTURE else []
    faults = mlp_faults(facts, LABELS)
    if not faults:
        found.append("a two-layer head with two labels")
    if not found:
        return Match(fits=False)
    if facts.architecture != ARCHITECTURE:
        faults.append(f"found architecture {facts.architecture!r}, expected {ARCHITECTURE}")
    try:
        control_id(facts.tokenizer, TAG)
        if _inserts_another(facts) != reasonflux:
            faults.append(
                "found a chat template without a default system message of its own, expected one"
                if reasonflux
                else "found a chat template with another default system message, expected that of Qwen2.5-Math or none"
            )
    except CheckpointError as error:
        faults.append(str(error))
    return Match(fits=not faults, found=tuple(found), missing=tuple(faults))


def _inserts_another(facts: Facts) -> bool:
    """Whether the template, given no system message, writes one that is not Qwen's."""
    bare, passed = _chat(facts, None), _chat(facts, SYSTEM)
    return bare != passed and not passed.parts[0].endswith(bare.parts[0])


def _chat(facts: Facts, system: str | None) -> Chat:
    before: list[tuple[str, str | None]] = [] if system is None else [("system", system)]
    return chat_of(facts, [*before, ("user", None), ("assistant", None)])


def _load(facts: Facts, asked: Asked, *, name: str, system: str | None) -> RewardModel:
    assembler = Assembler(facts.tokenizer, [TAG])
    chat = _chat(facts, system)
    head = mlp(facts, LABELS)
    body = load_body(facts, asked, beside=[*MLP_KEYS, *UNUSED])
    encoder = PieceEncoder(
        assembler,
        facts.tokenizer,
        _renderer(assembler, chat),
        settings={"format": name, "chat": chat.plain(), "tag": TAG},
        max_length=context(facts),
    )
    return RewardModel(
        module=Headed(body, head),
        encoder=encoder,
        kind="prm",
        name=f"{name} {facts.name}",
        reduction="prod",
    )


def _renderer(assembler: Assembler, chat: Chat) -> Callable[[Prefix], Sequence[Piece]]:
    before, between, after = map(assembler.trusted, chat.parts)
    ask, answer = chat.trims

    def render(prefix: Prefix) -> Sequence[Piece]:
        chat.check(prefix, prefix.prompt, prefix.text)
        steps = list[Piece]()
        for number, step in enumerate(prefix.steps):
            text = step.text.rstrip()
            # The tag after the last step keeps a template from trimming anything but the first step's beginning.
            text = answer.begin(text) if number == 0 else text
            read = None if step.kind == "observation" else number
            steps += [Piece(text), Piece(TAG, "control", read)]
        return [*before, Piece(ask(prefix.prompt)), *between, *steps, *after]

    return render


QWEN_PRM = Format(
    name="qwen-prm",
    match=partial(_match, reasonflux=False),
    load=partial(_load, name="qwen-prm", system=SYSTEM),
)
"""Qwen's own: its card passes the system message."""

REASONFLUX_PRM = Format(
    name="reasonflux-prm",
    match=partial(_match, reasonflux=True),
    load=partial(_load, name="reasonflux-prm", system=None),
)
"""ReasonFlux: no system message is passed, the template decides."""
