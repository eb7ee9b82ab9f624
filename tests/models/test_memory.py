"""Batches as large as memory has room for, and no larger than is useful."""

from __future__ import annotations

import pytest
import torch

from gradatim.models import memory
from gradatim.models.memory import LEAST, MOST, batch_tokens_for, free_bytes, memory_errors
from tiny_models import reward_model


def test_free_memory_decides_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than is useful, never less than a short solution; between them, twice the memory is twice the tokens."""
    module = reward_model().module
    found = []
    for free in (None, 0, 10**7 * 4, 10**7 * 8, 10**12):
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free)
        found.append(batch_tokens_for(module))

    assert found[0] == found[-1] == MOST["cpu"]
    assert found[1] == LEAST
    monkeypatch.setitem(memory.MOST, "cpu", 10**9)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**9)
    one = batch_tokens_for(module)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2 * 10**9)
    assert batch_tokens_for(module) == pytest.approx(2 * one, abs=1)


def test_half_the_memory_holds_the_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate is above what the widest layer needs: its input, its two inner results and their product."""
    module = reward_model().module
    monkeypatch.setitem(memory.MOST, "cpu", 10**9)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**9)

    widest = (4 * module.config.intermediate_size + 2 * module.config.hidden_size) * 4
    assert LEAST < batch_tokens_for(module) <= 10**9 // 2 // widest


def test_free_memory_of_this_machine() -> None:
    """A number of bytes, where the system tells it."""
    free = free_bytes(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError(), RuntimeError("not enough memory: 1 TB")])
def test_every_way_to_run_out_is_one_error(error: BaseException) -> None:
    """Python's, PyTorch's on a GPU and PyTorch's on a CPU."""
    with pytest.raises(memory.OutOfMemory), memory_errors():
        raise error


def test_a_real_allocation_that_fails() -> None:
    """PyTorch's own words for it are known."""
    with pytest.raises(memory.OutOfMemory), memory_errors():
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_pass() -> None:
    """A bug is no lack of memory."""
    with pytest.raises(RuntimeError, match="shapes"), memory_errors():
        raise RuntimeError("shapes do not match")
