"""Real tokenizers of public reward models, from packages that happen to carry their vocabularies.

    pip install --no-deps dashscope llama-models mistral-common

Without a package its tokenizer is None. Nothing of the packages is imported: only their data files are read.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}NUMBER| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN_SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
LLAMA_NAMED = {
    0: "<|begin_of_text|>", 1: "<|end_of_text|>", 4: "<|finetune_right_pad_id|>", 6: "<|start_header_id|>",
    7: "<|end_header_id|>", 8: "<|eom_id|>", 9: "<|eot_id|>", 10: "<|python_tag|>",
}  # fmt: skip

QWEN_TEMPLATE = """{%- if messages[0]['role'] == 'system' -%}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else -%}
    {{- 'SYSTEM' }}
{%- endif %}
{%- for message in messages -%}
    {%- if (message['role'] != 'system') or not loop.first -%}
        {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
    {%- endif -%}
{%- endfor %}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Qwen 2.5's, without its tools; SYSTEM stands for what is written where no system message is passed."""
MATH_SYSTEM = (
    "<|im_start|>system\\nPlease reason step by step, and put your final answer within \\\\boxed{}.<|im_end|>\\n"
)
INSTRUCT_SYSTEM = (
    "<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n"
)

LLAMA_TEMPLATE = """{{- bos_token }}HEADER
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""
"""Llama 3's; HEADER stands for what Llama 3.1's writes first."""
DATE_HEADER = (
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: '"
    " + (date_string if date_string is defined else '26 Jul 2024') + '\\n\\n<|eot_id|>' }}"
)


@cache
def qwen(*, tag: bool = False, bos: bool = False, system: str = "") -> Any:
    """Qwen 2.5's tokenizer; `tag`: as in the PRM, with <extra_0> for 151651; `bos`: with <|endoftext|> as BOS;
    `system`: what the chat template writes where no system message is passed, "math", "instruct" or nothing."""
    path = _data("dashscope", "resources/qwen.tiktoken")
    if path is None:
        return None
    specials = ["<extra_0>" if tag and name == "<|quad_end|>" else name for name in QWEN_SPECIALS]
    inner = _byte_level(path, r"")
    inner.normalizer = normalizers.NFC()
    inner.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in specials])
    named = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<|endoftext|>" if bos else None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    written = {"": "", "math": MATH_SYSTEM, "instruct": INSTRUCT_SYSTEM}[system]
    named.chat_template = QWEN_TEMPLATE.replace("SYSTEM", written)
    return named


@cache
def llama3(*, date: bool = False) -> Any:
    """Llama 3.1's tokenizer, with a chat template with or without its date header."""
    path = _data("llama_models", "llama3/tokenizer.model")
    if path is None:
        return None
    inner = _byte_level(path, "{1,3}")
    names = [LLAMA_NAMED.get(index, f"<|reserved_special_token_{index}|>") for index in range(256)]
    inner.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    inner.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A",
        pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
        special_tokens=[("<|begin_of_text|>", 128000)],
    )
    named = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    named.chat_template = LLAMA_TEMPLATE.replace("HEADER", DATE_HEADER if date else "")
    return named


@cache
def mistral() -> Any:
    """Mistral 7B v0.1's tokenizer, as a tokenizer.json of that time has it."""
    path = _data("mistral_common", "data/tokenizer.model.v1")
    if path is None:
        return None
    scored = list(_sentencepiece(path.read_bytes()))
    vocabulary = {piece: index for index, (piece, _) in enumerate(scored)}
    merges = [
        (score, cut, merged)
        for merged, score in scored
        for cut in range(1, len(merged))
        if merged[:cut] in vocabulary and merged[cut:] in vocabulary
    ]
    merges.sort(reverse=True)  # the best piece first; of its halves the longest left one
    halves = [(merged[:cut], merged[cut:]) for _, cut, merged in merges]
    inner = Tokenizer(models.BPE(vocabulary, halves, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    inner.add_special_tokens([AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>")])
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def _data(package: str, name: str) -> Path | None:
    spec = find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    return next((path for folder in folders if (path := Path(folder) / name).is_file()), None)


def _byte_level(path: Path, numbers: str) -> Tokenizer:
    """A tokenizer from a tiktoken file: a line is base64(token) and rank."""
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in path.read_bytes().splitlines() if line}
    visible = dict(zip(_byte_order(), _alphabet(), strict=True))
    merges = sorted(
        (ranks[token], ranks[token[:cut]], ranks[token[cut:]], token, cut)
        for token in ranks
        for cut in _cuts(token, ranks)
    )

    def shown(token: bytes) -> str:
        return "".join(visible[byte] for byte in token)

    inner = Tokenizer(
        models.BPE(
            {shown(token): rank for token, rank in ranks.items()},
            [(shown(token[:cut]), shown(token[cut:])) for _, _, _, token, cut in merges],
            ignore_merges=True,
        )
    )
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS.replace("NUMBER", numbers)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    return inner


def _cuts(token: bytes, ranks: dict[bytes, int]) -> Iterator[int]:
    return (cut for cut in range(1, len(token)) if token[:cut] in ranks and token[cut:] in ranks)


def _byte_order() -> list[int]:
    """Bytes in the order in which byte-level tokenizers show them: the printable ones as themselves, then the rest."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return printable + [byte for byte in range(256) if byte not in printable]


def _alphabet() -> list[str]:
    printable = 94 + 12 + 82
    return [chr(byte) for byte in _byte_order()[:printable]] + [chr(256 + index) for index in range(256 - printable)]


def _sentencepiece(data: bytes) -> Iterator[tuple[str, float]]:
    """Pieces and scores of a SentencePiece model: fields 1 of its message, of which field 1 is text, 2 the score."""
    for number, value in _fields(data):
        if number == 1:
            parts = dict(_fields(value))
            yield parts[1].decode("utf-8"), struct.unpack("<f", parts.get(2, bytes(4)))[0]


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of each field of a protocol buffer."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            number, place = _varint(data, place)
            yield key >> 3, struct.pack("<q", number)
            continue
        if size is None:
            size, place = _varint(data, place)
        yield key >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
