"""Find the answer that a solution states, and bring answers into a form in which equal ones mostly look equal.

Reading is by marks alone: a number that merely stands last in a text is not an answer.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s{0,9}")
_MARK = re.compile(
    r"(?<!#)####(?=[ \t]{0,9}(?!\d{1,3}[.)][ ])[-+$\\(\[\d.]|[^\n#]{0,200}\s{0,20}\Z)"
    r"|(?:^|(?<=[.!?;] ))[ \t>*_#-]{0,9}(?:the[ ])?(?:final[ ]|correct[ ])?answer[ *_]{0,9}:",
    re.IGNORECASE | re.MULTILINE,
)
_PROSE = re.compile(r"\bthe (?:final |correct |right )?answer is\b[ \t]{0,9}:?", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?=\s|$)")


def read_answer(text: str) -> str | None:
    r"""The answer that a solution states last, without the marks around it; None if it states none.

    What counts, in this order: the last `\boxed{...}` (braces balanced; `\fbox`, `\boxed 5` too); the last `#### x` (if
    x begins like a number or a formula, or ends the text: else it is a heading) or `Answer: x` (where a line or sentence
    starts); the last `the answer is x`. Nothing else counts. A last mark that holds nothing, or a last box that is never
    closed, is no answer: what stood before it is not what the author ended with.
    """
    if (box := _last(_BOX, text)) is not None:
        return _bare(_group(text, box.end()) or "")
    stated = text if (mark := _last(_MARK, text)) is None else _line(text, mark.end())
    if (prose := _last(_PROSE, stated)) is not None:
        return _bare(_SENTENCE_END.split(_line(stated, prose.end()), maxsplit=1)[0])
    return None if mark is None else _bare(stated)


def to_answer(text: str) -> str | None:
    """The text to the end of the first line that states an answer by a mark; None if no whole line does.

    Marks are a box, `####` and `Answer:`; prose ("the answer is x, so ...") may be on its way to another answer.
    """
    ends = (place + 1 for place, char in enumerate(text) if char == "\n")
    return next((text[:end] for end in ends if has_answer(text[:end])), None)


def has_answer(text: str) -> bool:
    """Whether the whole lines of a text state an answer by a mark, as `to_answer` has it."""
    lines = text[: text.rfind("\n") + 1]
    marked = _last(_BOX, lines) is not None or _last(_MARK, lines) is not None
    return marked and read_answer(lines) is not None


def state(answer: str) -> str:
    """The last sentence of a solution that states this answer, as `read_answer` reads it."""
    boxed = rf"The final answer is $\boxed{{{answer}}}$."
    return boxed if read_answer(boxed) == _bare(answer) else f"Answer: {answer}"


def normal(answer: str) -> str:
    r"""Light normalisation, for comparing by text: what differs only in how it is set becomes the same text.

    Spaces that separate nothing, `\left`, `\right`, thin spaces, `\dfrac`, a `\text{}` around the whole, a dollar sign,
    a final full stop, and Unicode's digits, signs, powers and fractions. Case is kept: x is not X.
    """
    text = _ascii(_bare(answer) or "").replace(r"\\", _ROW)
    for pattern, replacement in _SETTINGS:
        text = pattern.sub(replacement, text)
    text = text.strip()
    for _ in range(3):
        match = _WRAPPED.fullmatch(text)
        if match is None or _group(text, match.start(1) - 1) != match[1]:
            break
        text = match[1].strip()
    return text.removeprefix("\\$").removeprefix("$").strip().replace(_ROW, r"\\")


def balanced(answer: str) -> bool:
    """Whether the braces match, as they have to inside a box."""
    return _group(f"{{{answer}}}", 0) == answer


def number(answer: str) -> Decimal | None:
    r"""The exact value of a plain number ("-1,234.50", "$3", "2e5"); None for anything else."""
    text = normal(answer)
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:  # an exponent that even Decimal can't hold
        return None


# No pattern scans a stretch twice, so that 100,000 characters take milliseconds. A space between a comma and three
# digits stays: "1, 234" is two numbers, "1,234" is one.
_SETTINGS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\!|(?<=\d)\\,(?=\d{3}(?!\d))", ""),
        (r"\\left(?![A-Za-z])|\\right(?![A-Za-z])|\\[,;:]|\\q?quad(?![A-Za-z])|\\ ", " "),
        (r"\{,\}", ","),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\%", "%"),
        (r"\s+", " "),
        (r" (?=[^\w\s])|(?<=[^\w\s,]) |(?<=,) (?!\d{3}(?!\d))", ""),
    )
)
_ROW = "\ue000"
"""Stands for the end of a matrix row, whose second backslash would look like the start of a command."""
_WRAPPED = re.compile(r"\\(?:boxed|fbox|text|textbf|textrm|textit|mathrm|mathbf|mbox|operatorname)\{(.*)\}", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,9})?", re.ASCII)

_SIGNS = str.maketrans(
    {
        "\u00a0": " ",
        "−": "-",
        "–": "-",
        "∞": r"\infty ",
        "π": r"\pi ",
        "°": r"^\circ ",
        "·": r"\cdot ",
        "×": r"\times ",
        "÷": "/",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "±": r"\pm ",
        "∪": r"\cup ",
        "½": r"\frac{1}{2}",
        "⅓": r"\frac{1}{3}",
        "⅔": r"\frac{2}{3}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
    }
)
_POWERS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_PLAIN_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_ROOT = re.compile(r"√(?:(\d+|[A-Za-z])|\(([^()]{1,99})\))")


def _ascii(text: str) -> str:
    """Digits of every script and common signs as ASCII and LaTeX. (NFKC would do it wrong: it turns x² into x2.)"""
    if text.isascii():
        return text
    text = "".join(
        char if char.isascii() else str(unicodedata.decimal(char, _FULL_WIDTH.get(char, char))) for char in text
    )
    text = _POWERS.sub(lambda match: f"^{{{match[0].translate(_PLAIN_POWERS)}}}", text)
    return _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text).translate(_SIGNS)


_FULL_WIDTH = {chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)}


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = None
    for match in pattern.finditer(text):
        last = match
    return last


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN = re.compile(r"\d+|[A-Za-z]")
_LINE = re.compile(r"[\s*]*([^\n]*)")


def _group(text: str, start: int) -> str | None:
    """What stands between the brace at `start` and its partner (or the number or letter there); None without one."""
    if not text.startswith("{", start):
        token = _TOKEN.match(text, start)
        return token[0] if token else None
    depth = 0
    for match in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return text[start + 1 : match.start()]
    return None


def _line(text: str, start: int) -> str:
    """The rest of the line, or the next line with text on it."""
    match = _LINE.match(text, start)
    return match[1] if match else ""


def _bare(answer: str) -> str | None:
    """Without white space, emphasis and math marks around it, and without commas and a full stop after it."""
    bare = answer
    for _ in range(8):
        before = bare
        bare = bare.strip().strip("*`").strip().rstrip(",")
        bare = bare if bare.endswith(("..", r"\right.")) else bare.removesuffix(".")
        for left, right in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
            inside = bare[len(left) : len(bare) - len(right)]
            if bare == left + inside + right and left not in inside and right not in inside:
                bare = inside
        if bare == before:
            return bare or None
    return answer.strip()  # marks without end
