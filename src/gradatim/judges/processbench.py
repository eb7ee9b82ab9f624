r"""ProcessBench's critic prompt: all steps as tagged paragraphs, the index of the first wrong one in \boxed{}.

The template and the reading of the last box are those of the benchmark (arXiv 2412.06559, its figure 6 and the released
code/templates/critique_template.txt). Indices are 0-based, as the prompt says; -1 means that no paragraph is wrong. The
paper takes the majority of eight draws.
"""

from __future__ import annotations

import re

from gradatim.core import Prefix
from gradatim.judges.exams import Critic, Exam, last_boxed, single
from gradatim.judges.opinions import Opinion, names

_PROMPT = """\
The following is a math problem and a solution (split into paragraphs, enclosed with tags and indexed from 0):

[Math Problem]

{problem}

[Solution]

{paragraphs}

Your task is to review and critique the solution paragraph by paragraph. Once you identify an error in a paragraph, \
return the index of the paragraph where the earliest error occurs. Otherwise, return the index of -1 (which typically \
denotes "not found").

Please put your final answer (i.e., the index) in \\boxed{}.
"""

_NONE = -1
_WHOLE = re.compile(r"-?\d{1,9}")


def _write(exam: Exam) -> Prefix:
    paragraphs = (f"<paragraph_{i}>\n{text}\n</paragraph_{i}>" for i, text in enumerate(exam.texts))
    parts = {"problem": exam.problem, "paragraphs": "\n\n".join(paragraphs)}
    return exam.asks(re.sub(r"\{(problem|paragraphs)\}", lambda slot: parts[slot[1]], _PROMPT))


def _read(exam: Exam, answer: str) -> Opinion:
    said = last_boxed(answer)
    if said is None:
        return exam.abstains(r"no \boxed{}")
    if not _WHOLE.fullmatch(said):
        return exam.abstains(r"no index in \boxed{}")
    index = int(said)
    if not _NONE <= index < len(exam.texts):
        return exam.abstains("an index outside the solution")
    return names(exam.steps, None if index == _NONE else index)


PROCESSBENCH = Critic(
    name="processbench",
    converse=single(_write, _read),
    marks=re.compile(r"</?paragraph_\d+>|\[Math Problem\]|\[Solution\]"),
)
"""One question a solution."""
