"""How fast this machine multiplies: what a training will take at the least, without running it."""

from __future__ import annotations

import time

import torch

REPEATS = 3
"""Products that are timed after one that is not; the fastest counts, as other work on the machine only slows them."""


def products_per_second(rows: int, width: int, inner: int, *, device: torch.device, bfloat16: bool = False) -> float:
    """Floating-point operations a second of a product (rows, width) x (width, inner), there and back, on a device.

    Such products are nearly all of what a training computes; attention, optimiser and loading come on top.
    """
    seconds = []
    with torch.random.fork_rng(devices=[]):
        states = torch.randn(rows, width, device=device, requires_grad=True)
        weight = torch.randn(width, inner, device=device, requires_grad=True)
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            product = states @ weight
        product.sum().backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 6 * rows * width * inner / min(seconds[1:])
