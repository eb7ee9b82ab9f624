r"""GenPRM's format: a conversation with a turn a step, each an analysis and then **Judgement**: $\boxed{Yes}$ or No.

Words, prefills and turns are those of the released code (arXiv 2504.00891, the README form of the first turn, with
analysis and without code). Two things about it look like mistakes and have to be kept: the critic's words begin in the
user's turn, for the prompt is rendered without an assistant's header; and the turns before it have one. The turns are
those of the DeepSeek-R1 distilled models that GenPRM was trained from, so that this format fits GenPRM's models only.

The released pipeline may also run Python code that the model wrote. That is not done here: nothing that a model writes is
run. A conversation stops at the first step that is judged wrong. Its own score is a probability; here draws are counted.
"""

from __future__ import annotations

import re

from gradatim.core import Continuation, Prefix, Step
from gradatim.judges.exams import CUT, Conversation, Critic, Exam
from gradatim.judges.opinions import names

_SYSTEM = "You are a math teacher. Your task is to review and critique the paragraphs in solution step by step."
_USER, _ASSISTANT, _END = "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"
_ANALYSE = "<analyze>\nLet's analyze the Paragraph {number} step by step: "
_ANALYSED = "</analyze>"
_JUDGE = "<output>\n**Judgement**: $\\boxed"
_JUDGED = "</output>"
_SAID = re.compile(r"\s*\{\s*(Yes|No)\s*\}", re.IGNORECASE)


def _converse(exam: Exam) -> Conversation:
    history: tuple[Step, ...] = ()
    for number, text in enumerate(exam.texts, start=1):
        asked = f"Question: {exam.problem}\n\n{text}" if number == 1 else text
        begun = _ANALYSE.format(number=number)
        (thought,) = yield [_prompt(exam, history, asked + begun)]
        if _ANALYSED not in thought.text:
            return exam.abstains(CUT if thought.finish == "length" else "no end of the analysis")
        begun += thought.text.partition(_ANALYSED)[0] + f"{_ANALYSED}\n{_JUDGE}"
        (verdict,) = yield [_prompt(exam, history, asked + begun)]
        said = _SAID.match(verdict.text)
        if said is None:
            return exam.abstains(r"neither Yes nor No in \boxed{}")
        if said[1].lower() == "no" and exam.steps[number - 1].kind != "observation":
            return names(exam.steps, number - 1)
        answer = Step(begun + _ended(verdict, said))
        history = (*history, _control(_USER), Step(asked), _control(_ASSISTANT), answer, _control(_END))
    return names(exam.steps, None)


def _prompt(exam: Exam, history: tuple[Step, ...], turn: str) -> Prefix:
    return Prefix(exam.problem_id, _SYSTEM, (*history, _control(_USER), Step(turn)))


def _control(text: str) -> Step:
    return Step(text, kind="control")


def _ended(verdict: Continuation, said: re.Match[str]) -> str:
    """The critic's verdict to the end of its output, which is where the released code stops it."""
    written, closed, _ = verdict.text.partition(_JUDGED)
    return f"{written}{_JUDGED}\n" if closed else f"{said[0]}$\n{_JUDGED}\n"


GENPRM = Critic(
    name="genprm",
    converse=_converse,
    marks=re.compile("|".join([_USER, _ASSISTANT, _END, "</?(?:analyze|verify|output)>"])),
    turns=True,
)
"""A turn of two answers a step."""
