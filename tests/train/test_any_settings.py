"""Whatever is asked of a training: it is refused with a reason, or it ends with a model that loads and scores."""

from __future__ import annotations

import math
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_tasks
from hypothesis import event, given, settings
from hypothesis import strategies as st

import gradatim
from gradatim.core import Labels, Tally
from gradatim.errors import ConfigError, InputError
from gradatim.labels.datasets import write_labelled
from gradatim.records import write_solutions
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.stage import train_stage
from gradatim.train.targets import TargetConfig

PROCESS = ("logistic", "mse", "focal", "pqm", "sibling-ranking")
OUTCOME = ("logistic", "mse", "focal", "bradley-terry")

TARGETS = {
    "target": st.sampled_from(["hard", "soft", "binomial"]),
    "rule": st.sampled_from(["any", "relative", "threshold"]),
    "mask_after_error": st.booleans(),
    "neutral": st.sampled_from(["good", "bad", "skip"]),
    "step_weight": st.sampled_from(["step", "step", "solution", "position"]),
    "positive_weight": st.sampled_from([1.0, 1.0, 2.5]),
    "unread": st.sampled_from(["zero", "drop"]),
}
FIT = {
    "epochs": st.integers(1, 2),
    "lr": st.sampled_from([None, 1e-3]),
    "decay": st.sampled_from(["cosine", "linear"]),
    "warmup": st.sampled_from([0.0, 0.3]),
    "batch_tokens": st.sampled_from([40, 400]),
    "block_tokens": st.sampled_from([None, 12, 80]),
    "checks": st.integers(1, 2),
    "patience": st.integers(0, 1),
    "bfloat16": st.booleans(),
    "checkpointing": st.booleans(),
    "save_minutes": st.sampled_from([0.0, 5.0]),
}
ASKED = {
    "model": st.sampled_from([("prm", o) for o in (*PROCESS, "implicit-ce", "implicit-dpo")] + [("orm", o) for o in OUTCOME]),
    "balance": st.sets(st.sampled_from(["steps", "class", "source"])).map(lambda chosen: tuple(sorted(chosen))),
    "source_weights": st.sampled_from([(), (1.0, 3.0)]),
    "weighting": st.sampled_from(["prefix", "trajectory"]),
    "separator": st.sampled_from(["\n", "\n\n"]),
    "reduction": st.sampled_from([None, "mean", "prod"]),
    "max_length": st.sampled_from([None, 18]),
    "too_long": st.sampled_from(["error", "drop"]),
    "problems": st.sampled_from([None, 6]),
    "held_out": st.sampled_from([0.0, 0.3]),
    "layers": st.sampled_from([{}, {}, {"freeze": True}, {"train_layers": 1}, {"lora_rank": 2}]),
    "targets": st.fixed_dictionaries(TARGETS),
    "fit": st.fixed_dictionaries(FIT),
}  # fmt: skip


@pytest.fixture(name="sources", scope="module")
def _sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Two files of solutions with rollouts counted for each step, and the same solutions with their verdicts alone."""
    folder, draw = tmp_path_factory.mktemp("sources"), random.Random(0)
    found: dict[str, list[str]] = {"steps": [], "outcomes": []}
    for number, steps in enumerate((2, 4)):
        rows = tiny_tasks.labelled(problems=8, draws=3, steps=steps, seed=number)
        written = [(solution, counted(labels, draw)) for solution, labels in rows]
        write_labelled(folder / f"labels-{number}.jsonl", written)
        write_solutions(folder / f"solutions-{number}.jsonl", [solution for solution, _ in rows])
        found["steps"].append(str(folder / f"labels-{number}.jsonl"))
        found["outcomes"].append(str(folder / f"solutions-{number}.jsonl"))
    return {name: (paths[0], paths[1]) for name, paths in found.items()}


def counted(labels: Labels, draw: random.Random) -> Labels:
    tallies = tuple(Tally(draw.randint(1, 4) if tally.good else draw.randint(0, 1), 4) for tally in labels.tallies)
    return replace(labels, tallies=tallies, start=Tally(5, 8), source="rollouts", truth="value")


@settings(max_examples=40, deadline=None)
@given(asked=st.fixed_dictionaries(ASKED))
def test_what_is_asked_is_refused_or_done(
    sources: dict[str, tuple[str, str]], backbone: str, asked: dict[str, Any]
) -> None:
    """Every option with every other, drawn at random. Any other error than a refusal fails, and so does a loss
    that is no number."""
    kind, objective = asked.pop("model")
    targets, fit, layers = asked.pop("targets"), asked.pop("fit"), asked.pop("layers")
    outcomes = kind == "orm" or objective.startswith("implicit")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        refused, report = "", {}
        try:
            config = TrainConfig(
                data=sources["outcomes" if outcomes else "steps"], out=str(out), backbone=backbone, kind=kind,
                objective=objective, device="cpu", targets=TargetConfig(**targets), fit=FitConfig(**fit), **layers, **asked,
            )  # fmt: skip
            report = train_stage(config, quiet=True)
        except (ConfigError, InputError) as error:
            event(f"refused: {type(error).__name__}")
            refused = str(error)
        if refused:
            assert "lower lr" not in refused
            assert not (out / "model.safetensors").exists()
            return

        event(f"trained: {objective}")
        assert report["steps"] >= 1
        assert all(math.isfinite(row["loss"]) for row in report["history"])
        assert (report["held_out_loss"] is not None) == (config.held_out > 0)
        assert report["rows"]["used"] + sum(report["rows"]["dropped"].values()) == report["rows"]["read"]
        assert train_stage(config, quiet=True) == report
        scorer = gradatim.load(str(out), device="cpu")
        prefix = tiny_tasks.labelled(problems=1, draws=1, steps=3)[0][0].prefix
        [score] = scorer.score([prefix])
        assert len(score.steps) == (0 if kind == "orm" else 3)
        assert math.isfinite(score.value)
