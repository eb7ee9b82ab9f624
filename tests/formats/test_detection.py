"""Which format a checkpoint is in: told by what is in it, or refused with what was found and expected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file
from tiny_checkpoints import (
    SOLUTIONS,
    llama_classifier,
    qwen_checkpoint,
    qwen_tokenizer,
    qwen_weights,
)
from typer.testing import CliRunner

import gradatim
from gradatim.cli import app
from gradatim.errors import BackendError, CheckpointError, ConfigError
from gradatim.models import checkpoint, formats
from gradatim.score.engine import ModelScorer
from tiny_models import prefixes, reward_model

MADE: dict[str, Callable[[Path], Path]] = {
    "qwen-prm": qwen_checkpoint,
    "qwen-rm": lambda folder: qwen_checkpoint(folder, labels=1),
    "sequence-classification": llama_classifier,
}


@pytest.mark.parametrize("name", MADE)
def test_the_folders_name_says_nothing(tmp_path: Path, name: str) -> None:
    """A folder named like another model is still what is in it; the score is signed with both."""
    folder = MADE[name](tmp_path / "math-shepherd-mistral-7b-prm")
    assert gradatim.load(folder, device="cpu").name == f"{name} math-shepherd-mistral-7b-prm"


def test_format_names_are_distinct_and_options_are_told() -> None:
    """A format is found by its name, and every option has its line."""
    names = [one.name for one in formats.FORMATS]
    assert len(set(names)) == len(names)
    assert all(told.strip() for one in formats.FORMATS for told in one.options.values())


def without(*names: str) -> dict[str, torch.Tensor]:
    """A PRM's weights, some left out."""
    return {name: value for name, value in qwen_weights(2).items() if name not in names}


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no head": (
        lambda folder: qwen_checkpoint(
            folder, weights=without(*[k for k in qwen_weights(2) if k.startswith("score.")])
        ),
        r"no weight for score.0.weight, expected shape \(32, 32\)",
    ),
    "half a head": (
        lambda folder: qwen_checkpoint(folder, weights=without("score.2.bias")),
        r"found no weight for score.2.bias, expected shape \(2,\)",
    ),
    "a head with three labels": (
        lambda folder: qwen_checkpoint(folder, weights={**qwen_weights(3)}),
        r"found \(3, 32\) for score.2.weight, expected shape \(2, 32\)",
    ),
    "a deeper head": (
        lambda folder: qwen_checkpoint(folder, weights={**qwen_weights(2), "score.4.weight": torch.ones(2, 2)}),
        "found score.4.weight, expected no such weight",
    ),
    "another class": (
        lambda folder: qwen_checkpoint(folder, architectures=["Qwen2ForCausalLM"]),
        "found architecture 'Qwen2ForCausalLM', expected Qwen2ForProcessRewardModel",
    ),
    "the outcome model's class": (
        lambda folder: qwen_checkpoint(folder, architectures=["Qwen2ForRewardModel"]),
        r"found \(2, 32\) for score.2.weight, expected shape \(1, 32\)",
    ),
    "another tokenizer": (
        lambda folder: qwen_checkpoint(folder, tokenizer=qwen_tokenizer(tag=None)),
        "tokens for '<extra_0>' .* expected exactly one",
    ),
    "no chat template": (
        lambda folder: qwen_checkpoint(folder, tokenizer=qwen_tokenizer("")),
        "found for a chat template none, expected",
    ),
    "a layer too few": (
        lambda folder: qwen_checkpoint(folder, weights=without("model.layers.1.mlp.up_proj.weight")),
        "do not fit Qwen2Model .missing keys: layers.1.mlp.up_proj.weight.; expected each of its weights once",
    ),
    "a weight too many": (
        lambda folder: qwen_checkpoint(folder, weights={**qwen_weights(2), "v_head.summary.weight": torch.ones(1, 32)}),
        "unexpected keys: v_head.summary.weight.; expected .* beside them only .*score.0.bias",
    ),
    "a weight of another shape": (
        lambda folder: qwen_checkpoint(folder, weights={**qwen_weights(2), "model.norm.weight": torch.ones(16)}),
        "norm.weight|size mismatch|mismatched",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_half_a_match_is_refused(tmp_path: Path, fault: str) -> None:
    """Nothing is made up, left over or read in the nearest way: the error says what was found and what was expected."""
    make, message = BROKEN[fault]
    make(tmp_path / "model")
    with pytest.raises(CheckpointError, match=f"(?s)found.*{message}|{message}"):
        gradatim.load(tmp_path / "model", device="cpu")


def test_what_resembles_nothing_is_refused(tmp_path: Path) -> None:
    """With the formats there are."""
    folder = qwen_checkpoint(tmp_path / "model", architectures=["T5Model"], weights={"shared.weight": torch.ones(4, 4)})
    with pytest.raises(CheckpointError, match=r"found T5Model, which fits no format(?s:.*)expected one of qwen-prm"):
        gradatim.load(folder)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    """Weights that could run code are an error, whatever else is there."""
    folder = qwen_checkpoint(tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    for format in (None, "qwen-prm"):
        with pytest.raises(CheckpointError, match=r"no .safetensors file.*can run code"):
            gradatim.load(folder, format=format)


def test_a_configuration_with_remote_code_runs_none(tmp_path: Path) -> None:
    """Published checkpoints name Python files; they are not looked at."""
    folder = qwen_checkpoint(
        tmp_path / "model",
        auto_map={"AutoModel": "modeling_evil.Model", "AutoConfig": "modeling_evil.Config"},
    )
    (folder / "modeling_evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: ...\nclass Config: ...\n"
    )

    score = gradatim.load(folder, device="cpu").score(SOLUTIONS[:1])[0]

    assert len(score.steps) == 3
    assert not (tmp_path / "ran").exists()


def test_weights_in_several_files(tmp_path: Path) -> None:
    """As large checkpoints come, with an index."""
    whole = qwen_checkpoint(tmp_path / "whole")
    folder = tmp_path / "parts"
    shutil.copytree(whole, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: weights[name] for name in some}, folder / file, {"format": "pt"})
    index = {name: file for file, some in parts.items() for name in some}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))

    both = [gradatim.load(one, device="cpu").score(SOLUTIONS) for one in (whole, folder)]

    assert [score.steps for score in both[0]] == [score.steps for score in both[1]]


def test_a_reduction_replaces_the_formats(tmp_path: Path) -> None:
    """The steps stay as they are; one that does not fit is refused."""
    folder = qwen_checkpoint(tmp_path / "model")
    least = gradatim.load(folder, device="cpu", reduction="min").score(SOLUTIONS[:1])[0]
    assert (least.value, least.reduction) == (min(least.steps), "min")
    with pytest.raises(ConfigError, match="outcome"):
        gradatim.load(folder, reduction="outcome")


def test_unknown_formats_and_options_are_refused(tmp_path: Path) -> None:
    """With those that exist."""
    folder = llama_classifier(tmp_path / "model")
    with pytest.raises(ConfigError, match="format='openprm'; expected one of qwen-prm, "):
        gradatim.load(folder, format="openprm")
    with pytest.raises(ConfigError, match="'sequence-classification' has no option separator; expected activation: "):
        gradatim.load(folder, separator="\n")
    with pytest.raises(ConfigError, match="dtype='int8'; expected one of float32"):
        gradatim.load(folder, dtype="int8")


def test_our_own_checkpoints_load_as_before(tmp_path: Path) -> None:
    """From a folder, from a run, by name; `format="gradatim"` says no more than that."""
    model = reward_model()
    checkpoint.save(model, tmp_path / "run" / "model")
    expected = [score.steps for score in ModelScorer(checkpoint.load(tmp_path / "run")).score(prefixes())]
    for source, format in ((tmp_path / "run", None), (tmp_path / "run" / "model", "gradatim")):
        scorer = gradatim.load(source, format=format, device="cpu")
        assert scorer.name == "tiny prm"
        assert [score.steps for score in scorer.score(prefixes())] == expected
    assert gradatim.load("lab").name == gradatim.load("lab", format="gradatim").name
    with pytest.raises(ConfigError, match="our own checkpoints take no options; found separator"):
        gradatim.load("lab", separator="\n")


def test_a_save_that_did_not_end_is_no_public_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights and tokenizer look like a stock classifier's, but how it encodes is not written."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gradatim.runs.atomic_write", stop)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(reward_model(), tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").exists()

    with pytest.raises(CheckpointError, match="a save that did not end"):
        gradatim.load(tmp_path / "model")
    checkpoint.save(reward_model(), tmp_path / "model")
    assert gradatim.load(tmp_path / "model").name == "tiny prm"


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    """An empty folder, and none."""
    with pytest.raises(CheckpointError, match="no such folder; expected a reward model: a folder, a run"):
        gradatim.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"neither gradatim.json nor config.json in it; expected a reward model"):
        gradatim.load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config.json: found list, expected an object"):
        gradatim.load(tmp_path)


def test_a_name_on_the_hub_is_found_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And signed with that name, not with the revision's; one that is not there says what to do."""
    cached = tmp_path / "models--Qwen--Tiny-PRM"
    qwen_checkpoint(cached / "snapshots" / ("0" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    assert gradatim.load("Qwen/Tiny-PRM").name == "qwen-prm Qwen/Tiny-PRM"
    with pytest.raises(BackendError, match="Qwen/Other-PRM: no folder of this name here, and the hub does not give it"):
        gradatim.load("Qwen/Other-PRM")


def test_the_command_line_takes_format_and_options(tmp_path: Path) -> None:
    """`--format` and `--option NAME=VALUE` reach the format."""
    folder = llama_classifier(tmp_path / "model")
    row = json.dumps({"problem": "How many apples?", "steps": ["3 * 4 = 12.", "The answer is 12."]})

    def score(*flags: str) -> Result:
        return CliRunner().invoke(app, ["score", "-", "--model", str(folder), "--json", "--quiet", *flags], input=row)

    good = score("--format", "sequence-classification", "--option", "activation=sigmoid")
    bad, unknown = score("--option", "activation"), score("--format", "qwen-prm")

    expected = gradatim.load(folder, device="cpu", activation="sigmoid")
    steps = ("3 * 4 = 12.\n\n", "The answer is 12.")
    prefix = gradatim.Prefix("p", "How many apples?", tuple(map(gradatim.Step, steps)))
    value = json.loads(good.stdout)["scores"][0]["value"]
    assert value == pytest.approx(expected.score([prefix])[0].value, abs=1e-6)
    assert str(bad.exception) == "--option 'activation'; expected NAME=VALUE"
    assert isinstance(unknown.exception, CheckpointError)
