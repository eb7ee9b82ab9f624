"""How long exact estimates take, against the same numbers computed one by one. Prints seconds and ratios.

python bench/estimates.py
"""

from __future__ import annotations

import math
import time

import numpy as np

from gradatim.stats import best_of_curve, majority_curve, majority_grid, pass_curve


def one_by_one(values: list[float], good: list[float], n: int) -> float:
    """Best-of-n of one pool from binomial coefficients, as it is written in the books."""
    m, total, below = len(values), 0.0, 0
    for value in sorted(set(values)):
        tied = [g for v, g in zip(values, good, strict=True) if v == value]
        total += (math.comb(below + len(tied), n) - math.comb(below, n)) / math.comb(m, n) * sum(tied) / len(tied)
        below += len(tied)
    return total


def main() -> None:
    rng = np.random.default_rng(0)
    problems, m = 1000, 1024
    good = (rng.random((problems, m)) < rng.random((problems, 1))).astype(float)
    values = np.round(rng.normal(size=(problems, m)) + good, 2)
    started = time.perf_counter()
    curve = best_of_curve(values, good)
    fast = time.perf_counter() - started
    started = time.perf_counter()
    pass_curve(good)
    passed = time.perf_counter() - started
    started = time.perf_counter()
    ns = (1, 32, 1024)
    slow = [one_by_one(values[0].tolist(), good[0].tolist(), n) for n in ns]
    each = (time.perf_counter() - started) / len(ns)
    worst = max(abs(curve[0, n - 1] - value) for n, value in zip(ns, slow, strict=True))
    print(f"best of n, all n, {problems} problems x {m} samples with ties: {fast:.2f} s (pass@n {passed:.2f} s)")
    print(
        f"  one by one: {each * problems * m:,.0f} s by extrapolation, ratio {each * problems * m / fast:,.0f}; "
        f"largest difference {worst:.1e}"
    )
    started = time.perf_counter()
    for row in good[:100]:
        sizes = [int(row[:64].sum()) or 1, *np.bincount(rng.integers(0, 12, 64))[:8].clip(1).tolist()]
        majority_curve(sizes, [1.0] + [0.0] * (len(sizes) - 1))
    print(
        f"majority at every n to its pool's size, pools of about 64: "
        f"{(time.perf_counter() - started) / 100 * 1000:.1f} ms a problem"
    )
    started = time.perf_counter()
    majority_curve([500, 300, 150, 50, 24], [1.0, 0.0, 0.0, 0.0, 0.0])
    grid = len(majority_grid(1024))
    print(f"majority at {grid} n up to 1024: {(time.perf_counter() - started) * 1000:.0f} ms a problem")


if __name__ == "__main__":
    main()
