"""Checkpoints of public formats with the published classes, key names, special tokens and templates, and random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

from gradatim.core import Prefix, Step

CHATML = """{%- if messages[0]['role'] != 'system' -%}{{- 'DEFAULT' }}{%- endif %}
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Qwen 2.5's template without its tools; DEFAULT stands for what it writes where no system message is passed."""
NO_SYSTEM = CHATML.replace("DEFAULT", "")
MATH = "Please reason step by step, and put your final answer within \\boxed{}."
MATH_SYSTEM = CHATML.replace(
    "DEFAULT",
    "<|im_start|>system\\nPlease reason step by step, and put your final answer within \\\\boxed{}.<|im_end|>\\n",
)
HELPFUL_SYSTEM = CHATML.replace("DEFAULT", "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n")
LLAMA = """{{- bos_token }}{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}"""
"""Llama 3's: it trims contents."""

QWEN_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>")
LLAMA_SPECIALS = ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<pad>")
CORPUS = ["Janet has 3 bags with 4 apples each.\n\nSo 3 * 4 = 12.\n\nThe answer is 12. Please reason step by step."] * 5


def tokenizer(
    template: str | None, specials: Sequence[str], *, plain: Sequence[str] = (), bos: str | None = None, pad: str
) -> Any:
    """Byte-level BPE with these special tokens, and with `plain` as added tokens that do not count as special."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in specials])
    inner.add_tokens([AddedToken(name, special=False, normalized=False) for name in plain])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=bos, eos_token=pad, pad_token=pad)
    made.chat_template = template
    return made


def qwen_tokenizer(template: str | None = MATH_SYSTEM, *, tag: str | None = "special") -> Any:
    """Qwen's; the step tag is a special token, an added token ("plain"), or missing (None)."""
    specials = QWEN_SPECIALS if tag == "special" else QWEN_SPECIALS[:-1]
    plain = ("<extra_0>",) if tag == "plain" else ()
    return tokenizer(template, specials, plain=plain, pad="<|endoftext|>")


def llama_tokenizer(template: str | None = LLAMA) -> Any:
    """Llama 3's, with a beginning of text."""
    return tokenizer(template, LLAMA_SPECIALS, bos="<|begin_of_text|>", pad="<pad>")


def qwen_weights(labels: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """`model.*` and the two-layer head of Qwen's reward models."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = Qwen2Model(_qwen_config()).state_dict()
        head = {
            "score.0.weight": torch.randn(32, 32) * 0.3,
            "score.0.bias": torch.randn(32),
            "score.2.weight": torch.randn(labels, 32),
            "score.2.bias": torch.randn(labels),
        }
    return {**{f"model.{name}": value for name, value in body.items()}, **head}


def qwen_checkpoint(folder: Path, labels: int = 2, **changes: Any) -> Path:
    """A Qwen2.5-Math-PRM (2 labels) or -RM (1); `changes`: tokenizer, weights, and entries of the configuration."""
    made = changes.pop("tokenizer", None) or qwen_tokenizer()
    weights = changes.pop("weights", None) or qwen_weights(labels)
    name = "Qwen2ForProcessRewardModel" if labels == 2 else "Qwen2ForRewardModel"
    config = {**_qwen_config().to_dict(), "architectures": [name], "num_labels": labels, **changes}
    return write(folder, config, weights, made)


def llama_classifier(folder: Path, made: Any = None, **changes: Any) -> Path:
    """A Llama 3 sequence classifier, as Skywork-Reward is one."""
    made = made or llama_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        **{
            "vocab_size": 400,
            **sizes,
            "initializer_range": 0.3,
            "num_labels": 1,
            "pad_token_id": made.pad_token_id,
            **changes,
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForSequenceClassification(config)
    return write(
        folder, {**config.to_dict(), "architectures": ["LlamaForSequenceClassification"]}, model.state_dict(), made
    )


def write(folder: Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], made: Any) -> Path:
    """A folder as it is published: configuration, weights as they are, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    made.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    return folder


def _qwen_config() -> Qwen2Config:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return Qwen2Config(
        vocab_size=400,
        **sizes,
        num_key_value_heads=2,
        initializer_range=0.3,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )


def solution(*steps: str, prompt: str = "Janet has 3 bags with 4 apples each. How many apples?") -> Prefix:
    """A solution of the steps."""
    return Prefix("p", prompt, tuple(map(Step, steps)))


SOLUTIONS = [
    solution("Each bag has 4 apples.\n\n", "So there are 3 * 4 = 12 apples.\n\n", "The answer is 12."),
    solution("Each bag has 4 apples.\n\n", "So there are 3 + 4 = 7 apples.\n\n", "The answer is 7."),
    solution("We take $\\sqrt{4} = 2$:\n\n- 2 bags\n\n\n", "ж 漢字 🙂\n\n", "def f(n):\n    return n"),
    solution("The answer is 12."),
]
"""Awkward in the usual ways, but without control tokens in them."""
