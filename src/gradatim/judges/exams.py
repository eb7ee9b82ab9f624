"""What a critic is asked: the parts that all prompts share."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from gradatim.core import Continuation, Prefix, Solution, Step
from gradatim.judges.opinions import Opinion, abstains
from gradatim.records import bare

CUT = "cut off at the token limit"
"""The reason of an abstention whose critique was longer than the policy may write."""

_BOXED = re.compile(r"\\boxed\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Exam:
    """A solution as a critic reads it: the problem and the bare steps, with nothing in them that the prompt could take for
    its own marks."""

    problem_id: str
    problem: str
    steps: tuple[Step, ...]
    texts: tuple[str, ...]
    """The steps without what joins them; one a step."""

    def asks(self, prompt: str, begun: str = "") -> Prefix:
        """One question to the critic, and how its answer begins."""
        return Prefix(self.problem_id, prompt, (Step(begun),) if begun else ())

    def abstains(self, reason: str) -> Opinion:
        """No opinion on this solution."""
        return abstains(self.steps, reason)


Conversation = Generator[Sequence[Prefix], Sequence[Continuation], Opinion]
"""Yields what the critic is to go on from, is sent what it wrote, and returns the opinion that this comes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Critic:
    """A way to ask a language model which step of a solution is the first wrong one, and to read what it answers."""

    name: str
    converse: Callable[[Exam], Conversation]
    marks: re.Pattern[str]
    """What the prompt itself writes between its parts. Where a problem or a step holds such a mark, a space is put before
    the mark's last character, so that no text can end its own part or begin another."""
    turns: bool = False
    """Whether it writes the turns of the conversation itself, control tokens included: the policy must then read its text
    without a template of its own."""

    def exam(self, solution: Solution) -> Exam:
        """The solution as this critic reads it."""
        prefix = solution.prefix
        texts = (
            bare(prefix, solution.joiner) if solution.joiner is not None else [s.text.rstrip() for s in prefix.steps]
        )
        return Exam(
            prefix.problem_id,
            self.defused(prefix.prompt),
            prefix.steps,
            tuple(map(self.defused, texts)),
        )

    def defused(self, text: str) -> str:
        """The text without marks of the prompt: "</paragraph_0>" becomes "</paragraph_0 >"."""
        return self.marks.sub(lambda mark: f"{mark[0][:-1]} {mark[0][-1]}", text)


def single(write: Callable[[Exam], Prefix], read: Callable[[Exam, str], Opinion]) -> Callable[[Exam], Conversation]:
    """The conversation of one question and one answer; an answer that was cut off is an abstention."""

    def converse(exam: Exam) -> Conversation:
        (answer,) = yield [write(exam)]
        return exam.abstains(CUT) if answer.finish == "length" else read(exam, answer.text)

    return converse


def last_boxed(text: str) -> str | None:
    r"""What the last \boxed{...} of a text holds, without white space around it; None where there is none.

    Only the critic's own words are searched. It may quote a step that holds a box; what counts is how it ends.
    """
    found = _BOXED.findall(text)
    return found[-1].strip() if found else None
