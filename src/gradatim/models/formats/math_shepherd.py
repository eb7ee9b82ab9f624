"""Math-Shepherd and its kin: a tag in the running text closes each step, and is where "+" or "-" is expected.

    math-shepherd  {question} Step 1: {step} ки\\nStep 2: {step} ки                   the tag is ` ки`
    math-psa       {question} {step} \\n\\n\\n\\n\\n {step} \\n\\n\\n\\n\\n               the tag is ` \\n\\n\\n\\n\\n`
    er-prm         {question} {step} ки{step} ки                                     the tag is ` ки`

Behind a tag stands a line end in math-shepherd, but not behind the last; a space in math-psa, behind the last too; in
er-prm nothing. There is no chat template; what the tokenizer puts at the beginning of a text (BOS in Mistral's and
Llama's, nothing in Qwen's) is put there. A step's trailing white space goes; math-psa strips both ends. Math-Shepherd
writes "Step k: " in front of a step that does not begin so. Steps are read AT the tag, the space in front of it included,
as softmax over the logits of ` +` and ` -`: the probability of ` +`. Solutions are judged by their worst step.

The tag is found by where it was written. Where the text around it would take it apart (a step that begins with Cyrillic
letters behind ER-PRM's tag, say), the published code finds none and loses the step; here the texts between the tags are
then tokenised apart, so that the tag is the token that was trained.

Sources: model card of peiyi9979/math-shepherd-mistral-7b-prm; openreasoner/openr, prm/infer_fns.py and evaluate.py (psa,
published as a LoRA adapter: merge it into its backbone first); RLHFlow ER-PRM's card, whose own sample looks for `ки`
without the space and finds nothing, so the tag is ` ки` as in COTTS' rm_call.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from gradatim.core import Prefix
from gradatim.errors import CheckpointError, InputError
from gradatim.models.formats import token_pair
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.rendering import Assembled, Assembler, Piece, PieceEncoder
from gradatim.models.formats.weights import context
from gradatim.models.model import RewardModel

GOOD, BAD = " +", " -"
_LABEL = re.compile(r"\s*Step \d+:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """How one of these formats writes steps."""

    format: str
    """Its name."""
    tag: str
    """Closes a step; one token."""
    after: str
    """Stands between a tag and the next step."""
    end: str = ""
    """Stands behind the last tag."""
    labels: bool = False
    """Write "Step k: " in front of a step that has no such label."""
    strip: bool = False
    """Take white space from the front of a step, too."""

    def render(self, prefix: Prefix) -> list[Piece]:
        """Question, steps and tags; every step, observations too, is read at its tag."""
        pieces, before = [Piece(prefix.prompt)], " "
        for number, step in enumerate(prefix.steps):
            pieces += [Piece((before + self._text(number, step.text)).rstrip(" ")), Piece(self.tag, step=number)]
            before = self.after
        return [*pieces, Piece(self.end)] if prefix.steps else pieces

    def _text(self, number: int, text: str) -> str:
        text = text.strip() if self.strip else text.rstrip()
        return f"Step {number + 1}: {text}" if self.labels and not _LABEL.match(text) else text


class TagAssembler(Assembler):
    """Tokenises tagged text as one string, or around the tags where that would take one apart; begins as asked."""

    def __init__(self, tokenizer: Any, tag: int, begin: Sequence[int]) -> None:
        """`tag` is the token that a piece with a step must be, `begin` what comes first."""
        super().__init__(tokenizer)
        self._tag, self._begin = tag, tuple(begin)

    def assemble_many(self, renderings: Sequence[Sequence[Piece]]) -> list[Assembled | InputError]:
        """As `Assembler.assemble_many`, with every tag kept whole."""
        found = super().assemble_many(renderings)
        return [self._whole(pieces, result) for pieces, result in zip(renderings, found, strict=True)]

    def _whole(self, pieces: Sequence[Piece], found: Assembled | InputError) -> Assembled | InputError:
        if isinstance(found, InputError):
            return found
        spans = [span for piece, span in zip(pieces, found.spans, strict=True) if piece.step is not None]
        if any(found.ids[first:after] != (self._tag,) for first, after in spans):
            return self._apart(pieces)
        return self._begun(found.ids, found.spans)

    def _apart(self, pieces: Sequence[Piece]) -> Assembled | InputError:
        """The texts between tags tokenised on their own, and the tag's token between them."""
        cuts = [-1, *(index for index, piece in enumerate(pieces) if piece.step is not None), len(pieces)]
        ids, spans = list[int](), list[tuple[int, int]]()
        for run in super().assemble_many([pieces[start + 1 : end] for start, end in pairwise(cuts)]):
            if isinstance(run, InputError):
                return run
            spans += [(first + len(ids), after + len(ids)) for first, after in run.spans]
            ids += run.ids
            if len(spans) < len(pieces):
                spans.append((len(ids), len(ids) + 1))
                ids.append(self._tag)
        return self._begun(tuple(ids), tuple(spans))

    def _begun(self, ids: tuple[int, ...], spans: tuple[tuple[int, int], ...]) -> Assembled:
        shift = len(self._begin)
        return Assembled((*self._begin, *ids), tuple((first + shift, after + shift) for first, after in spans))


def _load(facts: Facts, asked: Asked, tags: Tags) -> RewardModel:
    tokenizer = facts.tokenizer
    tag, good, bad = (token_pair.one_token(tokenizer, text) for text in (tags.tag, GOOD, BAD))
    return RewardModel(
        module=token_pair.load_judge(facts, asked, good=good, bad=bad),
        encoder=PieceEncoder(
            TagAssembler(tokenizer, tag, _begin(tokenizer)),
            tokenizer,
            tags.render,
            settings=asdict(tags),
            max_length=context(facts),
        ),
        kind="prm",
        name=f"{tags.format} {facts.name}",
    )


def _begin(tokenizer: Any) -> list[int]:
    """What the tokenizer puts at the beginning of a text."""
    begin = list(tokenizer("", verbose=False)["input_ids"])
    if begin not in ([], [tokenizer.bos_token_id]):
        raise CheckpointError(
            f"the tokenizer adds the tokens {begin} to a text, expected its BOS or none; "
            "use the tokenizer saved with the reward model"
        )
    return begin


def _format(tags: Tags) -> Format:
    def match(facts: Facts) -> Match:
        return token_pair.fits(facts, (tags.tag, GOOD, BAD))

    return Format(name=tags.format, match=match, load=lambda facts, asked: _load(facts, asked, tags))


MATH_SHEPHERD = _format(Tags(format="math-shepherd", tag=" ки", after="\n", labels=True))
MATH_PSA = _format(Tags(format="math-psa", tag=" \n\n\n\n\n", after=" ", end=" ", strip=True))
ER_PRM = _format(Tags(format="er-prm", tag=" ки", after=""))
