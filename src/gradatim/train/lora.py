"""Low-rank updates to a backbone (Hu et al. 2021), by peft, merged into it at the end: a stock model is saved."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gradatim.core import seed_for
from gradatim.errors import BackendError
from gradatim.models.forward import body_of


def add_lora(module: nn.Module, rank: int, seed: int) -> Any:
    """Freeze the body and give each of its linear layers an update of this rank; returns what `merge_lora` takes.

    The updates are scaled by 2 (alpha = 2 rank) and begin at nothing. A reward model's head stays as it is, and is trained;
    a language model's, which is as large as its vocabulary, is frozen with the body.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise BackendError("lora_rank needs the package peft; run: pip install 'gradatim[model]'") from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear")
    # peft draws from torch's global generator; what the caller had of it is put back.
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "lora"))
        added = LoraModel(body_of(module), config, "default")
    words = module.get_output_embeddings()  # type: ignore[operator]
    if words is not None:
        words.requires_grad_(False)
    return added


def merge_lora(added: Any) -> None:
    """Add the updates into the body's own weights and take peft's layers out of it."""
    added.merge_and_unload()
