"""What is true: verifiers read a solution's final answer and compare it with the gold one."""

from __future__ import annotations

from gradatim.verify.answers import (
    Check,
    MathVerifier,
    VerifierName,
    choice_verifier,
    equivalent,
    exact_verifier,
    read_answer,
    state,
    verifier_for,
)
from gradatim.verify.gold import VerifyConfig, verify_stage

__all__ = [
    "Check",
    "MathVerifier",
    "VerifierName",
    "VerifyConfig",
    "choice_verifier",
    "equivalent",
    "exact_verifier",
    "read_answer",
    "state",
    "verifier_for",
    "verify_stage",
]
