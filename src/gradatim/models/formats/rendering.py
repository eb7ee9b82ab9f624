"""What a public format writes -> token ids and read positions, with no text able to pose as part of the template.

A prefix is rendered as pieces. Control pieces are single tokens that the format itself wrote; all else is text: words
of the template, questions, steps. The whole rendering is tokenised as one string, as the published code does, so that
neighbouring texts merge and a control token strips and splits around itself as it did there. But in the tokenizer
that is used here the control tokens bear secret names, so that a `<|im_end|>` or a step tag inside a question is text.
Read positions follow from the pieces' places in the string; no id is ever searched for.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer

from gradatim.core import Prefix
from gradatim.errors import CheckpointError, InputError
from gradatim.models.encoding import Encoder, Encoding, digest_of, is_unicode, named, too_long


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a rendering."""

    text: str
    """The text, or the name of a control token such as "<|im_end|>"."""
    kind: Literal["text", "control"] = "text"
    """"control": one token that the format wrote; "text": everything else, trusted or not."""
    step: int | None = None
    """The step that is read at this piece's last token; None for most pieces."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """Pieces in tokens."""

    ids: tuple[int, ...]
    """All tokens."""
    spans: tuple[tuple[int, int], ...]
    """For each piece the tokens [first, after) that hold any of its characters; neighbours may share a token."""


class Assembler:
    """Tokenises pieces with a transformers tokenizer; `controls` are tokens that count as control tokens although the
    tokenizer does not call them special (those that it calls special always do)."""

    def __init__(self, tokenizer: Any, controls: Iterable[str] = ()) -> None:
        """CheckpointError for a tokenizer that says nothing of offsets, or in which a control is not one token."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise CheckpointError(
                f"found a {type(tokenizer).__name__}, expected a tokenizer with a tokenizer.json: read positions need "
                "character offsets; convert it with the `tokenizers` library"
            )
        whole = json.loads(backend.to_str())
        special = {token["content"] for token in whole["added_tokens"] if token["special"]}
        self._ids = {name: control_id(tokenizer, name) for name in [*special, *controls]}
        """Control token -> id."""
        self._unknown: int | None = tokenizer.unk_token_id
        self._secret = {name: secrets.token_hex(16) for name in self._ids}
        self._twin = _twin(whole, self._secret)
        self._true = self._true_ids(backend)
        names = sorted(self._ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def trusted(self, text: str, step: int | None = None) -> list[Piece]:
        """A template's own text as pieces: control tokens in it are ones; `step` is read at the last piece."""
        pieces, place = list[Piece](), 0
        for found in self._pattern.finditer(text):
            pieces += [Piece(text[place : found.start()]), Piece(found.group(), "control")]
            place = found.end()
        pieces = [piece for piece in [*pieces, Piece(text[place:])] if piece.text]
        if step is not None and pieces:
            pieces[-1] = Piece(pieces[-1].text, pieces[-1].kind, step)
        return pieces

    def assemble(self, pieces: Sequence[Piece]) -> Assembled:
        """Tokens of one rendering; InputError if a text can't be written without a control token."""
        found = self.assemble_many([pieces])[0]
        if isinstance(found, InputError):
            raise found
        return found

    def assemble_many(self, renderings: Sequence[Sequence[Piece]]) -> list[Assembled | InputError]:
        """As `assemble`, of many, with an error in the place of what can't be written."""
        texts = ["".join(map(self._written, pieces)) for pieces in renderings]
        sound = [is_unicode(text) for text in texts]
        encoded = self._twin.encode_batch([text if ok else "" for text, ok in zip(texts, sound, strict=True)], False)
        results: list[Assembled | InputError] = []
        for pieces, ok, encoding in zip(renderings, sound, encoded, strict=True):
            try:
                if not ok:
                    raise InputError("half of a surrogate pair", expected="Unicode text", fix="repair the text")
                results.append(self._read(pieces, encoding))
            except InputError as error:
                results.append(error)
        return results

    def _written(self, piece: Piece) -> str:
        return piece.text if piece.kind == "text" else self._secret[piece.text]

    def _read(self, pieces: Sequence[Piece], encoding: Any) -> Assembled:
        places, place = [], 0
        for piece in pieces:
            places.append((place, place + len(self._written(piece))))
            place = places[-1][1]
        spans = _overlaps(encoding.offsets, places)
        ids = [self._true.get(token, token) for token in encoding.ids]
        ours = dict[int, str]()
        for piece, (first, after) in zip(pieces, spans, strict=True):
            if piece.kind == "control":
                ours[first] = piece.text
                if after - first != 1 or ids[first] != self._ids[piece.text]:
                    raise CheckpointError(f"the tokenizer does not keep {piece.text!r} one token beside other text")
        self._disarm(ids, ours)
        return Assembled(tuple(ids), spans)

    def _disarm(self, ids: list[int], ours: Mapping[int, str]) -> None:
        """Some vocabularies spell control tokens in plain words; in a text they become unknown, in place."""
        control = set(self._ids.values()) - {self._unknown}
        if control.isdisjoint(ids):
            return
        for index, token in enumerate(ids):
            if token in control and index not in ours:
                if self._unknown is None:
                    raise InputError(
                        "a control token that this tokenizer can't write as plain text",
                        expected="text",
                        fix="remove it from the text, or give the tokenizer an unknown token",
                    )
                ids[index] = self._unknown

    def _true_ids(self, backend: Any) -> dict[int, int]:
        """Id of each added token in the twin -> its id in the tokenizer."""
        names = {secret: name for name, secret in self._secret.items()}
        added = self._twin.get_added_tokens_decoder()
        contents = {token: names.get(found.content, found.content) for token, found in added.items()}
        return {token: int(backend.token_to_id(content)) for token, content in contents.items()}


class PieceEncoder(Encoder):
    """An encoder that is told how a prefix is written in pieces, each scored step being read at one of them."""

    def __init__(
        self,
        assembler: Assembler,
        tokenizer: Any,
        render: Callable[[Prefix], Sequence[Piece]],
        *,
        settings: Mapping[str, Any],
        max_length: int | None,
        padding: int | None = None,
    ) -> None:
        """`settings` name the format and all that decides what `render` writes (or refuses: InputError); they enter the digest.

        Tokens `padding` at the end are dropped: stock sequence classifiers read the last token that is not padding.
        """
        self.tokenizer, self.max_length = tokenizer, max_length
        self._assembler, self._render, self._padding = assembler, render, padding
        self.digest = digest_of(tokenizer, {**settings, "padding": padding})

    def try_encode(self, prefixes: Sequence[Prefix]) -> list[Encoding | InputError]:
        """As `encode_many`, with an error in the place of what is too long or no text."""
        renderings = [self._rendered(prefix) for prefix in prefixes]
        assembled = self._assembler.assemble_many([() if isinstance(one, InputError) else one for one in renderings])
        results: list[Encoding | InputError] = []
        for prefix, pieces, found in zip(prefixes, renderings, assembled, strict=True):
            try:
                results.append(pieces if isinstance(pieces, InputError) else self._encoding(prefix, pieces, found))
            except InputError as error:
                results.append(error)
        return results

    def _rendered(self, prefix: Prefix) -> Sequence[Piece] | InputError:
        try:
            return self._render(prefix)
        except InputError as error:
            return error

    def _encoding(self, prefix: Prefix, pieces: Sequence[Piece], found: Assembled | InputError) -> Encoding:
        if isinstance(found, InputError):
            raise InputError(f"{named(prefix)} holds {found.found}", expected=found.expected, fix=found.fix)
        ids = found.ids
        while ids and ids[-1] == self._padding:
            ids = ids[:-1]
        if self.max_length is not None and len(ids) > self.max_length:
            raise too_long(prefix, len(ids), self.max_length)
        return Encoding(ids, _reads(prefix, pieces, found.spans))


def _reads(prefix: Prefix, pieces: Sequence[Piece], spans: Sequence[tuple[int, int]]) -> tuple[int | None, ...]:
    """Where each step is read: None for observations, and for all where no piece is (a whole answer is scored)."""
    places = {piece.step: span for piece, span in zip(pieces, spans, strict=True) if piece.step is not None}
    reads: list[int | None] = [None] * len(prefix.steps)
    last = -1
    for number, step in enumerate(prefix.steps):
        if places and step.kind != "observation":
            first, after = places[number]
            if after == first or after - 1 <= last:
                raise InputError(
                    f"step {number} of {named(prefix)} has no token of its own at which it could be read",
                    expected="a separator that this tokenizer does not merge with what is around it",
                    fix="drop the solution",
                )
            reads[number] = last = after - 1
    return tuple(reads)


def control_id(tokenizer: Any, name: str) -> int:
    """The id of a control token; CheckpointError unless the tokenizer has it as exactly one token of its own."""
    known = {token.content for token in tokenizer.added_tokens_decoder.values()}
    found = tokenizer(name, add_special_tokens=False, split_special_tokens=False)["input_ids"]
    if name not in known or len(found) != 1:
        raise CheckpointError(
            f"found {len(found)} tokens for {name!r} ({list(found)}), expected exactly one that the tokenizer knows by "
            "this name; use the tokenizer that was saved with the reward model, not its backbone's"
        )
    return int(found[0])


def _twin(whole: Mapping[str, Any], secret: Mapping[str, str]) -> Tokenizer:
    """The tokenizer with other names for its control tokens. Its post-processor goes: it would shorten offsets."""
    added = [{**token, "content": secret.get(token["content"], token["content"])} for token in whole["added_tokens"]]
    changed = {**whole, "added_tokens": added, "post_processor": None, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(changed))


def _overlaps(offsets: Sequence[tuple[int, int]], places: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """For each place [start, end) in the text the tokens [first, after) that have a character of it."""
    spans, first = [], 0
    for start, end in places:
        while first < len(offsets) and offsets[first][1] <= start:
            first += 1
        after = first
        while after < len(offsets) and offsets[after][0] < end:
            after += 1
        spans.append((first, after))
    return tuple(spans)
