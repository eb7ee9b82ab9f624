"""Conversions keep every score, or refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

import gradatim
from gradatim.core import Prefix, Step
from gradatim.errors import CheckpointError, ConfigError
from gradatim.models import checkpoint, served
from gradatim.models.convert import convert
from gradatim.models.encoding import EncoderSettings
from gradatim.models.forward import head_of
from gradatim.models.model import RewardModel
from gradatim.score.engine import ModelScorer
from tiny_models import bpe_tokenizer, causal, prefixes, reward_model
from vllm_server import Version, serving

TRL = EncoderSettings(separator="\n\n", prompt_template="{prompt}")


def biased(kind: Any = "prm", architecture: str = "llama", **changes: Any) -> RewardModel:
    model = reward_model(kind, architecture, **changes)
    if kind == "prm":
        with torch.no_grad():
            head_of(model.module).bias.copy_(torch.tensor([0.3, -0.4]))
    return model


def logits(scorer: ModelScorer) -> list[tuple[float, ...]]:
    return [score.logits or () for score in scorer.score(prefixes())]


def check_same(found: ModelScorer, expected: ModelScorer) -> None:
    for one, other in zip(logits(found), logits(expected), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gpt2"])
@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_what_vllm_serves_is_the_model(tmp_path: Path, kind: Any, architecture: str) -> None:
    """A stock sequence classifier's numbers at each read, and the card's offset, give our logits."""
    model = biased(kind, architecture)
    told = convert(model, tmp_path / "served", to="vllm")
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "served").eval()
    reading = served.read(tmp_path / "served")

    assert told == f"vllm serve {tmp_path / 'served'} --runner pooling --convert classify"
    assert (reading.name, reading.kind, reading.encoder.digest) == (model.name, kind, model.encoder.digest)
    assert json.loads((tmp_path / "served" / "config.json").read_text())["architectures"][0].endswith(
        "ForSequenceClassification"
    )
    assert stock.score.bias is None
    for prefix, expected in zip(prefixes(), logits(ModelScorer(model)), strict=True):
        encoding = reading.encoder.encode(prefix)
        with torch.inference_mode():
            numbers = stock.score(getattr(stock, stock.base_model_prefix)(torch.tensor([encoding.ids]))[0])[0]
        rows = [numbers[place] for place in model.reads(encoding)]
        found = [float(row[-1] - row[0] if len(row) == 2 else row[0]) + reading.offset for row in rows]
        assert found == pytest.approx(expected, abs=1e-5)


def test_two_rows_of_a_language_model_are_enough(tmp_path: Path) -> None:
    """A judge's other rows are left out, the scores stay, and the folder says its format."""
    tokenizer = _judging_tokenizer()
    causal("llama", len(tokenizer)).save_pretrained(tmp_path / "judge")
    tokenizer.save_pretrained(tmp_path / "judge")
    judge = gradatim.load(tmp_path / "judge", format="er-prm", device="cpu")

    convert(judge.model, tmp_path / "cut", to="vllm", format="er-prm")
    cut = gradatim.load(tmp_path / "cut", device="cpu")
    check_same(cut, judge)
    with safe_open(tmp_path / "cut" / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
        assert file.get_slice("score.weight").get_shape() == [2, 32]
    assert cut.model.encoder.digest == judge.model.encoder.digest
    with pytest.raises(ConfigError, match="say which with format="):
        convert(judge.model, tmp_path / "unsaid", to="vllm")
    with pytest.raises(CheckpointError, match=r"no gradatim-served\.json"):
        served.read(tmp_path / "cut")


def _judging_tokenizer() -> Any:
    """A byte-level tokenizer in which the tag and both answers are one token behind a word."""
    tokenizer = bpe_tokenizer()
    tokenizer.add_tokens([" ки", " +", " -"])
    return tokenizer


def test_to_trl_and_back(tmp_path: Path) -> None:
    """The separator travels in the configuration; stock transformers and `gradatim.load` read the same logits."""
    model = biased(settings=TRL)
    convert(model, tmp_path / "trl", to="trl")
    scorer = gradatim.load(tmp_path / "trl", device="cpu")
    check_same(scorer, ModelScorer(model))
    assert scorer.model.encoder.digest == model.encoder.digest

    convert(scorer.model, tmp_path / "own", to="gradatim")
    check_same(ModelScorer(checkpoint.load(tmp_path / "own", device="cpu")), ModelScorer(model))
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path / "trl")
    assert stock.config.step_separator == "\n\n"
    assert torch.equal(stock.score.bias, head_of(model.module).bias)


def test_pure_reads_the_separator_too(tmp_path: Path) -> None:
    """format="pure" takes what the configuration says, and can't be put back into a form that has no such score."""
    convert(biased(settings=TRL), tmp_path / "trl", to="trl")
    pure = gradatim.load(tmp_path / "trl", format="pure", device="cpu")
    assert pure.model.encoder.settings.separator == "\n\n"
    for form in ("gradatim", "trl"):
        with pytest.raises(ConfigError, match="activation='centered', expected sigmoid"):
            convert(pure.model, tmp_path / f"to {form}", to=form)


def test_what_would_change_a_score_is_refused(tmp_path: Path) -> None:
    """Templates and kinds that TRL does not have, a folder with something in it, models of more than one piece."""
    with pytest.raises(ConfigError, match="TRL writes nothing around a prompt"):
        convert(reward_model(), tmp_path / "a", to="trl")
    with pytest.raises(ConfigError, match="is an orm"):
        convert(reward_model("orm", settings=TRL), tmp_path / "b", to="trl")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "file").write_text("kept")
    with pytest.raises(ConfigError, match="not empty"):
        convert(reward_model(), tmp_path / "c", to="gradatim")
    deep = reward_model()
    deep.module.score = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Linear(32, 2))
    with pytest.raises(ConfigError, match="more than one layer"):
        convert(deep, tmp_path / "d", to="vllm")


def test_a_changed_tokenizer_is_noticed(tmp_path: Path) -> None:
    """The card's digest holds the tokenizer and the settings together."""
    convert(reward_model(), tmp_path / "served", to="vllm")
    card = json.loads((tmp_path / "served" / served.CARD).read_text())
    card["encoder"]["separator"] = "\n\n"
    (tmp_path / "served" / served.CARD).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="convert the model again"):
        served.read(tmp_path / "served")


def test_conversion_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    """Configuration, head and scores of what was converted stay."""
    model = biased(settings=TRL)
    before, config = logits(ModelScorer(model)), model.module.config.to_dict()
    convert(model, tmp_path / "a", to="vllm")
    convert(replace(model, threshold=0.3), tmp_path / "b", to="trl")
    assert model.module.config.to_dict() == config
    assert logits(ModelScorer(model)) == before
    assert ModelScorer(model).score([Prefix("p", "q", (Step("a"),))])[0].steps


def test_the_command_line_converts_and_scores_through_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gradatim convert --to vllm`, then `gradatim score --server`: the scores of the model itself."""
    from gradatim.cli import app

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    checkpoint.save(biased(), tmp_path / "own")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"problem": "How many?", "steps": ["Start with 3 apples.", "The answer is 15."]}) + "\n")

    def run(*words: str) -> Any:
        with pytest.raises(SystemExit) as end:
            app([*words, "--json", "--quiet"])
        assert end.value.code == 0
        return json.loads(capsys.readouterr().out)

    said = run("convert", str(tmp_path / "own"), str(tmp_path / "served"), "--to", "vllm")
    assert said["use"].startswith("vllm serve")
    expected = run("score", str(rows), "--model", str(tmp_path / "own"))
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "served").eval()
    with serving(stock, Version()) as url:
        found = run("score", str(rows), "--model", str(tmp_path / "served"), "--server", url)
    assert found["scores"][0]["steps"] == pytest.approx(expected["scores"][0]["steps"], abs=1e-5)
    assert found["model"] == expected["model"]
    assert "use_activation=false" in found["stats"]["notes"][0]


def test_a_public_format_is_not_for_our_client(tmp_path: Path) -> None:
    """What was written says so, and so does the client that finds no card."""
    tokenizer = _judging_tokenizer()
    causal("llama", len(tokenizer)).save_pretrained(tmp_path / "judge")
    tokenizer.save_pretrained(tmp_path / "judge")
    judge = gradatim.load(tmp_path / "judge", format="er-prm", device="cpu")

    told = convert(judge.model, tmp_path / "cut", to="vllm", format="er-prm")
    assert told.startswith(f"vllm serve {tmp_path / 'cut'} --runner pooling --convert classify  # er-prm: ")
    assert "`gradatim score --server` takes no public format" in told
    with pytest.raises(
        CheckpointError, match="another public format can't be scored through a server: leave out --server"
    ):
        served.read(tmp_path / "cut")


@pytest.mark.parametrize("format", ["skywork-prm", "pqm"])
def test_value_heads_are_not_served(tmp_path: Path, format: str) -> None:
    """Not even one whose bias is 0: what is written could not be loaded as what it says it is."""
    tokenizer = bpe_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[PRM]"] if format == "pqm" else []})
    model = causal("llama", len(tokenizer), tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    weights = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    head = {"v_head.summary.weight": torch.ones(1, 32), "v_head.summary.bias": torch.zeros(1)}
    save_file({**weights, **head}, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    scorer = gradatim.load(tmp_path / "model", format=format, device="cpu")

    with pytest.raises(ConfigError, match=rf"has a value head \({format}\), which no form for vLLM holds"):
        convert(scorer.model, tmp_path / "served", to="vllm", format=format)
    assert not (tmp_path / "served").exists()
