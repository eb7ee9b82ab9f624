"""The doctor on healthy checkpoints of every public format, and on some that were read or written wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoints import llama_classifier, qwen_checkpoint
from token_checkpoints import byte_level, sentencepiece, value_head, with_tag, write

import gradatim
from gradatim.core import Score
from gradatim.models import formats
from gradatim.models.forward import head_of
from gradatim.score.checks.golden import Golden
from gradatim.score.checks.patient import Finding, Patient
from gradatim.score.checks.probes import ORDINARY
from gradatim.score.doctor import examine
from gradatim.score.engine import ModelScorer
from tiny_models import reward_model


def classifier(folder: Path) -> None:
    """As TRL saves one."""
    model = reward_model(tokenizer=byte_level())
    module: Any = model.module
    module.save_pretrained(folder)
    byte_level().save_pretrained(folder)


def pair(folder: Path) -> None:
    """A policy, and in a folder inside of it its reference."""
    write(folder, byte_level(), "qwen2")
    (folder / "reference").mkdir()
    write(folder / "reference", byte_level(), "qwen2", seed=1)


CHECKPOINTS: dict[str, Callable[[Path], Any]] = {
    "qwen-prm": qwen_checkpoint,
    "reasonflux-prm": qwen_checkpoint,
    "qwen-rm": lambda folder: qwen_checkpoint(folder, labels=1),
    "sequence-classification": llama_classifier,
    "math-shepherd": lambda folder: write(folder, sentencepiece(), "mistral"),
    "math-psa": lambda folder: write(folder, byte_level(bos=False), "qwen2"),
    "er-prm": lambda folder: write(folder, byte_level()),
    "rlhflow": lambda folder: write(folder, byte_level()),
    "rlhflow-orm": lambda folder: write(folder, byte_level()),
    "skywork-prm": lambda folder: write(folder, byte_level(), "qwen2", extra=value_head()),
    "pqm": lambda folder: write(folder, with_tag(byte_level(), "[PRM]"), extra=value_head()),
    "trl": classifier,
    "pure": classifier,
    "implicit": pair,
}
"""Format -> what writes a random checkpoint of it."""


def patient(folder: Path, format: str, golden: tuple[Golden, ...] = ()) -> Patient:
    """A checkpoint of the format, loaded."""
    CHECKPOINTS[format](folder)
    options = {"implicit": {"reference": str(folder / "reference"), "reading": "clean", "beta": "0.5"}}
    given = options.get(format, {"separator": "\n"} if format in ("trl", "pure") else {})
    scorer = gradatim.load(folder, format=format, device="cpu", **given)
    return Patient(scorer, folder, golden)


def failed(found: dict[str, Finding]) -> dict[str, str]:
    """Name -> evidence of what failed."""
    return {name: one.evidence for name, one in found.items() if one.outcome == "fail"}


def test_every_format_is_tried() -> None:
    """A new format has to be added here too."""
    assert set(CHECKPOINTS) == {one.name for one in formats.FORMATS}


@pytest.mark.parametrize("format", CHECKPOINTS)
def test_healthy_checkpoints_of_public_formats_pass(tmp_path: Path, format: str) -> None:
    """Nothing fails, and the loaded weights were found on disk, whatever they are called there."""
    (tmp_path / "model").mkdir()
    found = examine(patient(tmp_path / "model", format))

    assert failed(found) == {}
    assert found["weights of the checkpoint"].outcome == "pass"


def test_a_published_sum_that_takes_the_next_step_along_is_told(tmp_path: Path) -> None:
    """No fault of ours, since it is what was published, but not passed over either."""
    pair(tmp_path)
    scorer = gradatim.load(tmp_path, format="implicit", reference=str(tmp_path / "reference"), beta="0.5", device="cpu")

    found = examine(Patient(scorer, tmp_path))["scores move with content"]
    assert found.outcome == "not applicable"
    assert "next step" in found.evidence


@pytest.mark.parametrize("format", ["qwen-prm", "math-shepherd", "skywork-prm"])
def test_a_head_that_is_not_the_checkpoint_s_is_found(tmp_path: Path, format: str) -> None:
    """Also where the head is made of rows of another matrix, or bears another name on disk."""
    (tmp_path / "model").mkdir()
    ill = patient(tmp_path / "model", format)
    with torch.no_grad():
        for weight in head_of(ill.model.module).parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))

    assert "nowhere on disk" in failed(examine(ill))["weights of the checkpoint"]


def test_swapped_answers_of_a_language_model_are_found(tmp_path: Path) -> None:
    """The rows of a head that was made of "+" and "-" bear their names: "-" comes first."""
    (tmp_path / "model").mkdir()
    ill = patient(tmp_path / "model", "math-shepherd")
    with torch.no_grad():
        weight = next(head_of(ill.model.module).parameters())
        weight.copy_(weight.flip(0).clone())

    assert "labels are swapped" in failed(examine(ill))["weights of the checkpoint"]


def test_another_format_s_reading_is_found_by_golden_scores(tmp_path: Path) -> None:
    """A checkpoint that two formats fit: what one of them recorded is not what the other one says."""
    (tmp_path / "model").mkdir()
    right = patient(tmp_path / "model", "math-psa")
    golden = tuple(recorded(score) for score in right.scorer.score(ORDINARY))
    wrong = ModelScorer(formats.load(tmp_path / "model", format="er-prm", device="cpu"))

    assert failed(examine(Patient(right.scorer, golden=golden))) == {}
    assert set(failed(examine(Patient(wrong, golden=golden)))) == {"golden scores"}


def recorded(score: Score) -> Golden:
    """A score as golden."""
    assert score.prefix is not None
    return Golden(score.prefix, score.steps, score.value, None, "here:1")
