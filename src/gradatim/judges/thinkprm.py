r"""ThinkPRM's format: one chain of thought that ends each step with \boxed{correct} or \boxed{incorrect}.

The template and how the answer begins are those of the released code (arXiv 2504.16828, utils/helper.py), white space
included, for wording moves its quality by several points. "Step k:" labels that the steps bring along are taken off, since
the prompt numbers them. A chain may stop at the first error. A chain without enough decisions is an abstention here (the
released code scores it -1), and so is one that contradicts itself. The released score compares the probabilities of
" Yes" and " No" after the last question; here draws are counted instead.
"""

from __future__ import annotations

import re

from gradatim.core import Prefix
from gradatim.judges.exams import Critic, Exam, single
from gradatim.judges.opinions import Opinion, names

_PROMPT = """\
You are given a math problem and a proposed step-by-step solution:

[Math Problem]

{problem}

[Solution]

{solution}

Review and critique each step in the proposed solution to determine whether each step is correct. If the solution is \
incomplete, only verify the provided steps."""

_BEGUN = "\nLet's verify step by step:"
_LABEL = re.compile(r"\s*Step \d+ ?:\s*")
# Models also write \boxed{\text{correct}}, which the released code turned into the plain form in its training data.
_DECISION = re.compile(r"\\boxed\{\s*(?:\\text\{\s*)?(correct|incorrect)\s*\}", re.IGNORECASE)
_END = re.compile(r"Is the solution correct\?\W*(Yes|No)\b", re.IGNORECASE)


def _write(exam: Exam) -> Prefix:
    texts = (_LABEL.sub("", text, count=1) if _LABEL.match(text) else text for text in exam.texts)
    parts = {
        "problem": exam.problem,
        "solution": "\n".join(f"Step {i}: {text}" for i, text in enumerate(texts, start=1)),
    }
    return exam.asks(re.sub(r"\{(problem|solution)\}", lambda slot: parts[slot[1]], _PROMPT), _BEGUN)


def _read(exam: Exam, answer: str) -> Opinion:
    right = [said.lower() == "correct" for said in _DECISION.findall(answer)]
    ends = [said.lower() == "yes" for said in _END.findall(answer)]
    if not right:
        return exam.abstains(r"no decision in \boxed{}")
    if len(right) > len(exam.texts):
        return exam.abstains("more decisions than steps")
    if all(right) and len(right) < len(exam.texts):
        return exam.abstains("fewer decisions than steps")
    if ends and ends[-1] != all(right):
        return exam.abstains("the last word contradicts the steps")
    return names(exam.steps, None if all(right) else right.index(False))


THINKPRM = Critic(
    name="thinkprm",
    converse=single(_write, _read),
    marks=re.compile(r"\[Math Problem\]|\[Solution\]|^[ \t]*Step \d+:", re.MULTILINE),
)
"""One chain a solution."""
