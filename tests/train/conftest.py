"""What trainings are tried on."""

from __future__ import annotations

import pytest
import torch

import tiny_models


@pytest.fixture(name="backbone", scope="session")
def _backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny language model, as any backbone comes."""
    folder = tmp_path_factory.mktemp("backbone")
    tokenizer = tiny_models.bpe_tokenizer()
    model = tiny_models.causal("llama", len(tokenizer))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                # Weights that large are for finding mistakes; learning needs smaller ones.
                weight.mul_(0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
