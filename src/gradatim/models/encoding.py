"""The one encoder: a prefix -> token ids and the positions at which its steps are read, for training and scoring alike.

    ids = [bos?] + tok(before prompt) + tok(prompt) + tok(after prompt) + sum over steps of tok(step) + tok(separator)

Every piece is tokenised on its own, so a prefix of the steps encodes to a prefix of the ids, and a step is read at a
token whose place does not depend on what a tokenizer would merge or on what the step's text contains.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from gradatim.core import Prefix
from gradatim.errors import ConfigError, InputError, escaped_line_end


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSettings:
    """What decides, beside the tokenizer, how a prefix is written in tokens."""

    separator: str = "\n"
    """Ends every step; the step is read at the separator's last token. May be a special token of the tokenizer."""
    prompt_template: str = "{prompt}\n"
    """Text around the prompt, with `{prompt}` in it once. The text around may hold special tokens."""
    bos: bool = True
    """Begin with the tokenizer's beginning-of-sequence token, where it has one."""

    def __post_init__(self) -> None:
        if self.prompt_template.count("{prompt}") != 1:
            raise ConfigError(f"prompt_template={self.prompt_template!r} needs {{prompt}} in it exactly once")
        if not self.separator:
            raise ConfigError("separator is empty: a step needs a token at which it is read")


def line_ends(separator: str) -> str:
    """The separator as it is, if it spells no line end with a backslash and an n: a slip in a shell (ConfigError).

    `EncoderSettings` takes one that does, for there are models that were trained so.
    """
    if "\\n" in separator:
        raise escaped_line_end("separator", separator)
    return separator


@dataclass(frozen=True, slots=True)
class Encoding:
    """A prefix in tokens."""

    ids: tuple[int, ...]
    """All tokens: the prompt's, then each step's and its separator's."""
    reads: tuple[int | None, ...]
    """For each step the index in `ids` of its last separator token; None for an observation, which is never read."""

    @property
    def last(self) -> int:
        """Index of the last token: where an outcome model reads the whole prefix."""
        return len(self.ids) - 1


class Encoder(ABC):
    """Prefixes -> tokens and read positions, one a step: our own way (`StepEncoder`), or a public format's."""

    tokenizer: Any
    """The transformers tokenizer that makes the ids."""
    max_length: int | None
    """How many tokens the model can take; a longer prefix is an error, never cut."""
    digest: str
    """16 hex digits of everything that decides the ids: the tokenizer and how a prefix is written."""

    @abstractmethod
    def try_encode(self, prefixes: Sequence[Prefix]) -> list[Encoding | InputError]:
        """As `encode_many`, but with the error in the place of a prefix that can't be encoded: to drop and count."""

    def encode(self, prefix: Prefix) -> Encoding:
        """One prefix; InputError, naming it, if it is too long for the model or can't be written in tokens."""
        return self.encode_many([prefix])[0]

    def encode_many(self, prefixes: Sequence[Prefix]) -> list[Encoding]:
        """Many prefixes, tokenising each distinct text once; the first that can't be encoded raises its InputError."""
        encodings: list[Encoding] = []
        for result in self.try_encode(prefixes):
            if isinstance(result, InputError):
                raise result
            encodings.append(result)
        return encodings


class StepEncoder(Encoder):
    """Encodes prefixes with one tokenizer and one set of settings; `digest` names the two together."""

    def __init__(
        self, tokenizer: Any, settings: EncoderSettings | None = None, *, max_length: int | None = None
    ) -> None:
        """`max_length` is how many tokens the model can take; a longer prefix is an error, never cut."""
        self.tokenizer, self.settings, self.max_length = tokenizer, settings or EncoderSettings(), max_length
        before, after = self.settings.prompt_template.split("{prompt}")
        begin = [tokenizer.bos_token_id] if self.settings.bos and tokenizer.bos_token_id is not None else []
        self._before = [*begin, *self._trusted(before)]
        self._after = self._trusted(after)
        self._separator = self._trusted(self.settings.separator)
        if not self._separator:
            raise ConfigError(
                f"the tokenizer makes no token of separator={self.settings.separator!r}; choose another one"
            )
        self._unknown: int | None = tokenizer.unk_token_id
        self._control = frozenset(tokenizer.all_special_ids) - {self._unknown}
        self.digest = digest_of(tokenizer, asdict(self.settings))

    @property
    def separator_id(self) -> int:
        """The token at which steps are read, and with which every encoding of at least one step ends."""
        return self._separator[-1]

    def try_encode(self, prefixes: Sequence[Prefix]) -> list[Encoding | InputError]:
        texts = {text: None for prefix in prefixes for _, text in _texts(prefix) if is_unicode(text)}
        tokens = dict(zip(texts, self._untrusted(list(texts)), strict=True))
        results: list[Encoding | InputError] = []
        for prefix in prefixes:
            try:
                results.append(self._assemble(prefix, tokens))
            except InputError as error:
                results.append(error)
        return results

    def _assemble(self, prefix: Prefix, tokens: dict[str, list[int]]) -> Encoding:
        pieces = [self._harmless(prefix, place, text, tokens) for place, text in _texts(prefix)]
        ids = [*self._before, *pieces[0], *self._after]
        reads: list[int | None] = []
        for step, piece in zip(prefix.steps, pieces[1:], strict=True):
            ids += piece
            ids += self._separator
            reads.append(None if step.kind == "observation" else len(ids) - 1)
        if not ids:
            raise InputError(f"problem {prefix.problem_id!r} has neither prompt nor steps", expected="a prompt")
        if self.max_length is not None and len(ids) > self.max_length:
            raise too_long(prefix, len(ids), self.max_length)
        return Encoding(tuple(ids), tuple(reads))

    def _trusted(self, text: str) -> list[int]:
        found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=False, verbose=False)
        return list(found["input_ids"])

    def _untrusted(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        found = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return list(found["input_ids"])

    def _harmless(self, prefix: Prefix, place: str, text: str, tokens: dict[str, list[int]]) -> list[int]:
        """Ids of one piece. What looks like a control token becomes text, or unknown if there is no choice."""
        ids = tokens.get(text)
        if ids is None:
            raise InputError(
                f"{place} of {named(prefix)} holds half of a surrogate pair",
                expected="Unicode text",
                fix="repair the text where it was written",
            )
        if self._control.isdisjoint(ids):
            return ids
        if self._unknown is None:
            raise InputError(
                f"{place} of {named(prefix)} holds a control token that this tokenizer can't write as plain text",
                fix="remove it from the text, or give the tokenizer an unknown token",
            )
        return [self._unknown if token in self._control else token for token in ids]


def _texts(prefix: Prefix) -> list[tuple[str, str]]:
    """The pieces that are not ours, each with its place. A step's trailing white space gives way to the separator."""
    return [("the prompt", prefix.prompt), *((f"step {k}", step.text.rstrip()) for k, step in enumerate(prefix.steps))]


def named(prefix: Prefix) -> str:
    """A solution in an error message."""
    shown = ascii(prefix.text[:60])
    return f"the solution of problem {prefix.problem_id!r} that has {len(prefix.steps)} steps and begins {shown}"


def too_long(prefix: Prefix, tokens: int, max_length: int) -> InputError:
    """What to raise of a prefix that the model can't take whole: nothing is ever cut."""
    return InputError(
        f"{named(prefix)} is {tokens} tokens long",
        expected=f"at most {max_length}, which is what the model can take",
        fix="drop it, or use a model with a longer context",
    )


def is_unicode(text: str) -> bool:
    """Whether it is text: half of a surrogate pair is none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def digest_of(tokenizer: Any, settings: Mapping[str, Any]) -> str:
    """16 hex digits of everything that decides the ids: the settings, the tokenizer's text -> id part and its BOS."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        content: Any = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    else:
        whole = json.loads(backend.to_str())
        content = {key: whole.get(key) for key in ("normalizer", "pre_tokenizer", "model", "added_tokens")}
    parts = {"settings": dict(settings), "bos": tokenizer.bos_token_id, "unknown": tokenizer.unk_token_id, **content}
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return blake2b(text.encode("ascii"), digest_size=8).hexdigest()
