"""Verdicts for many texts, with our own failures told apart from unreadable answers; and what a verifier is called."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.core import Problem, Verdict, Verifier
from gradatim.errors import BackendError
from gradatim.verify.answers import MathVerifier


def verify_all(verifier: Verifier, asked: Sequence[tuple[Problem, str]]) -> list[Verdict | None]:
    """A verdict a text; None where the check itself failed (it timed out, its process died, or BackendError), which
    says nothing about the text."""
    if isinstance(verifier, MathVerifier):
        return [None if check.ours else check.verdict for check in verifier.check_many(asked)]
    return [_verdict(verifier, problem, text) for problem, text in asked]


def verifier_name(verifier: Verifier) -> str:
    """What a ledger knows a verifier by: its `name` where it has one, otherwise its function's or class's."""
    name = getattr(verifier, "name", None) or getattr(verifier, "__qualname__", type(verifier).__qualname__)
    return str(name)


def _verdict(verifier: Verifier, problem: Problem, text: str) -> Verdict | None:
    try:
        return verifier(problem, text)
    except BackendError:
        return None
