"""Skywork-o1-Open-PRM-Qwen-2.5-{1.5B,7B}: a value at the end of every line of the solution.

    ids = tok(BOS + question + line end) + for each line of the solution: tok(line) + [line end]

The question and its line end are one text, so that `?` and the line end may be one token; every line of the solution is
tokenised alone, and the token behind it is always the bare line end. There is no chat template. The published code reads
every line, empty ones too. Here a step is read at the line end that closes its last line (its trailing white space is
taken away first), so that a step of several lines has one score; the lines are written as they were published.

Head: `v_head.summary` = Linear(hidden, 1) beside a causal language model. The score is its sigmoid; solutions are judged
by their worst step. The tokenizer must be the one of the checkpoint: Qwen's own has no BOS, and the recipe needs one.

Source: SkyworkAI/skywork-o1-prm-inference, model_utils/io_utils.py (prepare_input) and prm_model.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradatim.core import Prefix
from gradatim.errors import CheckpointError, InputError
from gradatim.models.encoding import Encoder, Encoding, digest_of, named, too_long
from gradatim.models.formats import value_head
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.pqm import TAG
from gradatim.models.formats.rendering import Assembled, Assembler, Piece
from gradatim.models.formats.token_pair import ids_of
from gradatim.models.formats.weights import context
from gradatim.models.model import RewardModel

NAME = "skywork-prm"


class LineEncoder(Encoder):
    """Writes a solution line by line."""

    def __init__(self, tokenizer: Any, *, max_length: int | None) -> None:
        """CheckpointError for a tokenizer without BOS, or in which a line end is no token."""
        newline = ids_of(tokenizer, "\n")
        if tokenizer.bos_token is None or len(newline) != 1:
            raise CheckpointError(
                f"found BOS {tokenizer.bos_token!r} and {newline} for a line end, expected a BOS and one token; "
                "use the tokenizer saved with the reward model, not its backbone's"
            )
        self.tokenizer, self.max_length = tokenizer, max_length
        self._newline, self._assembler = newline[0], Assembler(tokenizer)
        self.digest = digest_of(tokenizer, {"format": NAME})

    def try_encode(self, prefixes: Sequence[Prefix]) -> list[Encoding | InputError]:
        """As `encode_many`, with an error in the place of what is too long or no text."""
        begin = Piece(self.tokenizer.bos_token, "control")
        questions = [[begin, Piece(f"{prompt}\n")] for prompt in dict.fromkeys(prefix.prompt for prefix in prefixes)]
        texts = dict.fromkeys(line for prefix in prefixes for step in prefix.steps for line in _lines(step.text))
        renderings = [*questions, *([Piece(text)] for text in texts)]
        tokens = dict(
            zip([pieces[-1].text for pieces in renderings], self._assembler.assemble_many(renderings), strict=True)
        )
        results: list[Encoding | InputError] = []
        for prefix in prefixes:
            try:
                results.append(self._encoding(prefix, tokens))
            except InputError as error:
                results.append(error)
        return results

    def _encoding(self, prefix: Prefix, tokens: dict[str, Assembled | InputError]) -> Encoding:
        ids = _sound(prefix, tokens[f"{prefix.prompt}\n"])
        reads: list[int | None] = []
        for step in prefix.steps:
            for line in _lines(step.text):
                ids += [*_sound(prefix, tokens[line]), self._newline]
            reads.append(None if step.kind == "observation" else len(ids) - 1)
        if self.max_length is not None and len(ids) > self.max_length:
            raise too_long(prefix, len(ids), self.max_length)
        return Encoding(tuple(ids), tuple(reads))


def _lines(step: str) -> list[str]:
    """A step's lines; an empty step is one empty line, so that it is scored like any other."""
    return step.rstrip().split("\n")


def _sound(prefix: Prefix, found: Assembled | InputError) -> list[int]:
    if isinstance(found, InputError):
        raise InputError(f"{named(prefix)} holds {found.found}", expected=found.expected, fix=found.fix)
    return list(found.ids)


def _match(facts: Facts) -> Match:
    found, missing = value_head.seen(facts)
    if TAG in facts.tokenizer.get_vocab():
        missing.append(f"found a token {TAG!r}, expected none: it is PQM's")
    if facts.tokenizer.bos_token is None:
        missing.append("found a tokenizer without BOS, expected one with it")
    return Match(not missing, tuple(found), tuple(missing))


def _load(facts: Facts, asked: Asked) -> RewardModel:
    return RewardModel(
        module=value_head.load_valued(facts, asked),
        encoder=LineEncoder(facts.tokenizer, max_length=context(facts)),
        kind="prm",
        name=f"{NAME} {facts.name}",
    )


SKYWORK_PRM = Format(name=NAME, match=_match, load=_load)
