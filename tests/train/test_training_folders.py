"""What a training does to its folder: nothing there is lost, and what goes wrong is said before the work is done."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_tasks

from gradatim.errors import CheckpointError, ConfigError
from gradatim.labels.datasets import write_labelled
from gradatim.models import checkpoint
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.folder import REPORT, STATE_FOLDER
from gradatim.train.stage import train_stage

SHORT = FitConfig(epochs=2, lr=3e-3, batch_tokens=60, block_tokens=200, save_minutes=0.0)


@pytest.fixture(name="config")
def _config(backbone: str, tmp_path: Path) -> TrainConfig:
    write_labelled(tmp_path / "rows.jsonl", tiny_tasks.labelled(problems=4, draws=2))
    data = (str(tmp_path / "rows.jsonl"),)
    return TrainConfig(data=data, out=str(tmp_path / "out"), backbone=backbone, held_out=0, fit=SHORT, device="cpu")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing more into a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, usual)


def test_another_model_in_the_folder_is_never_replaced(config: TrainConfig, backbone: str, tmp_path: Path) -> None:
    """A folder with a model that was not trained here is refused before anything is read, and keeps its bytes."""
    out = tmp_path / "out"
    out.mkdir()
    for file in Path(backbone).iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    with pytest.raises(ConfigError, match=r"not trained here \(config.json, model.safetensors\), which would be lost"):
        train_stage(config, quiet=True)

    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_that_cannot_be_is_an_error_before_the_training(config: TrainConfig, tmp_path: Path) -> None:
    """A file in its place, or above it, is said at once."""
    (tmp_path / "file").write_text("notes")
    for name in ("file", "file/below"):
        with pytest.raises(ConfigError, match="can't be a folder"):
            train_stage(replace(config, out=str(tmp_path / name)), quiet=True)
    assert (tmp_path / "file").read_text() == "notes"


def test_a_kill_between_weights_and_report_loses_nothing(config: TrainConfig, tmp_path: Path) -> None:
    """With the model written and the report not yet, the same call ends the training; the weights are the same."""
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradatim.train.stage.rmtree", lambda *_, **__: None)  # as after a kill before the last lines
        report = train_stage(config, quiet=True)
    weights = (out / "model.safetensors").read_bytes()
    (out / REPORT).unlink()

    again = train_stage(config, quiet=True)

    assert again["history"] == report["history"]
    assert (out / "model.safetensors").read_bytes() == weights
    assert not (out / STATE_FOLDER).exists()


def test_a_full_disk_keeps_the_last_state_whole(config: TrainConfig, tmp_path: Path) -> None:
    """A state that finds no room leaves no half behind, and the training goes on when there is room again."""
    whole = train_stage(replace(config, out=str(tmp_path / "whole")), quiet=True)
    with files_of_at_most(200_000), pytest.raises(OSError, match="File too large"):
        train_stage(config, quiet=True)
    assert not list((tmp_path / "out" / STATE_FOLDER).iterdir())

    assert train_stage(config, quiet=True)["history"] == whole["history"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert weights[0] == weights[1]


def test_a_full_disk_while_the_model_is_saved_is_no_other_error(config: TrainConfig, tmp_path: Path) -> None:
    """What safetensors says of the system's error is that error; what is half there is never taken for a model."""
    train_stage(config, quiet=True)
    model = checkpoint.load(tmp_path / "out", device="cpu")

    with files_of_at_most(50_000), pytest.raises(OSError, match="File too large"):
        checkpoint.save(model, tmp_path / "half")

    with pytest.raises(CheckpointError, match=r"no gradatim\.json"):
        checkpoint.load(tmp_path / "half", device="cpu")


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"\x80\x02N."])
def test_a_damaged_state_is_named(config: TrainConfig, tmp_path: Path, content: bytes) -> None:
    """An empty file, and others that are no state, are errors that say what to remove."""
    (tmp_path / "out" / STATE_FOLDER).mkdir(parents=True)
    (tmp_path / "out" / STATE_FOLDER / "state.pt").write_bytes(content)

    with pytest.raises(CheckpointError, match=r"state\.pt: no state of a training .*; remove it to start again"):
        train_stage(config, quiet=True)


def test_a_file_of_features_that_is_none_is_named(config: TrainConfig, tmp_path: Path) -> None:
    """It is left as it is."""
    notes = tmp_path / "notes"
    notes.write_text("not a database, and long enough to be taken for one" * 20)

    with pytest.raises(
        ConfigError, match="file is not a database; expected a file that a training with features= wrote"
    ):
        train_stage(replace(config, freeze=True, features=str(notes)), quiet=True)

    assert notes.read_text().startswith("not a database")


def test_one_sided_labels_are_told(config: TrainConfig, tmp_path: Path) -> None:
    """Where every step is right there is nothing to tell apart, and the report says so."""
    rows = [pair for pair in tiny_tasks.labelled() if all(tally.good for tally in pair[1].tallies)]
    write_labelled(tmp_path / "right.jsonl", rows)

    report = train_stage(replace(config, data=(str(tmp_path / "right.jsonl"),)), quiet=True)

    [one_sided, few_steps] = report["notes"]
    assert one_sided == "all evidence to train on is for: nothing is to be told apart"
    assert "steps" in few_steps


def test_notes_are_said_before_anything_is_trained(config: TrainConfig) -> None:
    """Who reads that it will be slow, or can't learn, can still stop it; the report says the same."""
    told: list[str] = []

    def stop(notes: Sequence[str]) -> None:
        told.extend(notes)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(config, remark=stop, quiet=True)

    assert not list(Path(config.out).rglob("*.safetensors"))
    assert not list(Path(config.out).rglob("state.pt"))
    assert told == train_stage(config, quiet=True)["notes"] != []


def test_weights_of_sources_are_learnt_with(config: TrainConfig, tmp_path: Path) -> None:
    """A factor a source trains, is written down, and makes another model than none."""
    write_labelled(tmp_path / "more.jsonl", tiny_tasks.labelled(problems=3, draws=2, seed=1))
    both = replace(config, data=(*config.data, str(tmp_path / "more.jsonl")))
    weighed = replace(both, source_weights=(1.0, 9.0), out=str(tmp_path / "weighed"))

    train_stage(both, quiet=True)
    train_stage(weighed, quiet=True)

    models = [(Path(one.out) / "model.safetensors").read_bytes() for one in (both, weighed)]
    assert models[0] != models[1]
    recipe = json.loads((Path(weighed.out) / "gradatim.json").read_text())["recipe"]
    assert recipe["labels"]["weights"]["sources"] == [1.0, 9.0]


@pytest.mark.parametrize("asked", [{"kind": "orm"}, {"objective": "implicit-ce"}])
def test_rows_with_labels_of_steps_are_no_outcomes(config: TrainConfig, tmp_path: Path, asked: dict[str, Any]) -> None:
    """Said of the form that was named, and not of a path that isn't there."""
    (tmp_path / "trl.jsonl").write_text('{"prompt": "1 + 1?", "completions": ["2"], "labels": [true]}\n')
    wrong = replace(config, data=(f"trl:{tmp_path / 'trl.jsonl'}",), **asked)

    with pytest.raises(ConfigError, match=r"trl rows label steps, and .* learns whether whole solutions are right"):
        train_stage(wrong, quiet=True)
