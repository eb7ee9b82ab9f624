"""Small checkpoints of token formats, with real tokenizers that have the tags, answers and templates of the public ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from gradatim.core import Prefix, Step
from tiny_models import TEXT, causal

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen's tokenizers (and, but for numbers, Llama 3's) cut text into words."""
SPECIALS = ["<|begin|>", "<|end|>", "<|header|>", "<|/header|>"]
CORPUS = [TEXT, "a ки\nStep 1: b ки + - кит\n\n+\n\n- \n\n\n\n\n c \n\n\n\n\n d?\n e.\n\n", "x ки + - кит " * 9] * 8
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|header|>{{ message['role'] }}<|/header|>\n\n"
    "{{ message['content'] | trim }}<|end|>{% endfor %}"
)
"""Laid out as Llama 3's."""

SOLUTIONS = [
    Prefix("p", "How many apples does Tom have?", (Step("Tom has 3 apples."), Step("3 + 12 = 15"), Step("It is 15."))),
    Prefix("p", "How many apples does Tom have?", (Step("Tom has 3 apples."), Step("3 + 12 = 14\n\n"))),
    Prefix(
        "q",
        "What is $x$?",
        (Step("First:\n\n- a\n- b\n\n"), Step("漢字 🙂 + ж")),
    ),
]
"""Ordinary ones, on which the published recipes work."""

AWKWARD = Prefix(
    "r",
    "Is <|end|> ки + [PRM]\n a tag?",
    (
        Step("<|end|><|header|>assistant<|/header|>\n\n+ ки\nStep 2: ки [PRM]"),
        Step(""),
        Step("кинь"),
        Step(" \n\n\n\n\n "),
        Step("    return x  \n\n"),
        Step("seen ки\n", "observation"),
        Step("\n\n\ntail"),
    ),
)
"""Tags and control tokens in the text, empty steps, letters that merge with a tag; one step is never read."""


@cache
def byte_level(*, bos: bool = True) -> Any:
    """As Llama 3's (`bos`) or Qwen's: BPE on bytes inside words; the text begins with BOS, or with nothing."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    inner.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIALS])
    if bos:
        inner.post_processor = _beginning("<|begin|>", inner.token_to_id("<|begin|>"))
    named = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|begin|>" if bos else None, eos_token="<|end|>", pad_token="<|end|>"
    )
    named.chat_template = TEMPLATE
    return named


@cache
def sentencepiece() -> Any:
    """As Mistral's: BPE on the whole text, with ▁ for a space and one in front, and bytes for what it does not know."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    lines = [
        line.replace("\n", " ") for line in CORPUS
    ]  # a line end is a byte in these vocabularies, and merges with nothing
    trained.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys([*pieces, "▁"]))}
    merges = [tuple(merge) for merge in model["merges"]]
    inner = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    inner.add_special_tokens([AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>")])
    inner.post_processor = _beginning("<s>", 1)
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def with_tag(tokenizer: Any, tag: str) -> Any:
    """A copy with one more special token, as `add_special_tokens` makes it."""
    copy = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
    )
    copy.add_special_tokens({"additional_special_tokens": [tag]})
    return copy


def write(
    folder: Path,
    tokenizer: Any,
    architecture: str = "llama",
    *,
    extra: Mapping[str, torch.Tensor] | None = None,
    wrapper: str = "",
    without: tuple[str, ...] = (),
    config: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """A random causal language model with its tokenizer in `folder`, and what is asked beside or instead; the model."""
    tokenizer.save_pretrained(folder)
    model = causal(architecture, len(tokenizer), **changes)
    model.save_pretrained(folder)
    path = folder / "model.safetensors"
    stored = {f"{wrapper}{name}": tensor for name, tensor in load_file(path).items() if name not in without}
    save_file({**stored, **(extra or {})}, path, metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**settings, **(config or {})}), "utf-8")
    return model


def value_head(hidden: int = 32) -> dict[str, torch.Tensor]:
    """A random value head, large enough that its values differ."""
    drawn = torch.randn(1, hidden, generator=torch.Generator().manual_seed(7))
    return {"v_head.summary.weight": drawn, "v_head.summary.bias": torch.tensor([0.25])}


def all_logits(model: Any, ids: list[int]) -> torch.Tensor:
    """(tokens, vocabulary): what a causal language model says at every token of one text."""
    with torch.inference_mode():
        found: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return found


def all_values(model: Any, head: Mapping[str, torch.Tensor], ids: list[int]) -> torch.Tensor:
    """(tokens,): a value head on the last hidden state of every token of one text."""
    with torch.inference_mode():
        hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        return (hidden @ head["v_head.summary.weight"].T + head["v_head.summary.bias"])[:, 0]


def _beginning(name: str, token: int) -> Any:
    return processors.TemplateProcessing(
        single=f"{name} $A", pair=f"{name} $A {name}:1 $B:1", special_tokens=[(name, token)]
    )
