"""Real tokenizers and real models, small enough to make in a moment. Their weights are large, so that mistakes show."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from gradatim.core import Prefix, Step
from gradatim.models.encoding import EncoderSettings
from gradatim.models.forward import head_of
from gradatim.models.model import Kind, RewardModel

TEXT = """Tom has 3 apples and buys 12 more. How many apples does he have?
Start with 3 apples. Then 3 + 12 = 15. The answer is 15.
define X as Y + Z = 7 + 12 = 19. It follows that a > b."""

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**SIZES, "num_key_value_heads": 2, "initializer_range": 0.3}


def bpe_tokenizer(*, pad: bool = True, bos: bool = True) -> Any:
    """Byte-level BPE, which merges across words and punctuation, with a beginning, an end and a padding token."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    specials = ["<bos>", "<eos>", "<pad>", "<step>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        [TEXT, "a.\n b.\n\n"] * 5,
        trainers.BpeTrainer(vocab_size=330, special_tokens=specials, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<bos>" if bos else None,
        eos_token="<eos>",
        pad_token="<pad>" if pad else None,
        additional_special_tokens=["<step>"],
    )


def word_tokenizer(*, unknown: bool = True) -> Any:
    """A word a token. Its vocabulary holds the control tokens as words, so that text could spell them."""
    words = ["<unk>", "<bos>", "<eos>", "<pad>", "\n", *sorted(set(TEXT.split()))]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>" if unknown else None,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
    )


def causal(architecture: str, vocabulary: int = 330, seed: int = 0, **changes: Any) -> Any:
    """A random causal language model: "llama", "qwen2", "mistral" (sliding window), "gpt2" or "neox"."""
    common = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 512, **changes}
    made: dict[str, Any] = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED, **common)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**GROUPED, **common)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**GROUPED, **{"sliding_window": 32, **common})),
        "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, initializer_range=0.3, **common)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, initializer_range=0.3, **common)),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return made[architecture]().eval()


def reward_model(
    kind: Kind = "prm",
    architecture: str = "llama",
    *,
    tokenizer: Any = None,
    settings: EncoderSettings | None = None,
    seed: int = 0,
    **changes: Any,
) -> RewardModel:
    """A random reward model whose scores differ visibly from step to step."""
    tokenizer = tokenizer or bpe_tokenizer()
    body = causal(architecture, len(tokenizer), seed, **changes)
    model = RewardModel.grow(body, tokenizer, kind=kind, name=f"tiny {kind}", settings=settings, seed=seed)
    with torch.no_grad():
        head_of(model.module).weight.mul_(10)
    return model


def prefixes() -> list[Prefix]:
    """Solutions of three problems that share prompts and first steps, in lengths from one step to five."""
    firsts = ["Start with 3 apples.\n\n", "define X as Y + Z = 19\n"]
    seconds = ["Then 3 + 12 = 15.\n\n", "Then 3 + 12 = 14.\n\n", "It follows that a > b. ж 漢字 🙂\n"]
    made = []
    for number in range(3):
        prompt = f"Tom has {number} apples and buys 12 more. How many apples does he have?"
        for first in firsts:
            for count, second in enumerate(seconds):
                texts = [first, second, *["The answer is 15."] * count]
                made.append(Prefix(f"p{number}", prompt, tuple(map(Step, texts))))
        made.append(Prefix(f"p{number}", prompt, (Step(firsts[0]),)))
    return made
