"""The belief about the first error against enumeration, and its laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core import Tally
from gradatim.labels.belief import DEAD, KEPT, Belief

tallies = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda pair: Tally(pair[0], sum(pair)))
beliefs = st.tuples(tallies, st.lists(tallies, max_size=3), st.sampled_from([True, False, None]))


def enumerated(start: Tally, seen: list[Tally], ended: bool | None) -> list[float]:
    """Bayes' rule in plain sums: rates of the problem .025, .075, ...; rates of prefixes .005, .015, ..."""
    estimate = (start.good + 1) / (start.tried + 2)
    fails = 1 - estimate ** (1 / (len(seen) + 1))
    found = []
    for error in range(len(seen) + 1):
        prior = (1 - fails) ** error * fails
        if error == len(seen) and ended is not False:
            prior = (1 - fails) ** (error + 1 if ended else error)
        elif ended:
            prior *= estimate * DEAD / 2
        total = 0.0
        for v0 in ((i + 0.5) / 20 for i in range(20)):
            chance = v0**start.good * (1 - v0) ** (start.tried - start.good)
            for place, tally in enumerate(seen):
                rates = [(i + 0.5) / 100 for i in range(100)]
                above, below = [v for v in rates if v > v0 - 1e-9], [v for v in rates if v <= v0 * DEAD]
                mean = KEPT * likelihood(v0, tally) + (1 - KEPT) * sum(likelihood(v, tally) for v in above) / len(above)
                chance *= mean if place < error else sum(likelihood(v, tally) for v in below) / len(below)
            total += chance
        found.append(prior * total)
    return [one / sum(found) for one in found]


def likelihood(v: float, tally: Tally) -> float:
    return float(v**tally.good * (1 - v) ** (tally.tried - tally.good))


@settings(max_examples=25)
@given(beliefs)
def test_the_belief_is_bayes_rule(case: tuple[Tally, list[Tally], bool | None]) -> None:
    """Against enumeration; it sums to one, and with no evidence it is the prior."""
    start, seen, ended = case
    belief = Belief(start, len(seen), ended)
    chances = belief.chances(seen)
    assert chances.sum() == pytest.approx(1)
    assert chances == pytest.approx(enumerated(start, seen, ended), abs=1e-9)
    assert belief.chances([Tally()] * len(seen)) == pytest.approx(belief.prior)


@settings(max_examples=50)
@given(beliefs)
def test_a_gain_is_the_expected_drop_of_the_entropy(case: tuple[Tally, list[Tally], bool | None]) -> None:
    """By both outcomes of the next draw, weighted so that their beliefs mix to the present one; never below 0."""
    start, seen, ended = case
    belief = Belief(start, len(seen), ended)
    gains, now = belief.gains(seen), belief.chances(seen)
    for place, gain in enumerate(gains):
        good, bad = (belief.chances([*seen[:place], seen[place] + Tally(s, 1), *seen[place + 1 :]]) for s in (1, 0))
        apart = good - bad
        if (apart @ apart) < 1e-18:
            continue
        chance = (now - bad) @ apart / (apart @ apart)
        assert gain == pytest.approx(bits(now) - chance * bits(good) - (1 - chance) * bits(bad), abs=1e-6)
    assert (gains > -1e-9).all()


def bits(chances: np.ndarray) -> float:
    return -sum(float(p) * math.log2(p) for p in chances if p > 0)


@settings(max_examples=50)
@given(beliefs, st.data())
def test_a_success_never_makes_an_earlier_error_likelier(
    case: tuple[Tally, list[Tally], bool | None], data: st.DataObject
) -> None:
    """Where the problem's own rate is known well: a draw from a place speaks for or against an error before it."""
    start, seen, ended = case
    if not seen:
        return
    place = data.draw(st.integers(0, len(seen) - 1))
    belief = Belief(Tally(start.good * 4000 + 2000, start.tried * 4000 + 4000), len(seen), ended)
    dead = [
        belief.chances([*seen[:place], seen[place] + more, *seen[place + 1 :]])[: place + 1].sum()
        for more in (Tally(1, 1), Tally(), Tally(0, 1))
    ]
    assert dead[0] <= dead[1] + 1e-9
    assert dead[1] <= dead[2] + 1e-9


def test_a_right_answer_is_most_likely_right_throughout() -> None:
    """By hand: V0 = 1/2 and three places; a wrong answer has its error in one of four steps."""
    start, kept = Tally(7, 14), 0.5**0.25
    wrong = Belief(start, 3, False).prior
    assert wrong == pytest.approx(np.array([1, kept, kept**2, kept**3]) * (1 - kept) / 0.5)
    right = Belief(start, 3, True).prior
    assert right[-1] == pytest.approx(0.5 / (0.5 + (1 - kept**3) / 16))
    assert Belief(start, 3, None).prior[-1] == pytest.approx(kept**3)
    assert Belief(start, 0, True).chances([]) == pytest.approx([1.0])
    assert Belief(Tally(), 0, None).gains([]).shape == (0,)


def test_many_draws_are_no_trouble() -> None:
    """Thousands of draws, where likelihoods are below the least float."""
    belief = Belief(Tally(3000, 9000), 3, False)
    chances = belief.chances([Tally(1000, 3000), Tally(5, 3000), Tally(0, 3000)])
    assert chances == pytest.approx([0, 1, 0, 0], abs=1e-6)
    assert np.isfinite(belief.gains([Tally(1000, 3000), Tally(5, 3000), Tally(0, 3000)])).all()
