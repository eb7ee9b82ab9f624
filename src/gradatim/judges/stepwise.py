r"""A critique of each step on its own: is it right, given the problem and the steps before it? Yes or No, in \boxed{}.

The prompt is this project's. It asks about every step, also behind a wrong one, so that a step's tally does not depend on
what was said of the others; it costs one answer a step.
"""

from __future__ import annotations

import re

from gradatim.core import Continuation, Prefix
from gradatim.judges.exams import CUT, Conversation, Critic, Exam, last_boxed
from gradatim.judges.opinions import from_votes

_PROMPT = """\
Below are a problem, the steps of a solution that have been checked already, and the next step.

[Problem]

{problem}

[Steps So Far]

{before}

[Next Step]

{step}

Is the next step right? It is wrong if it holds a mistake in reasoning or calculation, contradicts the problem or misuses \
an earlier step. Do not judge the steps before it, and do not mind if it leaves the problem unfinished. Say briefly what \
the step does and check it. Then end with \\boxed{Yes} if it is right, or \\boxed{No} if it is wrong.
"""

_VOTES = {"yes": True, "no": False}


def _converse(exam: Exam) -> Conversation:
    judged = [index for index, step in enumerate(exam.steps) if step.kind != "observation"]
    answers = yield [_question(exam, index) for index in judged]
    votes: list[bool | None] = [None] * len(exam.steps)
    reasons: list[str] = []
    for index, answer in zip(judged, answers, strict=True):
        votes[index], reason = _vote(answer)
        reasons += [reason] if reason else []
    return from_votes(exam.steps, votes, reasons[0] if reasons else "")


def _question(exam: Exam, index: int) -> Prefix:
    parts = {
        "problem": exam.problem,
        "before": "\n\n".join(exam.texts[:index]) or "(none)",
        "step": exam.texts[index],
    }
    return exam.asks(re.sub(r"\{(problem|before|step)\}", lambda slot: parts[slot[1]], _PROMPT))


def _vote(answer: Continuation) -> tuple[bool | None, str]:
    if answer.finish == "length":
        return None, CUT
    vote = _VOTES.get((last_boxed(answer.text) or "").lower())
    return vote, "" if vote is not None else r"neither Yes nor No in \boxed{}"


STEPWISE = Critic(
    name="stepwise",
    converse=_converse,
    marks=re.compile(r"\[(?:Problem|Steps So Far|Next Step)\]"),
)
"""One question a step."""
