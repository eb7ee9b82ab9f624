"""Verifiers: compare what a solution's text states with the gold answer. Every verifier accepts its own gold."""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, TypeAlias

from gradatim.core import Problem, Verdict, Verifier
from gradatim.errors import InputError
from gradatim.verify.math_pool import Check, MathVerifier, gold_of
from gradatim.verify.reading import normal, number, read_answer, state

__all__ = [
    "Check",
    "MathVerifier",
    "VerifierName",
    "choice_verifier",
    "equivalent",
    "exact_verifier",
    "read_answer",
    "state",
    "verifier_for",
]

VerifierName: TypeAlias = Literal["math", "exact", "choice"]


def exact_verifier(problem: Problem, text: str) -> Verdict:
    """Equal texts after light normalisation, or plain numbers of equal value ("19", "19.0"; never "5" and "15").

    UNPARSED if the text states no answer; InputError if the problem has no gold one.
    """
    gold, answer = gold_of(problem), read_answer(text)
    if answer is None:
        return Verdict.UNPARSED
    value = number(answer)
    same = normal(answer) == normal(gold) or (value is not None and value == number(gold))
    return Verdict.CORRECT if same else Verdict.INCORRECT


def choice_verifier(problem: Problem, text: str) -> Verdict:
    """One of the letters A to E: "B", "(b)", "B.", "(B) 12 apples"; two letters ("A or B") are no choice.

    UNPARSED if the text states no answer or no single letter; InputError if the gold answer is none.
    """
    gold = _letter(gold_of(problem))
    if gold is None:
        raise InputError(f"problem {problem.id!r} has the gold answer {problem.answer!r}", expected="one of A to E")
    answer = read_answer(text)
    letter = None if answer is None else _letter(answer)
    if letter is None:
        return Verdict.UNPARSED
    return Verdict.CORRECT if letter == gold else Verdict.INCORRECT


def verifier_for(name: VerifierName) -> Verifier:
    """The verifier of that name. The one for "math" keeps processes, which end with it."""
    if name == "math":
        return MathVerifier()
    return exact_verifier if name == "exact" else choice_verifier


def equivalent(a: str, b: str) -> bool:
    """Whether two answers mean the same to math-verify: for grouping answers before a vote. Symmetric, not transitive.

    False where that can't be found out in time. Its processes start with the first call that needs them and end with
    the program.
    """
    return _shared().equivalent(a, b)


@cache
def _shared() -> MathVerifier:
    return MathVerifier()


_CHOICE = re.compile(r"\(?([A-E])\)?|\(([A-E])\)(.*)|([A-E])[.):](.*)", re.IGNORECASE | re.DOTALL)
_SECOND = re.compile(r"\([A-E]\)|(?<![^\W_])[A-E][.):]|(?:\b(?:or|and)|[,;/&])\s?\(?[A-E]\b")


def _letter(answer: str) -> str | None:
    """The one letter that an answer chooses; the option's text may follow it."""
    match = _CHOICE.fullmatch(normal(answer))
    if match is None or _SECOND.search(match[3] or match[5] or ""):
        return None
    return (match[1] or match[2] or match[4]).upper()
