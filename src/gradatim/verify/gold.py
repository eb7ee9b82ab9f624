"""A verifier checked on its own gold answers: each is stated as a solution would state it, read, and compared."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.core import Problem, Verdict, Verifier
from gradatim.errors import ConfigError, InputError
from gradatim.progress import progress
from gradatim.records import check_output, write_rows
from gradatim.verify.answers import Check, MathVerifier, VerifierName, choice_verifier, exact_verifier
from gradatim.verify.reading import read_answer, state

CHUNK = 512
"""Rows between two steps of the progress bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    """Settings of `gradatim verify`."""

    source: str
    """Problems with gold answers: `gsm8k:PATH`, `math:PATH`, or JSON Lines of problems."""
    verifier: VerifierName = "math"
    """How answers are compared: by mathematics, as exact text or number, or as a letter A to E."""
    limit: int | None = None
    """Read no more rows than this."""
    timeout: float = 5.0
    """Seconds that one comparison by mathematics may take."""
    workers: int = 2
    """Processes that compare by mathematics."""
    out: str | None = None
    """Write the refused rows to this file (JSON Lines)."""
    skip_bad: bool = False
    """Count malformed rows and go on, instead of stopping at the first."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit={self.limit} leaves nothing to verify")
        if not self.timeout > 0:
            raise ConfigError(f"timeout={self.timeout} is not a number of seconds above 0")
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: at least one process has to check")


def verify_stage(
    config: VerifyConfig,
    problems: Sequence[Problem],
    *,
    dropped: Mapping[str, int] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Whether the verifier accepts the gold answer of each problem, stated as a solution states its answer.

    `problems` are what `config.source` holds; `dropped` counts the rows that their reader left out, by reason. The
    result can be written as JSON: rows `read` and `used` (read and not dropped); `accepted`, and `accepted_by` what
    ("math": math-verify agrees; "number", "text": it does not, but what was stated is the gold answer itself);
    `text_only`, the ids of the latter; `refused` rows with id, gold, what was read and the reason; `dropped` by reason;
    `seconds`; the file `written`. accepted + refused = used. ConfigError, before any work, for an output that can't be
    written or would replace the source.
    """
    started = time.perf_counter()
    if config.out is not None:
        check_output(config.out, [config.source])
    lost = dict(dropped or {})
    asked = [problem for problem in problems if (problem.answer or "").strip()]
    checks = dict(zip((problem.id for problem in asked), _checks(config, asked, quiet), strict=True))
    accepted = {name: check for name, check in checks.items() if check.verdict is Verdict.CORRECT}
    refused = [_refusal(problem, checks.get(problem.id)) for problem in problems if problem.id not in accepted]
    if config.out is not None:
        write_rows(config.out, refused)
    return {
        "source": config.source,
        "verifier": config.verifier,
        "read": len(problems) + sum(lost.values()),
        "used": len(problems),
        "accepted": len(accepted),
        "accepted_by": dict(Counter(check.by for check in accepted.values())),
        "text_only": [name for name, check in accepted.items() if config.verifier == "math" and check.by != "math"],
        "refused": refused,
        "dropped": lost,
        "seconds": round(time.perf_counter() - started, 3),
        "written": config.out,
    }


def _checks(config: VerifyConfig, problems: Sequence[Problem], quiet: bool) -> list[Check]:
    items = [(problem, state(problem.answer or "")) for problem in problems]
    checks: list[Check] = []
    with progress("verify", len(items), "answers", quiet=quiet) as shown:
        if config.verifier == "math":
            with MathVerifier(config.timeout, config.workers) as verifier:
                for start in range(0, len(items), CHUNK):
                    checks += verifier.check_many(items[start : start + CHUNK], shortcuts=False)
                    shown.advance(len(checks) - start)
        else:
            verify = exact_verifier if config.verifier == "exact" else choice_verifier
            for problem, text in items:
                checks.append(_plain_check(verify, problem, text))
                shown.advance()
    return checks


def _plain_check(verify: Verifier, problem: Problem, text: str) -> Check:
    try:
        verdict = verify(problem, text)
    except InputError as error:
        return Check(Verdict.UNPARSED, read_answer(text), reason=str(error))
    unread = verdict is Verdict.UNPARSED
    return Check(verdict, read_answer(text), "" if unread else "text", "no answer" if unread else "")


def _refusal(problem: Problem, check: Check | None) -> dict[str, Any]:
    if check is None:
        return {"id": problem.id, "gold": problem.answer, "read": None, "reason": "no gold answer"}
    reason = check.reason or "what was read differs from it"
    return {"id": problem.id, "gold": problem.answer, "read": check.answer, "reason": reason}
