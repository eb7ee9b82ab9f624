"""`gradatim train --explain`: the numbers of the training to come, from the tokenizer and the configuration alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_tasks
from typer.testing import CliRunner

import tiny_models
from gradatim.cli import app
from gradatim.labels.datasets import write_labelled
from gradatim.records import write_solutions
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.explain import explain_stage
from gradatim.train.stage import train_stage
from gradatim.train.targets import TargetConfig

ALL_STEPS = TargetConfig(mask_after_error=False)


@pytest.fixture(name="backbone", scope="module")
def _backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    tokenizer = tiny_models.bpe_tokenizer()
    tiny_models.causal("llama", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(name="data", scope="module")
def _data(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two files, of which the second has longer solutions."""
    folder = tmp_path_factory.mktemp("data")
    paths = folder / "short.jsonl", folder / "long.jsonl"
    for path, steps in zip(paths, (2, 5), strict=True):
        write_labelled(path, tiny_tasks.labelled(problems=5, draws=3, steps=steps, seed=steps))
    return str(paths[0]), str(paths[1])


def test_it_says_what_the_training_then_reports(backbone: Path, data: tuple[str, str], tmp_path: Path) -> None:
    """Rows, problems, tokens, steps of the optimiser and the constant's loss are those of the training itself."""
    config = TrainConfig(
        data=data, out=str(tmp_path / "m"), backbone=str(backbone), targets=ALL_STEPS, held_out=0.2, device="cpu",
        balance=("class", "source"), fit=FitConfig(epochs=1, batch_tokens=200),
    )  # fmt: skip

    told, report = explain_stage(config), train_stage(config, quiet=True)

    assert json.loads(json.dumps(told)) == told
    assert told["rows"] == report["rows"]
    assert told["problems"] == report["problems"]
    assert told["optimizer"]["steps"] == report["steps"]
    assert told["tokens"]["epoch"] == report["tokens"]["processed"]
    assert told["tokens"]["distinct"] == report["tokens"]["distinct"]
    assert told["tokens"]["sharing"] == report["tokens"]["separate"] / report["tokens"]["distinct"] > 1
    assert told["seconds"] == told["flops"] / told["flops_per_second"] > 0
    assert told["constant_loss"] == report["constant_loss"]
    card = json.loads((tmp_path / "m" / "gradatim.json").read_text())
    assert card["recipe"]["labels"]["weights"] == told["weights"]


def test_balance_bins_and_sources_are_shown(backbone: Path, data: tuple[str, str]) -> None:
    """Evidence before and after, with shares that add up; a solution of five steps is in the bin of 3-5."""
    config = TrainConfig(
        data=data, backbone=str(backbone), targets=ALL_STEPS, held_out=0, balance=("class",), step_bins=(2, 5)
    )

    told = explain_stage(config)

    assert [row["steps"] for row in told["steps"]] == ["1-2", "3-5"]
    assert [row["rows"] for row in told["steps"]] == [row["rows"] for row in told["sources"]] == [15, 15]
    assert [row["share"] for row in told["classes"]] == pytest.approx([0.5, 0.5])
    for rows in (told["classes"], told["steps"], told["sources"]):
        assert sum(row["weighed"] for row in rows) == pytest.approx(told["effective_evidence"])
        assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert told["weights"]["positive"] != 1.0


@pytest.mark.parametrize(
    ("settings", "trained"),
    [
        ({}, "all"),
        ({"freeze": True}, 0),
        # Rank 2 on seven matrices in each of two layers of width 32, inner width 48 and 16 for keys and values.
        ({"lora_rank": 2}, 2 * 2 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 48))),
    ],
)
def test_no_weight_is_needed(
    backbone: Path, data: tuple[str, str], tmp_path: Path, settings: dict[str, Any], trained: Any
) -> None:
    """The same with the file of weights gone; parameters are counted, and memory is 16 bytes for one that is trained."""
    shell = tmp_path / "shell"
    shell.mkdir()
    for path in backbone.iterdir():
        if path.suffix != ".safetensors":
            (shell / path.name).write_bytes(path.read_bytes())
    config = TrainConfig(data=data, backbone=str(shell), targets=ALL_STEPS, held_out=0, **settings)

    told = explain_stage(config)

    parameters = told["parameters"]
    assert parameters["trained"] == (parameters["all"] if trained == "all" else trained)
    assert told["memory_bytes"] == 4 * parameters["all"] + 12 * parameters["trained"]
    assert not list(shell.glob("*.safetensors"))


def test_the_command_prints_it_and_trains_nothing(backbone: Path, data: tuple[str, str], tmp_path: Path) -> None:
    """`--explain` for people and as JSON; the folder of the model is not made."""
    arguments = ["train", "--data", data[0], "--backbone", str(backbone), "--out", str(tmp_path / "m"), "--explain"]

    shown, machine = (CliRunner().invoke(app, [*arguments, *more]) for more in ([], ["--json"]))

    assert shown.exit_code == machine.exit_code == 0
    for part in (
        "15 of 15 used",
        "effective evidence",
        "distinct",
        "steps of the optimiser",
        "against",
        "1-2",
        "GiB",
        "times as many",
        "a second",
    ):
        assert part in shown.output
    assert json.loads(machine.stdout)["objective"] == "logistic"
    assert not (tmp_path / "m").exists()


def test_computation_follows_what_is_computed(backbone: Path, data: tuple[str, str], tmp_path: Path) -> None:
    """Checkpointing computes forwards again (8 operations a weight for 6), LoRA no gradients of the weights (4 for 6), a
    frozen backbone is run once (2); an implicit model has its reference's pass and its head besides."""
    plain = TrainConfig(data=data, backbone=str(backbone), targets=ALL_STEPS, held_out=0, device="cpu")
    whole = explain_stage(plain)["flops"]

    again = explain_stage(replace(plain, fit=FitConfig(checkpointing=True)))["flops"]
    lora, frozen = (explain_stage(replace(plain, **how))["flops"] for how in ({"lora_rank": 2}, {"freeze": True}))

    assert (again / whole, lora / whole, frozen / whole) == pytest.approx((8 / 6, 4 / 6, 2 / 6))
    write_solutions(
        tmp_path / "solutions.jsonl", [solution for solution, _ in tiny_tasks.labelled(problems=5, draws=3)]
    )
    verdicts = replace(plain, data=(str(tmp_path / "solutions.jsonl"),), targets=TargetConfig())
    outcome, implicit = (
        explain_stage(replace(verdicts, **how)) for how in ({"kind": "orm"}, {"objective": "implicit-ce"})
    )
    body = implicit["tokens"]["epoch"] * outcome["flops"] / outcome["tokens"]["epoch"]
    assert implicit["flops"] > body * 8 / 6


def test_every_setting_of_labels_and_weights_is_shown(backbone: Path, data: tuple[str, str]) -> None:
    """For people and as JSON: what a neutral rating means, thresholds, masks, weights of steps, sources, classes and bins."""
    arguments = [
        "train",
        *(word for one in data for word in ("--data", one)),
        "--backbone",
        str(backbone),
        "--out",
        "m",
    ]
    arguments += ["--neutral", "skip", "--target", "hard", "--rule", "threshold", "--threshold", "0.3", "--explain"]
    arguments += [
        "--no-mask-after-error",
        "--step-weight",
        "position",
        "--source-weights",
        "1",
        "--source-weights",
        "3",
    ]
    arguments += [
        "--objective",
        "focal",
        "--gamma",
        "1.5",
        "--balance",
        "steps",
        "--step-bins",
        "2",
        "--step-bins",
        "9",
    ]

    shown, machine = (CliRunner().invoke(app, [*arguments, *more]) for more in ([], ["--json"]))

    assert shown.exit_code == machine.exit_code == 0, shown.output
    for part in (
        "focal, gamma 1.5",
        "target hard, rule threshold, threshold 0.3, mask after error false, neutral skip, step weight position",
        "balance: steps; bins of steps end at 2, 9; source weights: 1.0, 3.0; positive weight in use: 1",
    ):
        assert part in shown.output
    told = json.loads(machine.stdout)
    assert told["constants"] == {"gamma": 1.5}
    assert [row["factor"] for row in told["sources"]] == told["weights"]["sources"] == [1.0, 3.0]
    assert [row["factor"] for row in told["steps"]] == told["weights"]["bins"][: len(told["steps"])]


def test_few_steps_are_told(backbone: Path, data: tuple[str, str]) -> None:
    """Little data in large batches, with what makes more steps: smaller batches as long as there are trees to part."""
    config = TrainConfig(data=data, backbone=str(backbone), targets=ALL_STEPS, held_out=0)

    hurried = explain_stage(config)
    [note] = hurried["notes"]
    [wanted] = map(int, re.findall(r"a batch_tokens of (\d+)", note))
    followed = explain_stage(replace(config, fit=FitConfig(batch_tokens=wanted)))
    patient = explain_stage(replace(config, fit=FitConfig(epochs=20, batch_tokens=100)))

    assert f"only about {hurried['optimizer']['steps']} steps" in note
    assert followed["optimizer"]["steps"] > hurried["optimizer"]["steps"]
    assert patient["optimizer"]["steps"] >= 50
    assert patient["notes"] == []


def test_no_smaller_batch_is_advised_where_each_is_one_tree(backbone: Path, data: tuple[str, str]) -> None:
    """Trees are not cut for a batch, so only more epochs are left."""
    config = TrainConfig(
        data=data, backbone=str(backbone), targets=ALL_STEPS, held_out=0, fit=FitConfig(batch_tokens=1)
    )

    [note] = explain_stage(config)["notes"]

    assert "more epochs" in note
    assert "batch_tokens" not in note


def test_blocks_that_repeat_their_paths_are_told(backbone: Path, tmp_path: Path) -> None:
    """Small blocks compute what solutions share again and again; with the ones advised it is as often as promised."""
    path = tmp_path / "shared.jsonl"
    write_labelled(path, tiny_tasks.labelled(problems=1, draws=12, steps=6, seed=0))
    config = TrainConfig(
        data=(str(path),),
        backbone=str(backbone),
        targets=ALL_STEPS,
        held_out=0,
        fit=FitConfig(batch_tokens=1, epochs=99),
    )

    def times(block_tokens: int) -> tuple[float, list[str]]:
        found = explain_stage(replace(config, fit=replace(config.fit, block_tokens=block_tokens)))
        return found["tokens"]["epoch"] / found["tokens"]["distinct"], found["notes"]

    small, [note] = times(40)
    now, wanted, then = re.findall(r"computes ([\d.]+) times.* of (\d+) it is ([\d.]+) times", note)[0]
    followed, notes = times(int(wanted))

    assert float(now) == pytest.approx(small, abs=0.01)
    assert float(then) == pytest.approx(followed, abs=0.01)
    assert small > 1.5
    assert followed <= 1.25
    assert notes == []
