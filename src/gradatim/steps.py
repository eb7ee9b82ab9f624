"""Split a text into steps and lose nothing: `"".join(step.text for step in split(text)) == text`, no step is empty.

The white space that ends a step belongs to it. A text of nothing has no steps; a text of white space alone is one step,
and no other step is white space alone. Every splitter takes time linear in the text (up to a logarithm).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from gradatim.core import Splitter, Step
from gradatim.errors import ConfigError
from gradatim.records import JOINER, bare, joined

__all__ = [
    "JOINER",
    "SPLITTERS",
    "audit",
    "bare",
    "by_blank_line",
    "by_line",
    "by_marker",
    "by_pattern",
    "by_sentence",
    "by_think",
    "by_tool_call",
    "joined",
    "math_spans",
]

_LINE = re.compile(r"\n(?:[^\S\n]*\n)*")
_BLANK_LINE = re.compile(r"\n(?:[^\S\n]*\n)+")
_MARKER = re.compile(r"^[ \t#>*_-]*step[ \t]+\d+\b", re.IGNORECASE | re.MULTILINE)
_THINK = re.compile(r"<(/?)think>\s*")


def by_line(text: str) -> tuple[Step, ...]:
    """A step a line; empty lines end the line before them."""
    return _steps(text, (match.end() for match in _LINE.finditer(text)))


def by_blank_line(text: str) -> tuple[Step, ...]:
    """A step a paragraph: steps end with one or more empty lines."""
    return _steps(text, (match.end() for match in _BLANK_LINE.finditer(text)))


def by_marker(text: str) -> tuple[Step, ...]:
    """A step begins where a line begins with "Step 3" (any case, behind `#`, `*`, `>`, `-` as well); what stands
    before the first such line is a step of its own."""
    return _steps(text, (match.start() for match in _MARKER.finditer(text)))


def by_pattern(pattern: str) -> Splitter:
    """A splitter whose steps end after each match of a regular expression; ConfigError if it is not one."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{pattern!r} is not a regular expression: {error}") from None

    def by_compiled(text: str) -> tuple[Step, ...]:
        return _steps(text, (match.end() for match in compiled.finditer(text)))

    return by_compiled


def by_think(text: str) -> tuple[Step, ...]:
    """Paragraphs, with a border at `<think>` and behind `</think>`; what follows `</think>` is of kind "answer".

    A tag never is a step by itself: `<think>` begins the paragraph after it, `</think>` ends the one before it.
    """
    tags = list(_THINK.finditer(text))
    within = {match.start() for match in tags if match.group(1)} | {match.end() for match in tags if not match.group(1)}
    cuts = {match.end() for match in _BLANK_LINE.finditer(text)} - within
    cuts |= {match.end() if match.group(1) else match.start() for match in tags}
    last = max((match.end() for match in tags if match.group(1)), default=len(text))
    return _steps(text, cuts, lambda start: "answer" if start >= last else "reasoning")


# Tool calls, in the tags and fences that agents in use write.

_TAGS = {
    "tool_call": "tool_call",
    "tool_response": "observation",
    "observation": "observation",
    "information": "observation",
    "result": "observation",
    "search": "query",
    "query": "query",
    "evidence": "evidence",
    "answer": "answer",
}
_FENCES = {"python": "tool_call", "output": "observation"}
_BLOCK = re.compile(rf"<(/?)({'|'.join(_TAGS)})>|^```({'|'.join(_FENCES)})?[ \t]*$", re.MULTILINE)


def by_tool_call(text: str) -> tuple[Step, ...]:
    """Blocks of agent trajectories as steps of their kind, the text between them as steps of reasoning.

    Tags `tool_call`, `search`, `query`, `tool_response`, `observation`, `information`, `result`, `evidence`, `answer`,
    and fenced blocks of `python` and `output`. A block that is not closed goes to the end of the text. Observations
    are not scored: where a policy could write such a tag itself, do not let it choose this splitter's input.
    """
    borders: dict[int, str] = {}
    opened: str | None = None
    for match in _BLOCK.finditer(text):
        closing, tag, fence = match.groups()
        name = tag or f"```{fence or ''}"
        kind = _TAGS.get(tag or "") or _FENCES.get(fence or "")
        if opened is None and kind and not closing:
            opened = tag or "```"
            borders[match.start()] = kind
        elif opened is not None and (closing or not tag) and name == opened:
            opened = None
            borders[match.end() + _space(text, match.end())] = "reasoning"
    starts = sorted(borders)

    def kind_at(start: int) -> str:
        at = bisect_right(starts, start) - 1
        return borders[starts[at]] if at >= 0 else "reasoning"

    return _steps(text, starts, kind_at)


_SPACE = re.compile(r"\s*")


def _space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return match.end() - start if match else 0


# Sentences, with LaTeX left whole.

_NEXT = r"\s+(?=[\"'“‘(\[*$\\]*[A-Z0-9À-ÞΑ-ΩА-Я$\\])"
_SENTENCE = re.compile(rf"[.!?][\"'”’)\]}}*]*{_NEXT}|[。！？]\s*|\n(?:[^\S\n]*\n)+")
_MATH_END = re.compile(r"[.!?]\s*(?:\$\$?|\\[)\]])$")
_AFTER_MATH = re.compile(_NEXT)
_NO_END = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|Mr|Mrs|Ms|Dr|Prof|St|Fig|Eq|Eqs|Thm|resp|approx|[Ss]tep \d{1,3})"
    r"|(?:^|\n)[^\S\n]*(?:\d{1,3}|[A-Za-z]))$"
)
_MATH = re.compile(r"\\\\|\\\$|\\[()\[\]]|\$\$?|\\(begin|end)\{([A-Za-z]+\*?)\}")


def by_sentence(text: str) -> tuple[Step, ...]:
    """A step a sentence. No border inside `$...$`, `$$...$$`, `\\(...\\)`, `\\[...\\]` or an environment, after a usual
    abbreviation or after the number of a list item; a blank line outside of LaTeX is a border."""
    spans = math_spans(text)

    def ends_here(match: re.Match[str]) -> bool:
        if _inside(spans, match.start()):
            return False
        before = text[max(0, match.start() - 12) : match.start()]
        return not (match.group().startswith(".") and _NO_END.search(before))

    cuts = [match.end() for match in _SENTENCE.finditer(text) if ends_here(match)]
    for start, end in spans:
        if _MATH_END.search(text[max(start, end - 20) : end]) and (match := _AFTER_MATH.match(text, end)):
            cuts.append(match.end())
    return _steps(text, cuts)


def _inside(spans: Sequence[tuple[int, int]], place: int) -> bool:
    at = bisect_right(spans, place, key=lambda span: span[0]) - 1
    return at >= 0 and spans[at][0] < place < spans[at][1]


def math_spans(text: str) -> list[tuple[int, int]]:
    """Where LaTeX mathematics stands in a text: [start, end) of each outermost piece, in order.

    A single `$` opens only before a character that is not white space, and closes only after one and before no digit,
    within its paragraph: so prices are left alone. A delimiter without its partner is plain text.
    """
    tokens = list(_MATH.finditer(text))
    partners = _partners(text, tokens)
    spans: list[tuple[int, int]] = []
    reached = 0
    for index, token in enumerate(tokens):
        end = partners(index)
        if token.start() >= reached and end is not None:
            spans.append((token.start(), end))
            reached = end
    return spans


def _partners(text: str, tokens: Sequence[re.Match[str]]) -> Callable[[int], int | None]:
    """For a token's index: where the mathematics that it opens ends, None where it opens none."""
    blanks = [match.start() for match in _BLANK_LINE.finditer(text)]
    ends: dict[str, list[int]] = {"$": [], "$$": [], r"\)": [], r"\]": []}
    for token in tokens:
        if token.group() in ends and (token.group() != "$" or _closes(text, token.start())):
            ends[token.group()].append(token.end())
    environments = _environments(tokens)

    def following(places: Sequence[int], at: int) -> int | None:
        index = bisect_left(places, at)
        return places[index] if index < len(places) else None

    def end(index: int) -> int | None:
        token = tokens[index]
        kind = token.group()
        if token.group(1):
            return environments.get(index)
        if kind == "$":
            opens = token.end() < len(text) and not text[token.end()].isspace()
            close = following(ends["$"], token.end() + 2) if opens else None
            blank = following(blanks, token.end())
            return close if close is not None and (blank is None or close <= blank) else None
        closer = {"$$": "$$", r"\(": r"\)", r"\[": r"\]"}.get(kind)
        return None if closer is None else following(ends[closer], token.end() + len(closer))

    return end


def _closes(text: str, at: int) -> bool:
    return at > 0 and not text[at - 1].isspace() and not text[at + 1 : at + 2].isdigit()


def _environments(tokens: Sequence[re.Match[str]]) -> dict[int, int]:
    """From the index of each `\\begin{x}` to the end of its `\\end{x}`."""
    opened: dict[str, list[int]] = {}
    found: dict[int, int] = {}
    for index, token in enumerate(tokens):
        which, name = token.groups()
        if which == "begin":
            opened.setdefault(name, []).append(index)
        elif which == "end" and opened.get(name):
            found[opened[name].pop()] = token.end()
    return found


SPLITTERS: dict[str, Splitter] = {
    "line": by_line,
    "blank-line": by_blank_line,
    "marker": by_marker,
    "sentence": by_sentence,
    "think": by_think,
    "tool-call": by_tool_call,
}
"""The splitters by the names that configurations use."""


def _steps(text: str, cuts: Iterable[int], kind: Callable[[int], str] | None = None) -> tuple[Step, ...]:
    """The text cut at these places; a piece of white space alone joins the piece before it (the first, the one after).

    `kind` names the kind of the step that starts at a place.
    """
    if not text:
        return ()
    kept = [0]
    for start, end in pairwise(sorted({0, len(text), *cuts})):
        if start > 0 and not text[start:end].isspace() and not text[kept[-1] : start].isspace():
            kept.append(start)
    borders = [*kept, len(text)]
    return tuple(
        Step(text[start:end], kind(_first_visible(text, start, end)) if kind else "reasoning")
        for start, end in pairwise(borders)
    )


def _first_visible(text: str, start: int, end: int) -> int:
    return min(start + _space(text, start), end - 1)


# What a splitter does to a corpus.

VERY_LONG = 2000
"""Characters from which on the audit calls a step very long."""


def audit(texts: Iterable[str], splitter: Splitter) -> dict[str, Any]:
    """What a splitter makes of texts, as a JSON-able dictionary.

    `steps_per_text` counts texts by their number of steps; `step_length` holds quantiles in characters (None without a
    step); `findings` counts what deserves a look, with up to three `examples` (text index, step index, excerpt) each:
    `no_steps` and `one_step` count texts, `blank` and `very_long` steps, `inside_latex` borders that fall inside
    mathematics, `lossy` texts that the steps do not join to (a splitter of ours never does this).
    """
    per_text: Counter[int] = Counter()
    findings: Counter[str] = Counter(dict.fromkeys(_FINDINGS, 0))
    examples: dict[str, list[dict[str, Any]]] = {name: [] for name in _FINDINGS}
    lengths: list[int] = []
    for index, text in enumerate(texts):
        steps = splitter(text)
        per_text[len(steps)] += 1
        lengths += [len(step.text) for step in steps]
        for name, at in _found(text, steps):
            findings[name] += 1
            if len(examples[name]) < 3:
                examples[name].append({"text": index, "step": at, "excerpt": _excerpt(text, steps, at)})
    lengths.sort()
    return {
        "texts": per_text.total(),
        "steps": len(lengths),
        "characters": sum(lengths),
        "steps_per_text": {str(count): per_text[count] for count in sorted(per_text)},
        "step_length": {name: _quantile(lengths, share) for name, share in _QUANTILES.items()},
        "findings": dict(findings),
        "examples": examples,
    }


_FINDINGS = ("no_steps", "one_step", "blank", "very_long", "inside_latex", "lossy")
_QUANTILES = {"min": 0.0, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def _found(text: str, steps: Sequence[Step]) -> Iterator[tuple[str, int | None]]:
    if not steps:
        yield "no_steps", None
    elif len(steps) == 1:
        yield "one_step", 0
    for index, step in enumerate(steps):
        if not step.text.strip():
            yield "blank", index
        if len(step.text) >= VERY_LONG:
            yield "very_long", index
    if "".join(step.text for step in steps) != text:
        yield "lossy", None
        return
    spans, border = math_spans(text), 0
    for index, step in enumerate(steps[:-1]):
        border += len(step.text)
        if _inside(spans, border):
            yield "inside_latex", index


def _excerpt(text: str, steps: Sequence[Step], at: int | None) -> str:
    shown = text if at is None else steps[at].text
    return shown if len(shown) <= 120 else f"{shown[:60]} ... {shown[-55:]}"


def _quantile(ordered: Sequence[int], share: float) -> int | None:
    return ordered[round(share * (len(ordered) - 1))] if ordered else None
