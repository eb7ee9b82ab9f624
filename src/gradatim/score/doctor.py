"""`gradatim doctor`: is a reward model read as it should be? A table of checks, each with its evidence.

Checks are functions from a `Patient` (a scorer, and what is known of it) to a `Finding`. What no check can know without
help is said so: weights that were already wrong when they were saved look like any others, and only golden scores (or
problems that the model is good at) tell that its labels are swapped.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradatim import records
from gradatim.core import Prefix
from gradatim.score.checks import agreement, head, reading
from gradatim.score.checks.golden import golden_rows, read_golden
from gradatim.score.checks.patient import Finding, Patient
from gradatim.score.checks.probes import ORDINARY, awkward, crossed
from gradatim.score.engine import ModelScorer

CHECKS: Mapping[str, Callable[[Patient], Finding]] = {
    "a score for every step": reading.one_score_a_step,
    "read where the step ends": reading.read_at_its_end,
    "no step can be forged": reading.nothing_forged,
    "too long is refused": reading.never_cut,
    "template and tokenizer": reading.as_saved,
    "batches and order": agreement.company_changes_nothing,
    "trees, increments, plain rows": agreement.paths_agree,
    "padding side": agreement.padding_side,
    "plain forward pass": agreement.plain_forward,
    "weights of the checkpoint": head.weights_of_the_folder,
    "names of the labels": head.label_names,
    "scores move with content": head.moves_with_content,
    "activated once": head.activated_once,
    "right above wrong": head.tells_right_from_wrong,
    "golden scores": agreement.golden_scores,
}
"""All of them by name, in the order of the table."""


def examine(patient: Patient) -> dict[str, Finding]:
    """What every check finds. One that can't be carried through has failed: its error is the evidence."""
    return {name: _carried_through(check, patient) for name, check in CHECKS.items()}


def _carried_through(check: Callable[[Patient], Finding], patient: Patient) -> Finding:
    try:
        return check(patient)
    except Exception as error:  # whatever a broken model does, the other checks still have to be told
        return Finding("fail", f"{type(error).__name__}: {' '.join(str(error).split()) or 'without a word'}")


def doctor_stage(
    scorer: ModelScorer, folder: Path | None = None, *, golden: str | None = None, record: str | None = None
) -> dict[str, Any]:
    """What `gradatim doctor --json` prints: the model, each check with outcome and evidence, and those that failed.

    `folder` is where the scorer was loaded from, `golden` a file to compare with; `record` is written with what the
    scorer says of the doctor's own solutions.
    """
    if record is not None:
        records.check_output(record, [] if golden is None else [golden])
    findings = examine(Patient(scorer, folder, () if golden is None else read_golden(golden)))
    if record is not None:
        records.write_rows(record, golden_rows(scorer.score(_recordable(scorer)), scorer.model.encoder.digest))
    return {
        "model": scorer.name,
        "kind": scorer.model.kind,
        "encoder": scorer.model.encoder.digest,
        "checks": [{"check": name, **asdict(found)} for name, found in findings.items()],
        "failed": [name for name, found in findings.items() if found.outcome == "fail"],
        "recorded": record,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result for people: a check a row, its evidence beside it."""
    outcome, check = (max(len(one[name]) for one in result["checks"]) for name in ("outcome", "check"))
    lines = [f"{result['model']} ({result['kind']}, encodes steps@{result['encoder']})"]
    for one in result["checks"]:
        head = f"{one['outcome']:<{outcome}}  {one['check']:<{check}}  "
        lines += textwrap.wrap(one["evidence"], 120, initial_indent=head, subsequent_indent=" " * len(head))
    failed = len(result["failed"])
    return "\n".join([*lines, f"{failed} of {len(result['checks'])} checks failed" if failed else "no check failed"])


def _recordable(scorer: ModelScorer) -> list[Prefix]:
    """The doctor's solutions that can be written in a row (no empty steps), and that the model takes."""
    solutions = [*ORDINARY, *(one for four in crossed()[:8] for one in four), *(one for _, one in awkward())]
    kept = [one for one in dict.fromkeys(solutions) if all(step.text.strip() for step in one.steps)]
    return [one for one, error in zip(kept, scorer.refused(kept), strict=True) if error is None]
