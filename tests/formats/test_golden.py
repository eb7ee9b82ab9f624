"""Golden cases: what real tokenizers make of public formats, written by other hands. Skipped where either is missing.

The cases lie in $GRADATIM_DATA (default: ../shared/data); `public_tokenizers` says which packages carry vocabularies.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from public_tokenizers import llama3, mistral, qwen
from safetensors.torch import save_file
from token_checkpoints import value_head

from gradatim import backbones
from gradatim.core import Prefix, Step
from gradatim.models import formats
from gradatim.models.formats import pqm
from tiny_models import causal

DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[2] / "../shared/data")) / "formats/golden.jsonl.gz"
ONE, TWO = torch.ones(1, 32), torch.ones(2, 32)
MLP = {"score.0.weight": torch.ones(32, 32), "score.0.bias": torch.ones(32)}
LITERAL = {"literal_separator": "\\n\\n"}


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a checkpoint of a golden format is made: everything that decides tokens is real, the weights are not."""

    format: str
    tokenizer: Callable[[], Any]
    body: str = "qwen2"
    architecture: str = "Qwen2ForCausalLM"
    head: Mapping[str, torch.Tensor] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


TAGGED: dict[str, Any] = {
    "architecture": "Qwen2ForProcessRewardModel",
    "head": {**MLP, "score.2.weight": TWO, "score.2.bias": torch.ones(2)},
}
CLASSIFIER: dict[str, Any] = {
    "format": "trl",
    "tokenizer": qwen,
    "architecture": "Qwen2ForTokenClassification",
    "head": {"score.weight": TWO, "score.bias": torch.ones(2)},
}
CHAT: dict[str, Any] = {"format": "rlhflow", "body": "llama", "architecture": "LlamaForCausalLM"}
GOLDEN = {
    "qwen2.5-math-prm": Made(format="qwen-prm", tokenizer=lambda: qwen(tag=True, system="math"), **TAGGED),
    "reasonflux-prm-7b (no system message rendered)": Made(
        format="reasonflux-prm", tokenizer=lambda: qwen(tag=True), **TAGGED
    ),
    "reasonflux-prm-7b (template fills in Qwen2.5's default system)": Made(
        format="reasonflux-prm", tokenizer=lambda: qwen(tag=True, system="instruct"), **TAGGED
    ),
    "qwen2.5-math-rm (whole answer)": Made(
        format="qwen-rm",
        tokenizer=lambda: qwen(system="math"),
        architecture="Qwen2ForRewardModel",
        head={**MLP, "score.2.weight": ONE, "score.2.bias": torch.ones(1)},
    ),
    "sequence-classification llama-3 (Skywork-Reward style, whole answer)": Made(
        format="sequence-classification",
        tokenizer=llama3,
        body="llama",
        architecture="LlamaForSequenceClassification",
        head={"score.weight": ONE},
    ),
    "math-shepherd": Made(format="math-shepherd", tokenizer=mistral, body="mistral", architecture="MistralForCausalLM"),
    "openr-math-psa": Made(format="math-psa", tokenizer=qwen),
    "er-prm-llama3.1": Made(format="er-prm", tokenizer=llama3, body="llama", architecture="LlamaForCausalLM"),
    "rlhflow-prm-mistral-data": Made(tokenizer=llama3, **CHAT),
    "rlhflow-prm-deepseek-data": Made(tokenizer=llama3, **CHAT),
    "rlhflow-prm-deepseek-data+llama3.1-date-header": Made(tokenizer=lambda: llama3(date=True), **CHAT),
    "skywork-o1-open-prm": Made(format="skywork-prm", tokenizer=lambda: qwen(bos=True), head=value_head()),
    "trl-prm sep=\\n (also PURE's card and RL code)": Made(**CLASSIFIER, options={"separator": "\n"}),
    "trl-prm sep=\\n\\n (also PURE's PRMBench adapter)": Made(**CLASSIFIER, options={"separator": "\n\n"}),
    "trl-prm sep=backslash-n-backslash-n (4 literal characters)": Made(**CLASSIFIER, options=LITERAL),
    "eurusprm": Made(format="implicit", tokenizer=lambda: qwen(system="math")),
    "implicitprm-llama3.1": Made(format="implicit", tokenizer=llama3, body="llama", architecture="LlamaForCausalLM"),
}
"""Name in the golden file -> what is loaded."""


@cache
def cases() -> list[dict[str, Any]]:
    """All golden cases; none where the file is missing."""
    if not DATA.is_file():
        return []
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def prefix_of(case: Mapping[str, Any]) -> Prefix:
    """The solution as a reader would give it: blank lines between the steps."""
    *inner, last = case["steps"]
    return Prefix("golden", case["problem"], (*(Step(f"{text}\n\n") for text in inner), Step(last)))


def loaded(made: Made, tokenizer: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: str) -> Any:
    """The checkpoint, made and loaded; its tokenizer is handed over instead of being written and read again."""
    model = causal(made.body, len(tokenizer), tie_word_embeddings=True, max_position_embeddings=4096)
    model.save_pretrained(folder)
    weights = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file({**weights, **made.head}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text("utf-8"))
    labels = {str(number): f"LABEL_{number}" for number in range(len(made.head.get("score.weight", TWO)))}
    told = {"architectures": [made.architecture], "id2label": labels}
    (folder / "config.json").write_text(json.dumps({**config, **told}), "utf-8")
    monkeypatch.setattr(backbones, "load_tokenizer", lambda name: tokenizer)
    return formats.load(folder, format=made.format, device="cpu", options={**made.options, **options})


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_tokens_and_positions_are_golden(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every id and every position, for every case of a format."""
    made, chosen = GOLDEN[name], [case for case in cases() if case["format"] == name]
    tokenizer = made.tokenizer()
    if not chosen or tokenizer is None:
        pytest.skip("no golden cases" if not chosen else "no package that carries the tokenizer")
    options = {"reference": str(tmp_path)} if made.format == "implicit" else {}
    model = loaded(made, tokenizer, tmp_path, monkeypatch, **options)

    for case in chosen:
        encoding = model.encoder.encode(prefix_of(case))
        reads = model.reads(encoding) if model.kind == "orm" else encoding.reads
        assert list(encoding.ids) == case["ids"], case["case"]
        assert list(reads) == case["read_positions"], case["case"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eurusprm", "implicitprm-llama3.1"])
def test_the_sums_of_implicit_models_are_golden(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading sums from the golden token on, the clean one to the golden end."""
    made, chosen = GOLDEN[name], [case for case in cases() if case["format"] == name]
    tokenizer = made.tokenizer()
    if not chosen or tokenizer is None:
        pytest.skip("no golden cases" if not chosen else "no package that carries the tokenizer")
    readings = {"model_card": "published", "ImplicitPRM/eval/prm_eval_utils.py": "published"}
    readings["ImplicitPRM/eval/processbench.py"] = "processbench"
    models = {
        reading: loaded(made, tokenizer, tmp_path, monkeypatch, reference=str(tmp_path), reading=reading)
        for reading in ("published", "processbench", "clean")
    }

    for case in chosen:
        for source, first in case["sum_from"].items():
            assert models[readings[source]].encoder.encode(prefix_of(case)).counted[0] == first, case["case"]
        assert list(models["clean"].encoder.encode(prefix_of(case)).reads) == case["clean_positions"], case["case"]


def test_the_text_of_pqm_is_golden() -> None:
    """Its tokenizer is nowhere to be had; the text is compared."""
    chosen = [case for case in cases() if case["format"] == "pqm (eval template)"]
    if not chosen:
        pytest.skip("no golden cases")

    for case in chosen:
        assert "".join(piece.text for piece in pqm.render(prefix_of(case))) == case["text"]
