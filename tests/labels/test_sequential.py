"""Stopping rules against recounts, exhaustive look-ahead, closed forms and simulation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Tally
from gradatim.labels.sequential import FirstSuccess, Fixed, Posterior, Sprt, StoppingRule, chance_above

RULES: list[StoppingRule] = [
    Fixed(5, 0.3),
    FirstSuccess(5),
    Sprt(0.1, 0.3, 0.1, 9),
    Sprt(0.02, 0.06, 0.2, 60),
    Sprt(0.2, 0.6, 0.02, 14, True),
    Posterior(0.6, 0.1, 9),
    Posterior(0.1, 0.05, 60, True),
    Posterior(0.9, 0.02, 14),
]


def outcomes(rule: StoppingRule, draws: list[bool], step: int | None = None) -> Tally:
    """Let a rule read draws, as many at once as it asks for or `step` at a time, until it is over."""
    tally, drawn = Tally(), 0
    while more := rule.more(tally, drawn):
        here = draws[drawn : drawn + (step or more)]
        tally, drawn = tally + Tally(sum(here), len(here)), drawn + len(here)
    return tally


@pytest.mark.parametrize("rule", RULES)
@given(draws=st.lists(st.booleans(), min_size=60, max_size=60))
def test_together_or_one_by_one(rule: StoppingRule, draws: list[bool]) -> None:
    """What a rule asks for at once never goes past the draw at which it would have stopped."""
    assert outcomes(rule, draws) == outcomes(rule, draws, step=1)


@pytest.mark.parametrize("rule", RULES)
def test_more_is_the_least_that_can_end_it(rule: StoppingRule) -> None:
    """By looking at every possible continuation: some end after `more` draws, none earlier."""
    checked = 0
    for good, bad in product(range(4), range(6)):
        tally = Tally(good, good + bad)
        more = rule.more(tally, tally.tried)
        for n in range(1, min(more, 12) + 1):
            ends = [rule.more(tally + Tally(s, n), tally.tried + n) == 0 for s in range(n + 1)]
            assert any(ends) == (n == more)
            checked += 1
    assert checked >= 5


def test_first_success_says_what_fixed_says_for_less() -> None:
    """The same decision on every run of 6 draws; the mean number read is (1 - (1 - V)^k) / V."""
    runs = list(product([False, True], repeat=6))
    for draws in map(list, runs):
        stopped = outcomes(FirstSuccess(6), draws)
        assert FirstSuccess(6).alive(stopped) == Fixed(6).alive(outcomes(Fixed(6), draws)) == any(draws)
    for v in (0.05, 0.4, 0.8):
        weights = [math.prod(v if good else 1 - v for good in draws) for draws in runs]
        mean = sum(w * outcomes(FirstSuccess(6), list(draws)).tried for w, draws in zip(weights, runs, strict=True))
        assert mean == pytest.approx((1 - (1 - v) ** 6) / v)


def test_wald_keeps_its_error_rates_where_the_rates_are_true() -> None:
    """At the two rates that it tests, 4,000 runs each err at most as often as promised, and for fewer draws than a fixed
    number with the same errors needs."""
    rng, rule = np.random.default_rng(0), Sprt(0.15, 0.45, 0.05, 10_000)
    for v, truth in ((0.15, False), (0.45, True)):
        found = [outcomes(rule, (rng.random(400) < v).tolist()) for _ in range(4000)]
        wrong = np.mean([rule.alive(tally) != truth for tally in found])
        assert wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)
        assert wrong > 0.01
        assert np.mean([tally.tried for tally in found]) < 20
    fixed = min(
        k for k in range(1, 100) if any(tail(k, 0.15, s) < 0.05 and 1 - tail(k, 0.45, s) < 0.05 for s in range(k + 1))
    )
    assert fixed > 20


def tail(k: int, v: float, least: int) -> float:
    """Chance of at least so many successes in k draws."""
    return sum(math.comb(k, s) * v**s * (1 - v) ** (k - s) for s in range(least, k + 1))


@pytest.mark.parametrize(("bar", "a", "b"), [(0.3, 1, 1), (0.05, 3, 40), (0.5, 7, 2), (0.9, 20, 1)])
def test_the_posterior_is_the_integral_of_its_density(bar: float, a: int, b: int) -> None:
    """P(V > bar) by a fine sum over the density of Beta(a, b)."""
    v = (np.arange(200_000) + 0.5) / 200_000
    density = v ** (a - 1) * (1 - v) ** (b - 1)
    assert chance_above(bar, a, b) == pytest.approx(density[v > bar].sum() / density.sum(), abs=1e-5)


def test_one_success_on_a_hard_problem_is_no_proof() -> None:
    """With the start rate near 0 one success says e^(-1/2) 3/2 = .91, and many failures less and less."""
    rule = Posterior(0.01, 0.05, 1000)
    assert rule.alive(Tally(1, 1)) is None
    assert chance_above(0.005, 2, 99) == pytest.approx(1.5 * math.exp(-0.5), abs=2e-3)
    assert rule.alive(Tally(2, 2)) is True
    assert rule.alive(Tally(0, 600)) is False


@pytest.mark.parametrize("rule", [Sprt(0.2, 0.6, 0.05, 10), Posterior(0.8, 0.05, 10)])
def test_the_cap_leaves_it_undecided_unless_the_likelier_side_is_asked_for(rule: Sprt | Posterior) -> None:
    """Draws that say neither: undecided at the cap; with `likelier` one side, and still undecided with no draw at all."""
    near = Tally(4, 10)
    assert (rule.more(near, 10), rule.alive(near)) == (0, None)
    sure = type(rule)(*(getattr(rule, name) for name in rule.__dataclass_fields__ if name != "likelier"), True)
    assert sure.more(near, 9) == 1
    assert sure.alive(near) is not None
    assert sure.alive(Tally()) is None


def test_draws_whose_check_failed_count_against_the_cap() -> None:
    """A test of which every check fails comes to an end, undecided."""
    for rule in RULES:
        drawn, rounds = 0, 0
        while more := rule.more(Tally(), drawn):
            drawn, rounds = drawn + more, rounds + 1
        assert rounds <= 60
        assert rule.alive(Tally()) is None
