"""The README.md of a trained model says what its report says, and its command makes the model again."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_tasks
from typer.testing import CliRunner

from gradatim.cli import app
from gradatim.labels.datasets import write_labelled
from gradatim.train.card import card
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.materials import Materials
from gradatim.train.stage import train_stage
from gradatim.train.targets import TargetConfig

REPORT = {
    "rows": {"read": 9, "used": 8, "dropped": {"`no` labelled step": 1}},
    "problems": {"trained": 4, "held_out": 2},
    "tokens": {"distinct": 50, "separate": 100},
    "held_out_loss": 0.4,
    "constant_loss": 0.6,
    "notes": [],
}


def test_the_command_of_the_card_makes_the_same_model(backbone: str, tmp_path: Path) -> None:
    """Run with another folder it gives the same bytes; settings of every kind are in it, usual ones are not."""
    write_labelled(tmp_path / "some rows.jsonl", tiny_tasks.labelled(problems=6))
    config = TrainConfig(
        data=(str(tmp_path / "some rows.jsonl"),), out=str(tmp_path / "out"), backbone=backbone, held_out=0.2, device="cpu",
        balance=("steps", "source"), targets=TargetConfig(mask_after_error=False), fit=FitConfig(lr=3e-3, batch_tokens=99),
    )  # fmt: skip
    train_stage(config, quiet=True)
    text = (tmp_path / "out" / "README.md").read_text()

    command = next(line for line in text.splitlines() if line.startswith("gradatim train"))
    words = shlex.split(command)[1:]
    words[words.index("--out") + 1] = str(tmp_path / "again")
    done = CliRunner().invoke(app, [*words, "--quiet"])

    assert done.exit_code == 0, done.output
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "again")]
    assert weights[0] == weights[1]
    assert "--no-mask-after-error" in words
    assert "--epochs" not in words
    assert f"{tmp_path / 'some rows.jsonl'}  digest " in text


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (0.4, "its loss is 0.4000; that of the best constant score is 0.6000"),
        (0.6, "no better than the 0.6000 of the best constant score. Do not choose or judge by it."),
        (None, "Nothing is known of it: no problems were kept apart"),
    ],
)
def test_it_claims_what_was_measured(loss: float | None, said: str) -> None:
    """Better than a constant, no better, or not measured at all."""
    text = card(TrainConfig(out="m"), Materials(labelled_by=("human: a",)), {}, {**REPORT, "held_out_loss": loss})

    assert said in text.split("## What it can do")[1].split("## What it can't do")[0]


def test_what_a_score_means_follows_from_labels_and_objective() -> None:
    """People's labels, rollouts' labels, verdicts and rankings give scores of different meanings."""
    human, rollouts = (Materials(labelled_by=(by,)) for by in ("human: a", "rollouts: lab"))
    prm = TrainConfig(out="m")
    hard = replace(prm, targets=TargetConfig(target="hard", rule="relative"))

    assert "probability that the step is right" in card(prm, human, {}, REPORT)
    assert "would reach the right answer" in card(prm, rollouts, {}, REPORT)
    assert "kept at least half of the problem's own rate" in card(hard, rollouts, {}, REPORT)
    assert "at a rate of at least 0.9" in card(
        replace(prm, targets=TargetConfig(target="hard", rule="threshold", threshold=0.9)), rollouts, {}, REPORT
    )
    assert "probability that the step is right" in card(hard, human, {}, REPORT)
    both = Materials(labelled_by=("human: a", "rollouts: lab"))
    assert "mean different things" in card(prm, both, {}, REPORT)
    assert "the answer is right" in card(replace(prm, kind="orm"), human, {}, REPORT)
    ranked = card(replace(prm, objective="pqm"), human, {}, REPORT)
    assert "no probabilities" in ranked
    assert "gradatim calibrate" not in ranked


def test_no_command_is_made_up_for_rows_in_memory() -> None:
    """`gradatim train` without data would be refused: the card says what to run instead."""
    text = card(TrainConfig(out="m"), Materials(labelled_by=("human: a",)), {}, REPORT)

    assert "gradatim train --" not in text
    assert "rows in memory" in text.split("## Make it again")[1]


def test_names_cannot_become_markup() -> None:
    """Backticks, line ends and fences in names and paths stay inside of the code that they stand in."""
    config = TrainConfig(data=("a```b\n# heading",), out="m", backbone="x`<b>`\n# heading")

    text = card(config, Materials(labelled_by=("human: `me`",)), {"a```b": "00"}, REPORT)

    assert "````sh" in text
    outside = [line for line in text.split("````sh")[0].splitlines() if line.startswith("#")]
    assert outside == ["# A reward model by `gradatim train`", "## What it learnt from", "## What it can do",
                       "## What it can't do, or nobody has measured", "## Use it", "## Make it again"]  # fmt: skip


def test_a_card_that_somebody_wrote_is_kept(backbone: str, tmp_path: Path) -> None:
    """A README.md that is in the folder already stays as it is."""
    write_labelled(tmp_path / "rows.jsonl", tiny_tasks.labelled(problems=4))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("mine")

    train_stage(
        TrainConfig(data=(str(tmp_path / "rows.jsonl"),), out=str(tmp_path / "out"), backbone=backbone, device="cpu"),
        quiet=True,
    )

    assert (tmp_path / "out" / "README.md").read_text() == "mine"
