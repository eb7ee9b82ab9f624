"""Checkpoints: what is saved is what is loaded, here and by stock transformers; anything else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from gradatim.errors import CheckpointError, ConfigError
from gradatim.models import checkpoint
from gradatim.models.encoding import EncoderSettings
from gradatim.models.model import Kind, Recipe, RewardModel
from gradatim.trees import chains
from tiny_models import prefixes, reward_model

ARCHITECTURES = ["llama", "qwen2", "gpt2"]


def logits(model: RewardModel) -> list[float]:
    """The model's logits for some solutions, in the order of their blocks."""
    encodings = model.encoder.encode_many(prefixes())
    blocks = chains([encoding.ids for encoding in encodings])
    nodes = [[n for m in block.members for n in block.nodes(m, model.reads(encodings[m]))] for block in blocks]
    with torch.inference_mode():
        return list(model.logits(blocks, nodes).tolist())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_a_loaded_model_is_the_saved_one(tmp_path: Path, architecture: str, kind: Kind) -> None:
    """Logits, encoder and everything that is told of a model come back exactly."""
    recipe = Recipe(
        backbone="tiny", labels={"labels": "hard", "by": ["someone"]}, data={"labels.jsonl": "3f2a"},
        weighting="prefix", card={"f1": 0.5},
    )  # fmt: skip
    settings = EncoderSettings(separator=" <step>\n", prompt_template="Q: {prompt}\n")
    saved = replace(reward_model(kind, architecture, settings=settings), threshold=0.3, recipe=recipe)

    checkpoint.save(saved, tmp_path / "model")
    loaded = checkpoint.load(tmp_path / "model")
    assert logits(loaded) == logits(saved)
    for name in ("kind", "name", "reduction", "threshold", "recipe"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert loaded.encoder.settings == settings
    assert (loaded.encoder.digest, loaded.encoder.max_length) == (saved.encoder.digest, 512)
    assert not loaded.module.training


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stock_transformers_reads_a_prm(tmp_path: Path, architecture: str) -> None:
    """AutoModelForTokenClassification gives the same logits at the reads, with LABEL_1 for correct."""
    model = reward_model("prm", architecture)
    checkpoint.save(model, tmp_path)
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    prefix = prefixes()[2]
    encoding = model.encoder.encode(prefix)
    (block,) = chains([encoding.ids])

    with torch.inference_mode():
        labels = stock(torch.tensor([encoding.ids])).logits[0, list(model.reads(encoding))]
        found = model.logits([block], [block.nodes(0, model.reads(encoding))])
    torch.testing.assert_close(labels[:, 1] - labels[:, 0], found, rtol=0, atol=1e-6)
    assert stock.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert stock.config.pad_token_id == tokenizer.pad_token_id != model.encoder.separator_id


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stock_transformers_pools_an_orm_at_its_last_separator(tmp_path: Path, architecture: str, side: str) -> None:
    """A padded batch through AutoModelForSequenceClassification gives our values, whichever side the padding is on."""
    model = reward_model("orm", architecture)
    checkpoint.save(model, tmp_path)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, padding_side=side)
    encodings = model.encoder.encode_many([prefixes()[1], prefixes()[2]])
    batch = tokenizer.pad({"input_ids": [list(encoding.ids) for encoding in encodings]}, return_tensors="pt")

    # Positions are the caller's to give where padding is on the left: GPT-2 counts padding otherwise.
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp_min(0)
    with torch.inference_mode():
        pooled = stock(**batch, position_ids=positions).logits[:, 0]
        blocks = [chains([encoding.ids])[0] for encoding in encodings]
        found = model.logits(blocks, [block.leaves for block in blocks])
    assert (batch["attention_mask"] == 0).any()
    torch.testing.assert_close(pooled, found, rtol=0, atol=1e-5)


def test_half_the_bytes_round_the_weights_only(tmp_path: Path) -> None:
    """dtype="bfloat16" halves the file; loaded in float32 the model is the one with rounded weights."""
    model = reward_model()
    checkpoint.save(model, tmp_path / "whole")
    checkpoint.save(model, tmp_path / "half", dtype="bfloat16")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    for value in model.module.parameters():
        value.data = value.data.bfloat16().float()

    loaded = checkpoint.load(tmp_path / "half")
    assert sizes[1] < 0.6 * sizes[0]
    assert {value.dtype for value in loaded.module.parameters()} == {torch.float32}
    assert logits(loaded) == logits(model)


def test_a_run_folder_holds_its_model(tmp_path: Path) -> None:
    """A run's folder loads the model in its `model/`."""
    checkpoint.save(reward_model(), tmp_path / "run" / "model")

    assert checkpoint.load(tmp_path / "run").name == "tiny prm"


def test_saving_again_replaces_what_was_there(tmp_path: Path) -> None:
    """The second save wins whole, files that are not ours stay."""
    (tmp_path / "notes.txt").write_text("mine")
    checkpoint.save(reward_model(seed=1), tmp_path)
    checkpoint.save(reward_model(seed=2), tmp_path)

    assert logits(checkpoint.load(tmp_path)) == logits(reward_model(seed=2))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def _card(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "gradatim.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path, metadata={"format": "pt"})

    return damage


def _other_vocabulary(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(content))


def _other_splitting(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["pre_tokenizer"]["add_prefix_space"] = True
    path.write_text(json.dumps(content))


def _other_separator(folder: Path) -> None:
    path = folder / "gradatim.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "encoder": {**card["encoder"], "separator": "\n\n"}}))


def _half_written(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "save did not end": (lambda folder: (folder / "gradatim.json").unlink(), "no gradatim.json"),
    "no json": (lambda folder: (folder / "gradatim.json").write_text("{"), "no JSON"),
    "a list": (lambda folder: (folder / "gradatim.json").write_text("[]"), "no encoder, kind"),
    "another schema": (_card(schema=99), "schema 99"),
    "another kind": (_card(kind="critic"), "kind 'critic'"),
    "reduction of another kind": (_card(reduction="outcome"), "does not fit kind='prm'"),
    "unknown recipe": (_card(recipe={"secret": 1}), "secret"),
    "no recipe": (_card(recipe=[]), "mapping"),
    "the other kind": (_card(kind="orm", reduction="outcome"), "weights do not fit|mismatch|size"),
    "encoder without digest": (_card(encoder={"separator": "\n"}), "encoder has"),
    "another separator": (_other_separator, "trained on steps@.* now encode steps@"),
    "another vocabulary": (_other_vocabulary, "trained on steps@.* now encode steps@"),
    "another pre-tokenizer": (_other_splitting, "trained on steps@.* now encode steps@"),
    "no head": (_weights(lambda weights: weights.pop("score.weight")), "missing_keys.*score.weight"),
    "a layer too many": (
        _weights(lambda weights: weights.update({"model.layers.9.mlp.up_proj.weight": torch.zeros(3, 3)})),
        "unexpected_keys",
    ),
    "a head of another shape": (
        _weights(lambda weights: weights.update({"score.weight": torch.zeros(3, 32)})),
        "mismatch|size",
    ),
    "half a file": (_half_written, "can't be loaded: .*not fully covered"),
    "pickled weights": (_pickled, "safetensors"),
    "no tokenizer": (
        lambda folder: [path.unlink() for path in folder.glob("token*")],
        "tokenizer|steps@",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: str) -> None:
    """Whatever was changed after the save is found, and nothing is made up in its place."""
    checkpoint.save(reward_model(), tmp_path)
    act, message = DAMAGES[damage]
    act(tmp_path)

    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The error says what would be accepted."""
    with pytest.raises(CheckpointError, match="no such folder; expected a saved reward model"):
        checkpoint.load(tmp_path / "nowhere")


def test_an_unknown_number_format_is_refused(tmp_path: Path) -> None:
    """float8 is no number format here."""
    with pytest.raises(ConfigError, match="dtype='float8'"):
        checkpoint.load(tmp_path, dtype="float8")


def test_a_save_that_can_not_be_leaves_the_older_one(tmp_path: Path) -> None:
    """Its number format is checked before anything is taken away."""
    model = reward_model()
    checkpoint.save(model, tmp_path)
    with pytest.raises(ConfigError, match="dtype='float8'"):
        checkpoint.save(model, tmp_path, dtype="float8")
    assert logits(checkpoint.load(tmp_path)) == logits(model)
