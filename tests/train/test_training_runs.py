from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_tasks
import torch
from transformers import AutoModelForTokenClassification

import tiny_models
from gradatim import records
from gradatim.core import Pair, Prefix, Solution
from gradatim.errors import ConfigError, InputError
from gradatim.labels.datasets import write_labelled
from gradatim.models import checkpoint
from gradatim.models.model import RewardModel
from gradatim.score.engine import ModelScorer
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.folder import STATE_FOLDER
from gradatim.train.materials import from_labelled, from_pairs, from_solutions
from gradatim.train.prepare import prepare
from gradatim.train.split import held_out_problems, problems_of
from gradatim.train.stage import train, train_stage
from gradatim.train.targets import TargetConfig

FAST = FitConfig(epochs=25, lr=3e-3, batch_tokens=120, block_tokens=200, patience=0)
ALL_STEPS = TargetConfig(mask_after_error=False)


@pytest.fixture(name="data", scope="session")
def _data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of labelled solutions."""
    path = tmp_path_factory.mktemp("data") / "labelled.jsonl"
    write_labelled(path, tiny_tasks.labelled())
    return str(path)


def gap(model: RewardModel) -> float:
    """The mean score of right steps in new problems, less that of wrong ones."""
    scorer, means = ModelScorer(model), []
    for words in (tiny_tasks.RIGHT, tiny_tasks.WRONG):
        values = [score.value for score in scorer.score(tiny_tasks.one_step(words))]
        means.append(sum(values) / len(values))
    return means[0] - means[1]


@pytest.mark.parametrize("how", [{}, {"weighting": "trajectory"}, {"lora_rank": 4}])
def test_training_tells_good_steps_from_bad(backbone: str, how: dict[str, Any]) -> None:
    """The held-out loss falls well below the best constant's; right steps of new problems score above wrong ones."""
    config = TrainConfig(backbone=backbone, held_out=0.2, targets=ALL_STEPS, fit=FAST, device="cpu", **how)

    model, report = train(config, from_labelled(tiny_tasks.labelled(), ALL_STEPS), quiet=True)

    assert report["held_out_loss"] < 0.7 * report["constant_loss"]
    assert gap(model) > 0.3
    assert min(row["held_out_loss"] for row in report["history"]) == report["held_out_loss"]


def outcomes() -> list[Solution]:
    return [solution for solution, _ in tiny_tasks.labelled(draws=8, steps=1)]


@pytest.mark.parametrize("objective", ["logistic", "bradley-terry"])
def test_outcome_models_rank_right_solutions_first(backbone: str, objective: Any) -> None:
    """An ORM trained on verdicts, and one on pairs, score right solutions of new problems above wrong ones."""
    solutions = outcomes()
    right = [solution.prefix for solution in solutions if solution.verdict == "correct"]
    wrong = [solution.prefix for solution in solutions if solution.verdict == "incorrect"]
    pairs = [Pair(a, b) for a in right for b in wrong if a.problem_id == b.problem_id]
    config = TrainConfig(backbone=backbone, kind="orm", objective=objective, held_out=0.2, fit=FAST, device="cpu")
    materials = from_pairs(pairs) if objective == "bradley-terry" else from_solutions(solutions, config.targets)

    model, report = train(config, materials, quiet=True)

    assert model.reduction == "outcome"
    assert report["held_out_loss"] < 0.7 * report["constant_loss"]
    assert gap(model) > 0.3


def test_a_frozen_backbone_keeps_its_weights_and_its_features(backbone: str, tmp_path: Path) -> None:
    """Only the head changes; it learns; a second training with other settings runs the backbone for nothing anew."""
    body = {name: value.clone() for name, value in backbone_weights(backbone).items()}
    config = TrainConfig(
        backbone=backbone, freeze=True, features=str(tmp_path / "features.sqlite"), held_out=0.2, fit=FAST,
        targets=ALL_STEPS, device="cpu",
    )  # fmt: skip
    materials = from_labelled(tiny_tasks.labelled(), ALL_STEPS)

    model, report = train(config, materials, quiet=True)
    before = (tmp_path / "features.sqlite").read_bytes()
    _, again = train(replace(config, fit=replace(FAST, lr=1e-2)), materials, quiet=True)

    assert report["held_out_loss"] < report["history"][0]["held_out_loss"]
    assert report["history"] != again["history"]
    assert (tmp_path / "features.sqlite").read_bytes() == before
    assert not any(name.endswith("part") for name in os.listdir(tmp_path))
    for name, value in body.items():
        assert torch.equal(model.module.state_dict()[name], value), name


def backbone_weights(backbone: str) -> dict[str, torch.Tensor]:
    model = RewardModel.create(backbone, kind="prm", device="cpu")
    return {name: value for name, value in model.module.state_dict().items() if name.startswith("model.")}


def test_cached_features_train_the_same_head_as_live_ones(backbone: str) -> None:
    """A frozen backbone with cached features: the loss of the first step is that of the live model."""
    materials = from_labelled(tiny_tasks.labelled(), ALL_STEPS)
    fit = replace(FAST, epochs=1, lr=1e-9, weight_decay=0.0)
    config = TrainConfig(backbone=backbone, held_out=0.2, targets=ALL_STEPS, fit=fit, device="cpu")

    live = train(config, materials, quiet=True)[1]
    cached = train(replace(config, freeze=True), materials, quiet=True)[1]

    assert cached["held_out_loss"] == pytest.approx(live["held_out_loss"], rel=1e-5)


@pytest.mark.parametrize("how", [{}, {"lora_rank": 2}, {"freeze": True}])
def test_what_is_saved_is_the_trained_model_in_stock_form(
    backbone: str, data: str, tmp_path: Path, how: dict[str, Any]
) -> None:
    """The folder loads in stock transformers and scores as the model in memory; the recipe says how it was made."""
    config = TrainConfig(
        data=(data,), out=str(tmp_path / "model"), backbone=backbone, weighting="trajectory",
        targets=TargetConfig(target="hard", neutral="skip"), fit=replace(FAST, epochs=1), device="cpu", **how,
    )  # fmt: skip

    report = train_stage(config, quiet=True)

    assert json.loads(json.dumps(report)) == report
    assert report["rows"] == {"read": 48, "used": 48, "dropped": {}}
    assert report["path"] == config.out
    assert report["tokens"]["distinct"] < report["tokens"]["separate"]
    assert report["tokens"]["processed"] > 0
    loaded = checkpoint.load(config.out, device="cpu")
    assert loaded.recipe.weighting == "trajectory"
    assert loaded.recipe.labels["target"] == "hard"
    assert loaded.recipe.labels["neutral"] == "skip"
    assert loaded.recipe.labels["by"] == ["exact: task"]
    assert loaded.recipe.data == {data: records.digest(data)}
    prefix = tiny_tasks.labelled()[0][0].prefix
    encoding = loaded.encoder.encode(prefix)
    stock = AutoModelForTokenClassification.from_pretrained(config.out).eval()
    with torch.no_grad():
        chances = stock(torch.tensor([encoding.ids])).logits.softmax(-1)[0, :, 1]
    want = [chances[read].item() for read in encoding.reads if read is not None]
    assert ModelScorer(loaded).score([prefix])[0].steps == pytest.approx(want, abs=1e-5)


def test_a_finished_training_is_not_done_again(backbone: str, data: str, tmp_path: Path) -> None:
    """The same call returns the same report without touching the weights; another one refuses the folder."""
    config = TrainConfig(data=(data,), out=str(tmp_path), backbone=backbone, fit=replace(FAST, epochs=1), device="cpu")
    report = train_stage(config, quiet=True)
    written = (tmp_path / "model.safetensors").stat().st_mtime_ns

    again = train_stage(config, quiet=True)

    assert again == report
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == written
    assert not (tmp_path / STATE_FOLDER).exists()
    with pytest.raises(ConfigError, match="trained otherwise"):
        train_stage(replace(config, seed=1), quiet=True)


CHILD = """
import sys, torch
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.stage import train_stage
torch.set_num_threads(int(sys.argv[4]))
fit = FitConfig(epochs=25, lr=3e-3, batch_tokens=120, block_tokens=200, patience=0, save_minutes=0)
train_stage(TrainConfig(data=(sys.argv[1],), backbone=sys.argv[2], out=sys.argv[3], fit=fit, device="cpu"), quiet=True)
"""


def test_a_killed_training_ends_as_if_it_had_never_stopped(backbone: str, data: str, tmp_path: Path) -> None:
    """SIGKILL in the middle, then the same call: weights and history equal an uninterrupted run's to the last bit."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    state = killed / STATE_FOLDER / "state.pt"
    child = subprocess.Popen([sys.executable, "-c", CHILD, data, backbone, str(killed), str(torch.get_num_threads())])
    saves: set[int] = set()
    while child.poll() is None and len(saves) < 12:
        saves |= {file.stat().st_mtime_ns for file in [state] if file.exists()}
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    saved = torch.load(state, weights_only=True)["position"]["step"]
    fit = replace(FAST, save_minutes=0.0)
    config = TrainConfig(data=(data,), backbone=backbone, fit=fit, device="cpu")

    resumed = train_stage(replace(config, out=str(killed)), quiet=True)
    straight = train_stage(replace(config, out=str(whole)), quiet=True)

    assert 0 < saved < straight["steps"]
    assert resumed["history"] == straight["history"]
    assert resumed["tokens"] == straight["tokens"]
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_state_of_another_training_is_refused(backbone: str, data: str, tmp_path: Path) -> None:
    """A folder in which a training with other settings was stopped is not gone on with."""
    config = TrainConfig(data=(data,), out=str(tmp_path), backbone=backbone, fit=FAST, device="cpu")
    (tmp_path / STATE_FOLDER).mkdir()
    torch.save({"key": "other", "weights": {}, "optimizer": {}, "position": {}}, tmp_path / STATE_FOLDER / "state.pt")

    with pytest.raises(ConfigError, match="another training"):
        train_stage(config, quiet=True)


def test_a_frozen_backbone_processes_every_token_once(backbone: str) -> None:
    """However often the head passes over the features; a whole model processes them in every epoch."""
    materials = from_labelled(tiny_tasks.labelled(), ALL_STEPS)
    config = TrainConfig(backbone=backbone, held_out=0.2, device="cpu", targets=ALL_STEPS)
    processed = [
        train(replace(config, freeze=freeze, fit=replace(FAST, epochs=epochs)), materials, quiet=True)[1]["tokens"][
            "processed"
        ]
        for freeze, epochs in ((True, 1), (True, 5), (False, 1), (False, 5))
    ]

    assert processed[0] == processed[1] > processed[2]
    assert processed[3] == 5 * processed[2]


@pytest.mark.parametrize(
    ("lr", "held_out", "said"),
    [(1e10, 0.2, "the held-out loss is (nan|inf)"), (1e10, 0.0, "the (loss|norm .*) is (nan|inf)")],
)
def test_a_training_that_ran_away_is_no_model(
    backbone: str, data: str, tmp_path: Path, lr: float, held_out: float, said: str
) -> None:
    """Whatever is no number first stops it, with what to do; nothing is saved as if it were a model."""
    fit = replace(FAST, lr=lr, epochs=1, warmup=0.0, batch_tokens=10_000 if held_out else 120)
    config = TrainConfig(
        data=(data,), out=str(tmp_path / "m"), backbone=backbone, held_out=held_out, fit=fit, device="cpu"
    )
    with pytest.raises(ConfigError, match=f"{said} at step .*; lower lr"):
        train_stage(config, quiet=True)
    assert not (tmp_path / "m" / "model.safetensors").exists()


def test_seeds_decide_and_batches_do_not_leak_randomness(backbone: str) -> None:
    """The same seed gives the same history, another seed another; torch's global generator is not touched."""
    materials = from_labelled(tiny_tasks.labelled(), ALL_STEPS)
    config = TrainConfig(backbone=backbone, lora_rank=2, fit=replace(FAST, epochs=1), targets=ALL_STEPS, device="cpu")
    torch.manual_seed(1)
    before = torch.get_rng_state()

    runs = [train(replace(config, seed=seed), materials, quiet=True)[1]["history"] for seed in (0, 0, 1)]

    assert torch.equal(torch.get_rng_state(), before)
    assert runs[0] == runs[1] != runs[2]


def test_early_stopping_keeps_the_best_model(backbone: str) -> None:
    """With a ruinous learning rate the training ends early, and the model left is the one with the least loss."""
    materials = from_labelled(tiny_tasks.labelled(), ALL_STEPS)
    fit = replace(FAST, lr=0.5, epochs=10, patience=2)
    config = TrainConfig(backbone=backbone, held_out=0.3, targets=ALL_STEPS, fit=fit, device="cpu")

    _, report = train(config, materials, quiet=True)

    losses = [row["held_out_loss"] for row in report["history"]]
    assert report["stopped_early"]
    assert report["held_out_loss"] == min(losses)
    assert losses.index(min(losses)) == len(losses) - 1 - 2


def test_problems_are_held_out_whole() -> None:
    """No problem is on both sides, not even under two ids; the choice depends on seed and names, not on order."""
    names = [f"p{number}" for number in range(40)]

    apart = held_out_problems(names, 0.25, 0)

    assert len(apart) == 10
    assert apart == held_out_problems(names[::-1], 0.25, 0) != held_out_problems(names, 0.25, 1)
    assert problems_of([Prefix("a", "one"), Prefix("b", "two"), Prefix("c", "one")]) == ["a", "b", "a"]
    assert held_out_problems(names, 0.0, 0) == set()
    assert len(held_out_problems(names, 0.001, 0)) == 1
    with pytest.raises(ConfigError, match="leaves none to train on"):
        held_out_problems(["only"], 0.1, 0)


def test_too_long_solutions_are_an_error_or_counted() -> None:
    """A solution above the limit names itself, or is left out and counted; it is never cut."""
    model, rows = tiny_models.reward_model(), tiny_tasks.labelled(problems=4)
    lengths = sorted(len(model.encoder.encode(solution.prefix).ids) for solution, _ in rows)
    limit = lengths[len(lengths) // 2]
    kept = sum(length <= limit for length in lengths)
    config = TrainConfig(max_length=limit)
    materials = from_labelled(rows, config.targets)

    with pytest.raises(
        InputError, match=rf"solution of problem 'p\d'.* expected at most {limit} tokens.*too_long=drop"
    ):
        prepare(config, materials, model)
    prepared = prepare(replace(config, too_long="drop"), materials, model)

    assert 0 < kept < len(rows)
    assert (prepared.read, prepared.used) == (len(rows), kept)
    assert prepared.drops == {f"longer than {limit} tokens": len(rows) - kept}
    with pytest.raises(InputError, match=f"nothing is left .*{len(rows)} x longer than 2 tokens"):
        prepare(replace(config, max_length=2, too_long="drop"), materials, model)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"objective": "bradley-terry"}, 'needs kind="orm"'),
        ({"reduction": "outcome"}, "a PRM needs one over steps"),
        ({"held_out": 1.0}, "held_out"),
        ({"freeze": True, "lora_rank": 4}, "choose one"),
        ({"lora_rank": -1}, "lora_rank"),
        ({"max_length": 0}, "max_length"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, Any], message: str) -> None:
    """Each impossible combination names the setting."""
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"warmup": 1.0},
        {"clip": 0.0},
        {"batch_tokens": 0},
        {"checks": 0},
    ],
)
def test_fit_settings_outside_their_range_are_refused(wrong: dict[str, Any]) -> None:
    """Each one names itself."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FitConfig(**wrong)


def test_sources_without_anything_usable_say_what_was_dropped(backbone: str, tmp_path: Path) -> None:
    """An ORM asked to learn from solutions without verdicts fails with the count and the reason."""
    records.write_solutions(tmp_path / "solutions.jsonl", [replace(s, verdict=None) for s in outcomes()])
    config = TrainConfig(
        data=(str(tmp_path / "solutions.jsonl"),), out=str(tmp_path / "m"), backbone=backbone, kind="orm", device="cpu"
    )

    with pytest.raises(InputError, match="96 x no verdict"):
        train_stage(config, quiet=True)


def test_preferences_come_from_pairs_or_from_verdicts(backbone: str, tmp_path: Path) -> None:
    """Bradley-Terry reads a file of pairs, or makes pairs of solutions with verdicts and counts what gave none."""
    solutions = outcomes()
    records.write_solutions(tmp_path / "solutions.jsonl", solutions)
    right = [solution.prefix for solution in solutions if solution.verdict == "correct"]
    wrong = [solution.prefix for solution in solutions if solution.verdict == "incorrect"]
    pairs = [Pair(a, b) for a in right for b in wrong if a.problem_id == b.problem_id]
    records.write_pairs(tmp_path / "pairs.jsonl", pairs)
    fit = replace(FAST, epochs=1)
    config = TrainConfig(
        kind="orm", objective="bradley-terry", weighting="trajectory", backbone=backbone, fit=fit, device="cpu"
    )

    reports = {
        name: train_stage(
            replace(config, data=(str(tmp_path / name),), out=str(tmp_path / f"{name}.model")), quiet=True
        )
        for name in ("pairs.jsonl", "solutions.jsonl")
    }

    assert reports["pairs.jsonl"]["rows"] == {"read": len(pairs), "used": len(pairs), "dropped": {}}
    made = reports["solutions.jsonl"]
    assert 0 < made["rows"]["used"] == made["rows"]["read"] < len(pairs)
    assert f"{made['rows']['read']} pairs of {len(solutions)} solutions; left out: " in made["notes"][0]
    assert "x repeated" in made["notes"][0]
    assert checkpoint.load(tmp_path / "pairs.jsonl.model", device="cpu").recipe.labels["objective"] == "bradley-terry"


def test_a_smaller_choice_of_problems_is_part_of_a_larger_one() -> None:
    """`problems` keeps whole problems, chosen by the seed, counts the rest, and grows by adding."""
    model, rows = tiny_models.reward_model(), tiny_tasks.labelled()
    kept = []
    for problems in (3, 6, 100):
        config = TrainConfig(problems=problems, held_out=0)
        prepared = prepare(config, from_labelled(rows, config.targets), model)
        assert prepared.problems == min(problems, 12)
        assert prepared.used + prepared.drops.total() == prepared.read == len(rows)
        blocks = [block for lesson in prepared.lessons for block in lesson.blocks]
        kept.append({tuple(b.ids[node] for node in b.path(member)) for b in blocks for member in b.members})

    assert kept[0] < kept[1] < kept[2]
