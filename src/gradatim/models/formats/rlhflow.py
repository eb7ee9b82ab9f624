"""RLHFlow's Llama3.1-8B-PRM-{Mistral,Deepseek}-Data and their ORMs: a conversation in which "+" answers what is right.

Written by the checkpoint's own chat template (with the date header, where it has one):

    rlhflow      user: {question} {step 1}, assistant: +, user: {step 2}, assistant: +, ...
    rlhflow-orm  user: {question} {solution}, assistant:

Steps are stripped, and every past step is answered with "+", whatever its score. A step is read one token BEFORE its
"+" (the line ends of the assistant's header), where the "+" is expected, as softmax over the logits of "+" and "-": the
probability of "+". The published scripts ask step by step; with causal attention one pass gives the same. Steps are
averaged. The ORM reads the same at the end of the whole solution.

The two PRMs differ in the data that they saw (steps ending in `ки` and a line end, or in a blank line), not in form.

Source: RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py and orm_evaluate.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.core import Prefix
from gradatim.errors import CheckpointError
from gradatim.models.formats import token_pair
from gradatim.models.formats.chat import Chat, chat_of
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.rendering import Assembler, Piece, PieceEncoder
from gradatim.models.formats.weights import context
from gradatim.models.model import Kind, RewardModel

GOOD, BAD = "+", "-"


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The template's words around the turns, and what reads and writes them in pieces."""

    chat: Chat
    """Of three exchanges, which are enough to see that the words between turns repeat."""
    assembler: Assembler
    """Knows the template's control tokens."""

    def steps(self, prefix: Prefix) -> list[Piece]:
        """An exchange a step. Each is read at the end of the assistant's header, in front of the answer."""
        self.chat.check(prefix, f"{prefix.prompt} {prefix.text}")
        before, header, between = self.chat.parts[:3]
        pieces = self.assembler.trusted(before) if prefix.steps else []
        for number, step in enumerate(prefix.steps):
            text = f"{prefix.prompt} {step.text.strip()}" if number == 0 else step.text.strip()
            pieces.append(Piece(self.chat.trims[0](text)))
            pieces += self.assembler.trusted(header, number)
            end = self.chat.parts[-1] if number == len(prefix.steps) - 1 else between
            pieces += [Piece(GOOD), *self.assembler.trusted(end)]
        return pieces or self.question(prefix)

    def question(self, prefix: Prefix) -> list[Piece]:
        """One turn with question and solution, up to where the answer is expected."""
        self.chat.check(prefix, f"{prefix.prompt} {prefix.text}")
        before, header = self.chat.parts[:2]
        text = self.chat.trims[0](f"{prefix.prompt} {prefix.text.strip()}")
        return [*self.assembler.trusted(before), Piece(text), *self.assembler.trusted(header)]


def _dialogue(facts: Facts) -> Dialogue:
    """The checkpoint's way to write exchanges; CheckpointError if they do not follow each other alike."""
    turns: list[tuple[str, str | None]] = [("user", None), ("assistant", None)]
    chat, short = chat_of(facts, turns * 3), chat_of(facts, turns)
    before, header, between, *rest = chat.parts
    if rest[:3] != [header, between, header] or short.parts != (before, header, rest[-1]):
        raise CheckpointError(
            f"{facts.folder}: found a chat template that writes turns differently, the later the other, expected one that "
            "writes all alike; put back the tokenizer files that were published with the checkpoint"
        )
    return Dialogue(chat, Assembler(facts.tokenizer))


def _answers(dialogue: Dialogue, facts: Facts) -> tuple[int, int]:
    """The tokens of "+" and "-" behind the assistant's header; CheckpointError if either merges with it."""
    header = dialogue.assembler.trusted(dialogue.chat.parts[1])
    alone = dialogue.assembler.assemble(header).ids
    found = [dialogue.assembler.assemble([*header, Piece(answer)]).ids for answer in (GOOD, BAD)]
    if any(len(ids) != len(alone) + 1 or ids[:-1] != alone for ids in found):
        raise CheckpointError(
            f"{facts.folder}: the tokenizer merges {GOOD!r} or {BAD!r} with the header in front, or has no such token; "
            "expected one token each; use the tokenizer saved with the reward model"
        )
    return found[0][-1], found[1][-1]


def _load(facts: Facts, asked: Asked, name: str, kind: Kind) -> RewardModel:
    dialogue = _dialogue(facts)
    good, bad = _answers(dialogue, facts)
    return RewardModel(
        module=token_pair.load_judge(facts, asked, good=good, bad=bad),
        encoder=PieceEncoder(
            dialogue.assembler,
            facts.tokenizer,
            dialogue.steps if kind == "prm" else dialogue.question,
            settings={"format": name, "chat": dialogue.chat.plain()},
            max_length=context(facts),
        ),
        kind=kind,
        name=f"{name} {facts.name}",
        reduction="mean" if kind == "prm" else "outcome",
    )


def _format(name: str, kind: Kind) -> Format:
    def match(facts: Facts) -> Match:
        return token_pair.fits(facts, (GOOD, BAD), chat=True)

    return Format(name=name, match=match, load=lambda facts, asked: _load(facts, asked, name, kind))


RLHFLOW = _format("rlhflow", "prm")
RLHFLOW_ORM = _format("rlhflow-orm", "orm")
