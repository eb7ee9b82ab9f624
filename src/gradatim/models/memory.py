"""How many tokens fit in memory at once, and what to do when they did not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradatim.models.forward import body_of

MOST = {"cpu": 2_048}
"""Tokens beyond which a larger batch is no faster, by device type."""

MOST_ELSEWHERE = 32_768
"""The same for devices that are not listed."""

LEAST = 256
"""Tokens that are tried at once however little memory seems free."""


class OutOfMemory(Exception):
    """A pass did not fit in memory. A smaller one may."""


def batch_tokens_for(module: nn.Module) -> int:
    """Tokens to run at once: as many as half of the free memory has room for, within what is useful on the device."""
    weight = next(module.parameters())
    whole: Any = body_of(module).config
    config = whole.get_text_config()
    hidden = int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    # A layer's activations at their peak: about a dozen of the hidden size (half of them in float32), four of the inner.
    token = 18 * hidden * 4 + 4 * inner * weight.element_size()
    most = MOST.get(weight.device.type, MOST_ELSEWHERE)
    free = free_bytes(weight.device)
    return most if free is None else max(LEAST, min(most, free // 2 // token))


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be had on a device; None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        return int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def memory_errors() -> Iterator[None]:
    """Have every way to run out of memory raised as OutOfMemory."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory from error
    except RuntimeError as error:
        if "allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise OutOfMemory from error


def release() -> None:
    """Give memory back that nothing uses any more. Not while an error is handled: it holds on to the failed pass."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
