"""What the loop and the studies begin with, as a stage of a run: solutions of the lab's problems, sampled and verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradatim import runs
from gradatim.core import Policy, Problem
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.settings import PolicySettings
from gradatim.verify.answers import exact_verifier

POLICY = PolicySettings(max_new_tokens=256, batch_rows=512, device="cpu")
"""How the lab's language model writes."""


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
