"""A chat template, applied once to markers: what it writes around contents, and what it trims from them.

The template that was saved with the checkpoint decides, default system messages included; it is never given a question
or an answer, so that no text can be taken for a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from gradatim.core import Prefix
from gradatim.errors import CheckpointError, InputError
from gradatim.models.encoding import named
from gradatim.models.formats.contract import Facts
from gradatim.models.formats.rendering import Assembler, Piece

_CHARACTERS = {(False, False): "", (True, False): "\n", (False, True): " ", (True, True): None}
"""Are line ends cut, are spaces cut -> the characters, as `str.strip` takes them (None: all white space)."""

_DATE = "26 Jul 2024"
"""What Llama 3.1's template says is today. Later ones ask the clock, and a score would change from day to day."""

_CODES = {"A": "Friday", "a": "Fri", "B": "July", "b": "Jul", "-d": "26", "d": "26", "-m": "7", "m": "07"} | {
    "Y": "2024", "y": "24", "j": "208", "H": "12", "I": "12", "p": "PM", "M": "00", "S": "00",
}  # fmt: skip
_NO_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{code}', '{said}')" for code, said in _CODES.items())
    + " }}{% endmacro %}\n"
)
"""Put in front of a template it takes the place of the function that asks the clock, and says noon of that day."""

_THOUGHTS = {
    "<think>": ("<think>{0}", "{0}<think>{0}"),
    "</think>": (
        "<think>{0}</think>{0}",
        "{0}</think>{0}",
        "<think>\n{0}\n</think>\n\n{0}",
        "<think> {0} </think> {0}",
    ),
}
"""Marks of reasoning, and contents that show whether a template takes an answer apart at them."""


@dataclass(frozen=True, slots=True)
class Trim:
    """What a template cuts from the ends of a content: characters as `str.strip` takes them ("": nothing; None: all
    white space)."""

    left: str | None
    right: str | None

    def __call__(self, text: str) -> str:
        """The text as the template writes it."""
        return self.begin(text).rstrip(self.right)

    def begin(self, text: str) -> str:
        """The text with its beginning as the template writes it: for contents that end in something of ours."""
        return text.lstrip(self.left)


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation with holes."""

    parts: tuple[str, ...]
    """The template's own text before, between and after the contents: one more than there are contents."""
    trims: tuple[Trim, ...]
    """What the template does to each content."""
    torn: tuple[frozenset[str], ...]
    """Marks of reasoning at which the template takes each content apart: texts with them are refused, see `check`."""

    def check(self, prefix: Prefix, *contents: str) -> None:
        """InputError if the template would write one of the contents, in the order of the holes, otherwise than trimmed."""
        for content, marks in zip(contents, self.torn, strict=False):
            for mark in sorted(mark for mark in marks if mark in content):
                raise InputError(
                    f"{named(prefix)} holds {mark!r}, where the checkpoint's chat template leaves out or moves text",
                    expected="a text that the template writes as it is",
                    fix="score the answer without its reasoning, up to and with '</think>'",
                )

    def plain(self) -> dict[str, Any]:
        """All of it as plain data, for a digest."""
        return {"parts": list(self.parts), "trims": [[trim.left, trim.right] for trim in self.trims]}


def chat_of(facts: Facts, roles: Sequence[tuple[str, str | None]]) -> Chat:
    """How the checkpoint's template writes messages of these (role, content); a content of None is a hole.

    CheckpointError without a template, and for one that changes contents in other ways than trimming.
    """
    markers = [f"marker{number}content" for number in range(len(roles))]
    plain = _parts(facts, roles, markers, markers)

    def cuts(hole: int, padded: str) -> bool:
        given = [padded if number == hole else marker for number, marker in enumerate(markers)]
        for expected, cut in ((given, False), (markers, True)):
            with suppress(CheckpointError):
                if _parts(facts, roles, given, expected) == plain:
                    return cut
        raise _unfit(facts, "one that changes the contents of messages")

    def tears(hole: int, probe: str) -> bool:
        given = [probe.format(marker) if number == hole else marker for number, marker in enumerate(markers)]
        with suppress(CheckpointError):
            return _parts(facts, roles, given, given) != plain
        return True

    trims, torn = [], []
    for hole, (_, content) in enumerate(roles):
        if content is None:
            torn.append(
                frozenset(mark for mark, probes in _THOUGHTS.items() if any(tears(hole, probe) for probe in probes))
            )
            left = _CHARACTERS[cuts(hole, f"\n{markers[hole]}"), cuts(hole, f" {markers[hole]}")]
            right = _CHARACTERS[cuts(hole, f"{markers[hole]}\n"), cuts(hole, f"{markers[hole]} ")]
            trims.append(Trim(left, right))
    return Chat(plain, tuple(trims), tuple(torn))


def whole_answer(assembler: Assembler, chat: Chat) -> Callable[[Prefix], Sequence[Piece]]:
    """Write the question and the whole solution, without white space at its end, into the two holes of a chat."""
    before, between, after = map(assembler.trusted, chat.parts)
    ask, answer = chat.trims

    def render(prefix: Prefix) -> Sequence[Piece]:
        chat.check(prefix, prefix.prompt, prefix.text)
        return [*before, Piece(ask(prefix.prompt)), *between, Piece(answer(prefix.text.rstrip())), *after]

    return render


def _parts(
    facts: Facts, roles: Sequence[tuple[str, str | None]], contents: Sequence[str], expected: Sequence[str]
) -> tuple[str, ...]:
    """What the template writes around the expected contents when it is given `contents`."""
    messages = [
        {"role": role, "content": given if fixed is None else fixed}
        for (role, fixed), given in zip(roles, contents, strict=True)
    ]
    rest, parts = _rendered(facts, messages), []
    for (_, fixed), text in zip(roles, expected, strict=True):
        if fixed is None:
            before, found, rest = rest.partition(text)
            if not found or text in rest:
                raise _unfit(facts, "one that leaves out or repeats a message")
            parts.append(before)
    return (*parts, rest)


def _rendered(facts: Facts, messages: Sequence[Mapping[str, str]]) -> str:
    tokenizer: Any = facts.tokenizer
    if not tokenizer.chat_template:
        raise _unfit(facts, "none")
    try:
        template = tokenizer.get_chat_template()
        return str(
            tokenizer.apply_chat_template(
                list(messages),
                chat_template=_NO_CLOCK + template if "strftime_now" in template else template,
                tokenize=False,
                add_generation_prompt=False,
                date_string=_DATE,
            )
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise _unfit(facts, f"one that refuses the messages ({error})") from error


def _unfit(facts: Facts, found: str) -> CheckpointError:
    return CheckpointError(
        f"{facts.folder}: found for a chat template {found}, expected one that writes a user's question and an "
        "assistant's answer once each; put back the tokenizer files that were published with the checkpoint"
    )
