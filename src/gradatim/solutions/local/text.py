"""Text to tokens and back for a policy: a prefix encodes to a prefix, and no text becomes a control token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from gradatim.core import Prefix
from gradatim.errors import ConfigError

CONTEXT_TOKENS = 4
"""Tokens before a continuation that are decoded with it: some tokenizers drop a space at the start of what they
decode."""

_SLOT = "{prompt}"
_MARK = "\ue000prompt\ue000"


class TextCodec:
    """A tokenizer with a prompt template.

    The prompt (in its template) and every step are tokenised on their own, so `encode(prefix.first(k))` is always
    the start of `encode(prefix)`. Only the template can make control tokens: the same characters inside a prompt or a
    step are ordinary text. (A step of kind "control" may as well: only a critic's format makes one, no file.)
    """

    def __init__(self, tokenizer: Any, template: str = "auto") -> None:
        """`template` as in `PolicySettings.prompt_template`; ConfigError for "chat" where the tokenizer has no
        template."""
        self.tokenizer = tokenizer
        if template == "auto":
            template = "chat" if getattr(tokenizer, "chat_template", None) else _SLOT + "\n"
        self.template = template
        self._line_ends: dict[int, bool] = {}
        # Prefixes of one solution share their steps.
        self._plain = lru_cache(maxsize=1 << 16)(self._tokenised)
        self._before, self._after = self._around_chat() if template == "chat" else template.split(_SLOT)
        # A chat template writes its own first token.
        self._opening = [] if template == "chat" else self._first_token()

    def encode(self, prefix: Prefix) -> list[int]:
        """Token ids of the prompt in its template, then of each step."""
        ids = self.encode_prompt(prefix.prompt)
        for step in prefix.steps:
            ids.extend(self._plain(step.text, control=step.kind == "control"))
        return ids

    def encode_prompt(self, prompt: str) -> list[int]:
        """Token ids of a prompt in its template."""
        before, after = self._before, self._after
        if not (self._has_control(before) or self._has_control(after)):
            return [*self._opening, *self._plain(before + prompt + after)]
        return [
            *self._opening,
            *self._plain(before, control=True),
            *self._plain(prompt),
            *self._plain(after, control=True),
        ]

    def decode(self, context: Sequence[int], ids: Sequence[int]) -> str:
        """The text that `ids` add after the tokens `context`; control tokens have no text."""
        head = list(context[-CONTEXT_TOKENS:])
        start = self._text(head)
        whole = self._text(head + list(ids))
        return whole[len(start) :] if whole.startswith(start) else self._text(ids)

    def ends_line(self, token: int) -> bool:
        """Whether a token's text has a line end in it."""
        if token not in self._line_ends:
            self._line_ends[token] = "\n" in self._text([token])
        return self._line_ends[token]

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _tokenised(self, text: str, control: bool = False) -> tuple[int, ...]:
        """Tokens of a text; unless `control`, "<|end|>" and the like in it are just characters."""
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=not control)["input_ids"])

    def _has_control(self, text: str) -> bool:
        return self._plain(text, control=True) != self._plain(text)

    def _first_token(self) -> list[int]:
        """The token that the tokenizer puts before every text, if it has one."""
        bos = self.tokenizer.bos_token_id
        return [bos] if bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos] else []

    def _around_chat(self) -> tuple[str, str]:
        if not getattr(self.tokenizer, "chat_template", None):
            raise ConfigError(
                "prompt_template='chat', but the tokenizer has no chat template; give a text with {prompt}"
            )
        message = [{"role": "user", "content": _MARK}]
        text: str = self.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        before, mark, after = text.partition(_MARK)
        if not mark:
            raise ConfigError("the tokenizer's chat template does not hold the user's text; give a text with {prompt}")
        return before, after
