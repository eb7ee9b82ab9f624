"""Blocks of tokens -> one logit a requested node. Training and scoring both run this and nothing else."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradatim.errors import ConfigError
from gradatim.trees import Block

TREES = "gradatim_tree"
"""Under which transformers knows the attention of `gradatim.models.attention`, which needs no mask."""


def body_of(module: nn.Module) -> nn.Module:
    """The transformer below the head of a stock classification model."""
    body = getattr(module, str(getattr(module, "base_model_prefix", "")), None)
    if not isinstance(body, nn.Module):
        raise ConfigError(f"{type(module).__name__} is no stock Hugging Face model: its body was not found")
    return body


def head_of(module: nn.Module) -> nn.Module:
    """The linear head of a stock `*ForTokenClassification` or `*ForSequenceClassification`."""
    for name in ("score", "classifier"):
        head = getattr(module, name, None)
        if isinstance(head, nn.Module):
            return head
    raise ConfigError(f"{type(module).__name__} has no head named `score` or `classifier`; expected a stock class")


def logits_at(module: nn.Module, hidden: Tensor) -> Tensor:
    """(..., hidden) -> (...): the log-odds that a step is good, z1 - z0 of two labels or the scalar of one; float32."""
    out: Tensor = head_of(module)(hidden).float()
    return out[..., 1] - out[..., 0] if out.shape[-1] == 2 else out[..., 0]


def forward_blocks(module: nn.Module, blocks: Sequence[Block], nodes: Sequence[Sequence[int]]) -> Tensor:
    """Logits (sum of len(nodes),) at the requested nodes of each block, in the order they are asked for.

    Blocks are padded together on the right. A node sees its ancestors and itself, at position = depth; where every
    block is a chain this is the model's plain causal pass, without a mask. Gradients flow unless the caller stops them.
    """
    return logits_at(module, hidden_at(module, blocks, nodes))


def hidden_at(module: nn.Module, blocks: Sequence[Block], nodes: Sequence[Sequence[int]]) -> Tensor:
    """Last hidden states (sum of len(nodes), hidden size) of the body at the requested nodes; see `forward_blocks`."""
    body = body_of(module)
    device = next(body.parameters()).device
    width = max(map(len, blocks))
    # Nothing ever looks at the padding, so any token will do; a real one keeps models from warning about pad tokens.
    ids = _padded([block.ids for block in blocks], width, blocks[0].ids[0]).to(device)
    inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if not all(block.is_chain for block in blocks):
        inputs["position_ids"] = _padded([block.depth for block in blocks], width, 0).to(device)
        if body.config._attn_implementation != TREES:  # type: ignore[union-attr]
            inputs["attention_mask"] = _mask(body, blocks, width, device)
    hidden: Tensor = body(**inputs).last_hidden_state
    rows = [row for row, wanted in enumerate(nodes) for _ in wanted]
    columns = [node for wanted in nodes for node in wanted]
    return hidden[torch.tensor(rows, device=device), torch.tensor(columns, device=device)]


def tree_depth(module: nn.Module) -> float:
    """How deep a tree may be for the model to take it: infinity where attention is full, 0 where it can't at all.

    A 4-D mask replaces the model's own, so a model with sliding or chunked attention can take trees only as deep as
    its window, and a model with recurrent layers, relative biases or a kernel without dense masks takes none.
    """
    config: Any = body_of(module).config
    if config._attn_implementation not in ("sdpa", "eager"):
        return 0
    if "position_ids" not in inspect.signature(body_of(module).forward).parameters or getattr(config, "alibi", False):
        return 0
    if "local" in (getattr(config, "attention_layers", None) or ()):
        return 0
    window = getattr(config, "sliding_window", None) or math.inf
    chunk = getattr(config, "attention_chunk_size", None) or math.inf
    known = {"full_attention": math.inf, "sliding_attention": window, "chunked_attention": chunk}
    layers = getattr(config, "layer_types", None)
    if layers is None:
        return window if getattr(config, "use_sliding_window", True) else math.inf
    return min(known.get(layer, 0) for layer in layers)


def _padded(rows: Sequence[Sequence[int]], width: int, fill: int) -> Tensor:
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.long)


def _mask(body: nn.Module, blocks: Sequence[Block], width: int, device: torch.device) -> Tensor:
    """(blocks, 1, width, width): what each node (row) sees. Padding sees itself, for a row of nothing would be NaN."""
    ends = torch.tensor([[*block.end, *range(len(block) + 1, width + 1)] for block in blocks], device=device)
    index = torch.arange(width, device=device)
    seen = (index[:, None] >= index[None, :]) & (index[:, None] < ends[:, None, :])
    mask = seen[:, None]
    config: Any = body.config
    if config._attn_implementation == "sdpa":
        return mask
    dtype = next(body.parameters()).dtype
    return torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill(~mask, torch.finfo(dtype).min)
