from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gradatim.models.formats import contract
from gradatim.models.formats.contract import Facts


def test_names_and_shapes_open_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a checkpoint's files is opened once for all its names and once for all its shapes, however many it holds."""
    tensors = {f"part.{number}": torch.zeros(number + 1, 2) for number in range(6)}
    save_file({name: tensors[name] for name in list(tensors)[:4]}, tmp_path / "model-1.safetensors")
    save_file({name: tensors[name] for name in list(tensors)[4:]}, tmp_path / "model-2.safetensors")
    opened, open_file = Counter[str](), contract._opened
    monkeypatch.setattr(contract, "_opened", lambda path: opened.update([path.name]) or open_file(path))

    facts = Facts(tmp_path)

    assert facts.shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert set(facts.files) == set(tensors)
    assert opened == {"model-1.safetensors": 2, "model-2.safetensors": 2}
