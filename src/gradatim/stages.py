"""What the loop and the studies begin with, as stages of a run: the lab's problems, and solutions, sampled and verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradatim import records, runs
from gradatim.core import Policy, Problem
from gradatim.problems import lab
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.settings import PolicySettings
from gradatim.verify.answers import exact_verifier

POLICY = PolicySettings(max_new_tokens=256, batch_rows=512, device="cpu")
"""How the lab's language model writes."""


def lab_problems(run: runs.Run, name: str, split: str, count: int) -> list[Problem]:
    """Stage `NAME`: the first problems of a split of the lab, also in `NAME.jsonl`."""
    found, out = lab.load(split, count), run.path(f"{name}.jsonl")
    asked = {"split": split, "problems": count}
    run.stage(name, asked, lambda: {"problems": records.write_problems(out, found)}, outputs=[out])
    return found


def sample(
    run: runs.Run,
    name: str,
    asked: SampleConfig,
    policy: Policy,
    problems: Sequence[Problem],
    source: Path,
    *,
    quiet: bool = False,
) -> Path:
    """Stage `sample-NAME`: solutions of the problems (they are in the file `source` too) in `NAME.jsonl`, its result."""
    out = run.path(f"{name}.jsonl")
    run.stage(
        f"sample-{name}",
        {"policy": policy.name, **runs.plain(asked)},
        lambda: sample_stage(asked, policy, problems, exact_verifier, out, quiet=quiet),
        inputs=[source],
        outputs=[out],
        scratch=[ledger_path(out)],
    )
    return out
