"""What a server's answer says, if it says anything that can be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

SLACK = 4
"""Tokens beyond the limit that a count may have and still be believed: some servers end a character that was begun."""


_ENDS = ("stop_reason", "matched_stop")
"""Where vLLM and SGLang say which stop string ended a text; no string stands there for the model's own end."""

Mark = tuple[str, object, str]


class TryAgain(Exception):
    """No answer, or one that can't be used; asking again may help, after `wait` seconds where the server said so.

    `unreachable` if the server was not even there.
    """

    def __init__(self, reason: str, *, wait: float | None = None, unreachable: bool = False) -> None:
        self.wait, self.unreachable = wait, unreachable
        super().__init__(reason)


class Refused(Exception):
    """An answer that would be the same if it were asked for again."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice of a server's answer."""

    text: str
    finish: Literal["stop", "length"]
    tokens: int | None
    """As the server counts them; None where it does not, or can't be right."""
    surplus: int
    """Choices beyond the one that was asked for; they are not used."""
    mark: Mark | None
    """The answer's id, time and text, by which a repetition is known; None where it has no id."""
    stopped_at: str | None = None
    """The stop string that ended the text (which is not in it), where the server says so."""
    says_where: bool = False
    """Whether the server says at all what ended a text."""
    mended: bool = False
    """Whether the text held half a surrogate pair, which is no character: U+FFFD stands in its place."""


def read_reply(data: Any, api: Literal["chat", "completions"], limit: int) -> Reply:
    """The first choice of an answer of /chat/completions or /completions to a request with max_tokens `limit`.

    `TryAgain` for what is not such an answer, `Refused` for one that was stopped by the server or keeps a part of the
    text apart. Half a surrogate pair (a character that was cut) becomes U+FFFD, for no file can hold it.
    """
    if not isinstance(data, dict):
        raise TryAgain(f"an answer that is no JSON object but {type(data).__name__}")
    if data.get("error"):
        raise TryAgain(f"an error in place of an answer: {message_of(data)}")
    choice, surplus = _choice(data.get("choices"))
    text = _chat_text(choice.get("message")) if api == "chat" else choice.get("text")
    if not isinstance(text, str):
        raise TryAgain("a choice without a text")
    sent, text = text, whole(text)
    finish = choice.get("finish_reason")
    if finish in (None, "abort", "error"):
        raise TryAgain(f"the server broke the text off (finish_reason {finish!r})")
    if finish not in ("stop", "length"):
        raise Refused(f"the server did not let the text end by itself (finish_reason {finish!r})")
    identity = data.get("id")
    mark = (identity, data.get("created"), text) if isinstance(identity, str) and identity else None
    tokens = None if surplus else _tokens(data.get("usage"), text, limit)
    ends = [choice[name] for name in _ENDS if name in choice]
    stopped_at = next((end for end in ends if isinstance(end, str)), None)
    ending: Literal["stop", "length"] = "stop" if finish == "stop" else "length"
    return Reply(text, ending, tokens, surplus, mark, stopped_at, bool(ends), mended=text != sent)


def _choice(choices: Any) -> tuple[dict[str, Any], int]:
    """The choice with the lowest index, the first of equals, and how many others there are."""
    if not isinstance(choices, list) or not choices:
        raise TryAgain("an answer without a choice")
    if not all(isinstance(choice, dict) for choice in choices):
        raise TryAgain("a choice that is no object")
    indices = [choice.get("index") for choice in choices]
    places = [index if isinstance(index, int) else place for place, index in enumerate(indices)]
    return choices[places.index(min(places))], len(choices) - 1


def _chat_text(message: Any) -> Any:
    if not isinstance(message, dict):
        raise TryAgain("a choice without a message")
    if message.get("reasoning_content") or message.get("reasoning"):
        raise Refused(
            "the server keeps the reasoning apart from the text, and its steps would be lost; "
            "start it without a reasoning parser"
        )
    if message.get("tool_calls"):
        raise Refused("the model called a tool in place of writing")
    if message.get("refusal"):
        raise Refused(f"the model refused: {message_of(message['refusal'])}")
    return message.get("content")


def _tokens(usage: Any, text: str, limit: int) -> int | None:
    """The server's count of written tokens, if it can be one."""
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    return count if bool(text) <= count <= limit + SLACK else None


def whole(text: str) -> str:
    """The text with U+FFFD in place of each half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def message_of(data: Any) -> str:
    """The words of an error answer in the usual shapes, on one line and of bounded length."""
    found = data
    if isinstance(found, dict):
        found = found.get("error", found)
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or found
    words = " ".join(whole(str(found)).split())
    return words if len(words) <= 300 else words[:299] + "…"
