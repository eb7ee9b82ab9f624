"""Implicit PRMs from training to scoring: what is learnt, what is saved, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_tasks
import torch

import gradatim
import tiny_models
from gradatim import backbones
from gradatim.core import Pair, Prefix, Step
from gradatim.errors import CheckpointError, ConfigError
from gradatim.models.implicit import ImplicitModel
from gradatim.score.engine import ModelScorer
from gradatim.train import loop, state
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.materials import from_pairs, from_solutions
from gradatim.train.stage import train

SOLUTIONS = [solution for solution, _ in tiny_tasks.labelled(problems=6, draws=6, steps=1)]
FAST = FitConfig(epochs=8, lr=5e-3, batch_tokens=300, block_tokens=300, patience=0)


def tiny_backbone(folder: Path, seed: int = 0) -> str:
    """A language model on disk, small in its weights so that it can learn."""
    tokenizer = tiny_models.bpe_tokenizer()
    model = tiny_models.causal("llama", len(tokenizer), seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(name="backbone", scope="module")
def _backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(name="saved", scope="module")
def _saved(
    backbone: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ImplicitModel, dict[str, Any], TrainConfig]:
    """A short training by cross-entropy, and the folder it was saved in."""
    out = tmp_path_factory.mktemp("trained") / "model"
    config = TrainConfig(
        backbone=backbone, out=str(out), objective="implicit-ce", beta=0.2, held_out=0.2, device="cpu", fit=FAST,
    )  # fmt: skip
    model, report = train(config, from_solutions(SOLUTIONS, config.targets), quiet=True)
    assert isinstance(model, ImplicitModel)
    return model, report, config


def two_steps() -> list[Prefix]:
    """Solutions of new problems, one with an observation in the middle."""
    steps = (Step("Tom\n\n"), Step("Start\n\n"), Step("apples\n\n"))
    acted = (steps[0], Step("Start\n\n", "observation"), steps[2])
    return [Prefix("new", "How many in 13?", steps), Prefix("new", "How many in 31?", acted)]


def gap(scorer: Any) -> float:
    """The mean score of right solutions of new problems, less that of wrong ones."""
    means = []
    for words in (tiny_tasks.RIGHT, tiny_tasks.WRONG):
        values = [score.value for score in scorer.score(tiny_tasks.one_step(words))]
        means.append(sum(values) / len(values))
    return float(means[0] - means[1])


def test_cross_entropy_tells_right_solutions_from_wrong(
    saved: tuple[ImplicitModel, dict[str, Any], TrainConfig],
) -> None:
    """The loss falls below the best constant's; new problems' right solutions score higher; the last step is the value."""
    model, report, _ = saved

    assert report["held_out_loss"] < 0.8 * report["constant_loss"]
    assert gap(ModelScorer(model)) > 0.2
    assert model.reduction == "last"


def test_what_is_saved_loads_by_either_name_with_the_same_scores(
    saved: tuple[ImplicitModel, dict[str, Any], TrainConfig],
) -> None:
    """As any model of ours and as format "implicit"; the reference is found by the backbone's name; nothing is scored twice."""
    model, _, config = saved
    want = ModelScorer(model).score(two_steps())

    plain = gradatim.load(config.out, device="cpu")
    named = gradatim.load(config.out, device="cpu", format="implicit")

    assert [score.logits for score in plain.score(two_steps())] == [score.logits for score in want]
    assert [score.logits for score in named.score(two_steps())] == [score.logits for score in want]
    assert want[1].steps[1] != want[1].steps[1]  # NaN: an observation
    assert plain.name == model.name


def test_the_checkpoint_says_how_it_was_made(saved: tuple[ImplicitModel, dict[str, Any], TrainConfig]) -> None:
    """A stock causal language model, with the objective, beta, the reference and its digest in the configuration."""
    model, _, config = saved
    told = json.loads((Path(config.out) / "config.json").read_text())

    assert told["architectures"] == ["LlamaForCausalLM"]
    own = told["gradatim_implicit"]
    assert (own["reference"], own["beta"]) == (config.backbone, 0.2)
    assert own["fingerprint"] == backbones.fingerprint(backbones.load_model(config.backbone))
    assert own["recipe"]["labels"]["objective"] == "implicit-ce"
    assert own["recipe"]["labels"]["weights"]["positive"] == 1.0
    assert own["recipe"]["card"]["config"]["beta"] == 0.2
    assert model.recipe.labels == own["recipe"]["labels"]


def test_a_training_that_has_ended_is_not_done_again(saved: tuple[ImplicitModel, dict[str, Any], TrainConfig]) -> None:
    """The same call gives the same report and the saved model; other settings are refused."""
    model, report, config = saved
    materials = from_solutions(SOLUTIONS, config.targets)

    again, found = train(config, materials, quiet=True)

    assert found == report
    assert torch.equal(again.module.lm_head.weight, model.module.lm_head.weight)  # type: ignore[union-attr, arg-type]
    with pytest.raises(ConfigError, match="trained otherwise"):
        train(replace(config, beta=0.3), materials, quiet=True)


def test_another_reference_is_refused(saved: tuple[ImplicitModel, dict[str, Any], TrainConfig], tmp_path: Path) -> None:
    """A backbone with other weights under the name is told by its digest, not compared with."""
    _, _, config = saved
    other = tiny_backbone(tmp_path / "other", seed=5)
    scorer = gradatim.load(config.out, device="cpu", reference=other)

    with pytest.raises(CheckpointError, match=r"found weights .* from which the model was trained"):
        scorer.score(two_steps())


def test_what_the_reference_said_can_be_kept(
    saved: tuple[ImplicitModel, dict[str, Any], TrainConfig], tmp_path: Path
) -> None:
    """With its log-probabilities on file, the reference itself is not needed."""
    _, _, config = saved
    cache = str(tmp_path / "reference.sqlite")
    want = gradatim.load(config.out, device="cpu", cache=cache).score(two_steps())

    found = gradatim.load(config.out, device="cpu", cache=cache, reference="nowhere/to-be-found").score(two_steps())

    assert [score.logits for score in found] == [pytest.approx(score.logits, nan_ok=True) for score in want]


@pytest.mark.parametrize("option", [{"beta": 0.1}, {"reading": "clean"}])
def test_beta_and_reading_are_the_models_own(
    saved: tuple[ImplicitModel, dict[str, Any], TrainConfig], option: dict[str, Any]
) -> None:
    """Another beta than it was trained with would be another model."""
    with pytest.raises(ConfigError, match="leave them out"):
        gradatim.load(saved[2].out, device="cpu", format="implicit", **option)


def test_preferences_and_low_rank_updates(backbone: str, tmp_path: Path) -> None:
    """The DPO form with LoRA learns the pairs; the reference's log-probabilities stay in the file for a second training."""
    right = [one.prefix for one in SOLUTIONS if one.verdict == "correct"]
    wrong = [one.prefix for one in SOLUTIONS if one.verdict == "incorrect"]
    pairs = [Pair(a, b) for a in right for b in wrong if a.problem_id == b.problem_id]
    features = tmp_path / "features.sqlite"
    config = TrainConfig(
        backbone=backbone, objective="implicit-dpo", beta=0.2, lora_rank=4, features=str(features), held_out=0.2,
        device="cpu", fit=replace(FAST, epochs=4, lr=1e-2),
    )  # fmt: skip

    model, report = train(config, from_pairs(pairs), quiet=True)
    before = features.read_bytes()
    train(replace(config, fit=replace(FAST, epochs=1)), from_pairs(pairs), quiet=True)

    assert report["held_out_loss"] < 0.8 * report["constant_loss"]
    assert gap(ModelScorer(model)) > 0.1
    assert features.read_bytes() == before


def test_low_rank_updates_leave_a_head_of_its_own_alone(tmp_path: Path) -> None:
    """Where the head is not the embeddings' table it is as frozen as the body: it is as large as the vocabulary."""
    tokenizer = tiny_models.bpe_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    start = tiny_models.causal("llama", len(tokenizer), tie_word_embeddings=False)
    start.save_pretrained(tmp_path)
    config = TrainConfig(
        backbone=str(tmp_path),
        objective="implicit-ce",
        lora_rank=4,
        held_out=0,
        device="cpu",
        fit=replace(FAST, epochs=2),
    )

    model, _ = train(config, from_solutions(SOLUTIONS, config.targets), quiet=True)

    assert torch.equal(model.module.lm_head.weight, start.lm_head.weight)
    changed = [
        name for name, weight in model.module.named_parameters() if not torch.equal(weight, start.get_parameter(name))
    ]
    assert changed
    assert all("_proj" in name for name in changed)


def test_a_training_that_was_stopped_keeps_its_first_reference(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle and begun again, the log-ratios are still those to the model that it started from."""
    fit = replace(FAST, epochs=6, save_minutes=0.0)
    config = TrainConfig(
        backbone=backbone,
        objective="implicit-ce",
        beta=0.2,
        held_out=0.2,
        device="cpu",
        fit=fit,
        out=str(tmp_path / "a"),
    )
    materials = from_solutions(SOLUTIONS, config.targets)
    written: list[int] = []
    write = state.write_state

    def stop(*args: Any, **kwargs: Any) -> None:
        write(*args, **kwargs)
        written.append(args[-1].step)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "write_state", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, materials, quiet=True)
    monkeypatch.undo()
    resumed, found = train(config, materials, quiet=True)
    straight, want = train(replace(config, out=str(tmp_path / "b")), materials, quiet=True)

    assert 0 < written[-1] < want["steps"]
    assert found["history"] == want["history"]
    for name, weight in straight.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[name], weight), name


def test_recomputed_activations_learn_the_same(backbone: str) -> None:
    """Gradient checkpointing changes memory, not the history."""
    fit = replace(FAST, epochs=1)
    config = TrainConfig(backbone=backbone, objective="implicit-ce", beta=0.2, held_out=0.2, device="cpu", fit=fit)
    materials = from_solutions(SOLUTIONS, config.targets)

    plain, recomputed = (
        train(replace(config, fit=replace(fit, checkpointing=on)), materials, quiet=True)[1] for on in (False, True)
    )

    assert plain["held_out_loss"] == pytest.approx(recomputed["held_out_loss"], rel=1e-5)
    assert plain["held_out_loss"] != pytest.approx(plain["constant_loss"], rel=1e-3)
