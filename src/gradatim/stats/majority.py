"""Majority voting among n of m samples, exactly: the mean over all C(m, n) subsets, ties shared, in polynomial time.

Let c be the winner's votes. A subset in which t answers have exactly c votes and none has more is counted by the
coefficient of z^t x^n in  prod_b (sum_{j<c} C(m_b, j) x^j + z C(m_b, c) x^c) * (1 + x)^rest,  where b runs over the
answers with at least c samples, and all other samples (rarer answers, unread ones) are the rest. Summed over c, with
the mean correctness of the t tied answers. Every term is positive, so nothing cancels: the result is exact to rounding.

For pools in the hundreds the coefficients leave the range of floats, so all binomials are scaled by powers of two
(exact), and x by one power of two for each band of n.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALL_UP_TO = 64
"""Majority at every n up to here; above, on the grid that `majority_grid` states."""

_NEVER = 1e-15
"""A count of votes whose probability is below this is left out."""

_DEEPEST = -800.0
"""log2 of the smallest coefficient that one scaling of x still covers."""

LARGEST = 1 << 14
"""Most samples in a pool: up to here some power of two always covers."""


def majority_grid(m: int) -> list[int]:
    """The n at which voting curves are given: every n to 64, then 96, 128, 192, 256, 384, 512, ... below m, and m."""
    steps = (n for k in range(6, max(7, m.bit_length())) for n in (3 << (k - 1), 2 << k))
    return [*range(1, min(m, ALL_UP_TO) + 1), *(n for n in steps if n < m), *([m] if m > ALL_UP_TO else [])]


def majority_curve(
    sizes: Sequence[int], good: Sequence[float], unread: int = 0, ns: Sequence[int] | None = None
) -> Floats:
    """Expected correctness of the most frequent answer among n samples drawn from a pool, for each n in `ns`.

    `sizes[b]` samples gave answer b, whose correctness is `good[b]`; `unread` samples cast no vote, and a draw without
    any vote is not correct. Tied answers share evenly. `ns` defaults to `majority_grid`; NaN outside 1..m, and
    everywhere if `good` has a NaN.
    """
    if len(sizes) != len(good):
        raise ValueError(f"each answer needs its correctness: {len(sizes)} sizes, {len(good)} values")
    if unread < 0 or any(size < 1 for size in sizes):
        raise ValueError(f"every answer has at least one sample, got sizes {list(sizes)} and {unread} unread")
    if sum(sizes) + unread > LARGEST:
        raise ValueError(f"a pool of {sum(sizes) + unread} samples; at most {LARGEST} can be voted on exactly")
    order = sorted(range(len(sizes)), key=lambda b: -sizes[b])
    m = sum(sizes) + unread
    wanted = majority_grid(m) if ns is None else [int(n) for n in ns]
    inside = np.array(sorted({n for n in wanted if 1 <= n <= m and not np.isnan(good).any()}), dtype=np.int64)
    found: dict[int, float] = {}
    for tilt, band in _bands(m, inside):
        values = _band([sizes[b] for b in order], [float(good[b]) for b in order], m, band, tilt)
        found.update(zip(band.tolist(), values.tolist(), strict=True))
    return np.array([found.get(n, np.nan) for n in wanted], dtype=np.float64)


def _band(sizes: list[int], good: list[float], m: int, ns: Ints, tilt: int) -> Floats:
    """The curve at `ns`, which one scaling x -> 2^tilt x covers; sizes in descending order."""
    if not sizes:
        return np.zeros(len(ns))
    reach = {size: _reach(size, m, ns, tilt) for size in set(sizes)}
    top, second = sizes[0], sizes[1] if len(sizes) > 1 else 0
    result: Floats = good[0] * reach[top][:, second + 1]  # nobody else can have as many
    for c in range(1, second + 1):
        contested = reach[second][:, c] > _NEVER
        exactly = reach[top][:, c] - reach[top][:, c + 1]
        result += np.where(contested, 0.0, good[0] * exactly)
        live = contested & (1.0 - reach[top][:, c + 1] > _NEVER)
        if live.any():
            able = [pair for pair in zip(sizes, good, strict=True) if pair[0] >= c]
            rivals = [(size, worth) for size, worth in able if reach[size][live, c].max() > _NEVER]
            result[live] += _ties(rivals, m, c, ns[live], tilt)
    return result


def _reach(size: int, m: int, ns: Ints, tilt: int) -> Floats:
    """The probability that n draws hold c or more of `size` samples: (ns, c from 0 to size + 1)."""
    exactly = _scaled(size, tilt) * _at(_scaled(m - size, tilt), ns[:, None] - np.arange(size + 1))
    exactly = np.ldexp(exactly, _unit(size, tilt) + _unit(m - size, tilt) - _unit(m, tilt)) / _scaled(m, tilt)[ns, None]
    result = np.zeros((len(ns), size + 2))
    result[:, :-1] = np.cumsum(exactly[:, ::-1], axis=1)[:, ::-1]
    return result


def _ties(rivals: list[tuple[int, float]], m: int, c: int, ns: Ints, tilt: int) -> Floats:
    """Share of the subsets whose winner has c votes, times its correctness, for each n; other samples never have as many."""
    most = int(ns[-1])
    ties = min(len(rivals), most // c)
    counts = np.ones((2, 1, 1))  # [weight, weight * summed correctness of the tied], tied answers, other votes
    counts[1] = 0.0
    for size, worth in rivals:
        binomials = _scaled(size, tilt)
        tied = counts * binomials[c]
        tied[1] += worth * tied[0]
        fewer = _multiply(counts, binomials[:c], most + 1)
        counts = np.zeros((2, min(counts.shape[1], ties) + 1, fewer.shape[2]))
        counts[:, : fewer.shape[1]] = fewer
        counts[:, 1:, : tied.shape[2]] += tied[:, : counts.shape[1] - 1]
    votes = _votes(counts[1], c, most + 1)
    others = m - sum(size for size, _ in rivals)
    weight = _at(_scaled(others, tilt), ns[:, None] - np.arange(len(votes))) @ votes
    parts = sum(_unit(size, tilt) for size, _ in rivals) + _unit(others, tilt)
    return np.asarray(np.ldexp(weight, parts - _unit(m, tilt)) / _scaled(m, tilt)[ns], dtype=np.float64)


def _votes(summed: Floats, c: int, width: int) -> Floats:
    """Mean correctness of the tied, by how many votes the rivals have together."""
    tied = np.arange(1, len(summed))[:, None]
    drawn = tied * c + np.arange(summed.shape[1])
    return np.bincount(drawn.ravel(), (summed[1:] / tied).ravel()).astype(np.float64)[:width]


def _multiply(counts: Floats, factor: Floats, width: int) -> Floats:
    """Product of each row's polynomial with `factor`, cut to `width` coefficients."""
    rows, terms = counts.shape[0] * counts.shape[1], counts.shape[2] + len(factor) - 1
    padded = np.zeros((rows, terms))
    padded[:, : counts.shape[2]] = counts.reshape(rows, -1)
    product = np.convolve(padded.ravel(), factor)[: rows * terms]
    return product.reshape(*counts.shape[:2], terms)[:, :, :width].copy()


def _bands(m: int, ns: Ints) -> list[tuple[int, Ints]]:
    """The n in groups, each with the power of two that keeps all its coefficients within the range of floats."""
    mantissas, exponents = _binomials(m)

    def depth(n: Ints, tilt: int) -> Floats:
        return np.asarray(np.log2(mantissas[n]) + exponents[n] + tilt * n - _bits(m, tilt), dtype=np.float64)

    bands = []
    while len(ns):
        likeliest = round(float(np.log2(ns[0] / (m - ns[0] + 0.5))))
        tilt = 0
        while depth(ns[:1], tilt)[0] < _DEEPEST and tilt != likeliest:
            tilt += 1 if likeliest > 0 else -1
        while depth(ns[-1:], tilt)[0] < _DEEPEST <= depth(ns[:1], tilt + 1)[0]:
            tilt += 1
        covered = depth(ns, tilt) >= _DEEPEST
        reach = len(ns) if covered.all() else max(1, int(np.argmin(covered)))
        bands.append((tilt, ns[:reach]))
        ns = ns[reach:]
    return bands


def _bits(m: int, tilt: int) -> float:
    return m * float(np.log2(1.0 + 2.0**tilt))


def _unit(m: int, tilt: int) -> int:
    """The power of two by which `_scaled` divides: about the sum of its terms."""
    return round(_bits(m, tilt))


@lru_cache(maxsize=8192)
def _scaled(m: int, tilt: int) -> Floats:
    """C(m, j) 2^(tilt j) / 2^unit for j in 0..m, correctly rounded."""
    mantissas, exponents = _binomials(m)
    scaled: Floats = np.ldexp(mantissas, exponents + tilt * np.arange(m + 1) - _unit(m, tilt))
    scaled.flags.writeable = False
    return scaled


@lru_cache(maxsize=2048)
def _binomials(m: int) -> tuple[Floats, Ints]:
    """C(m, j) for j in 0..m as correctly rounded mantissas and exponents of two."""
    mantissas, exponents = np.empty(m + 1), np.empty(m + 1, dtype=np.int64)
    exact = 1
    for j in range(m + 1):
        bits = exact.bit_length()
        mantissas[j], exponents[j] = exact / (1 << bits), bits
        exact = exact * (m - j) // (j + 1)
    return mantissas, exponents


def _at(values: Floats, index: Ints) -> Floats:
    """values[index], 0 outside."""
    inside = (index >= 0) & (index < len(values))
    return np.where(inside, values[np.where(inside, index, 0)], 0.0)
