"""Whether the first step of a text that is still being written is over."""

from __future__ import annotations

import re

from gradatim.core import Splitter

_BEGIN = re.compile(r"\\begin\{([A-Za-z]+\*?)\}")
_TAGS = ("<think>", "</think>")


def first_step_over(splitter: Splitter, text: str) -> bool:
    """Whether the first of two steps or more stays what it is, however the text goes on.

    A border may be none after all: inside mathematics that is not closed yet, before a tag that is half written, after
    a number to which letters are added. So the text is also split with ends that would undo such a border. Law, for
    every splitter in `gradatim.steps.SPLITTERS`: if this holds of a beginning of a text, both have the same first step.
    """
    steps = splitter(text)
    return len(steps) > 1 and all(splitter(text + end)[0].text == steps[0].text for end in _ends(text))


def _ends(text: str) -> list[str]:
    """A letter inside a word and one that begins a sentence, with all that closes mathematics; and the rest of a tag."""
    closing = r"$ $$\)\]" + "".join(rf"\end{{{name}}}" for name in dict.fromkeys(_BEGIN.findall(text)))
    begun = [next(tag[size:] for size in range(len(tag), -1, -1) if text.endswith(tag[:size])) for tag in _TAGS]
    return [f"x{closing}", f"A{closing}", *begun]
