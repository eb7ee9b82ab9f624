"""The scripted policy keeps the law of Policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Continuation, Prefix, Step, seed_for
from gradatim.errors import InputError
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.steps import by_line

START = Prefix("p", "What?")


@given(st.integers(0, 6), st.integers(0, 6), st.booleans(), st.integers(0, 9))
def test_draws_can_be_asked_for_in_parts(first: int, more: int, one_step: bool, seed: int) -> None:
    """Draws of two ranges are the draws of the range that they make up, and prefixes don't see each other."""
    policy = ScriptedPolicy(lambda prefix, draw, seed: f"{prefix.text}{seed_for(seed, draw)}\nend\n" * (draw % 3))
    prefixes = [START, START.then(Step("a\n"))]
    whole = policy.write(prefixes, draws=range(first + more), one_step=one_step, seed=seed)
    parts = [
        policy.write([prefix], draws=draws, one_step=one_step, seed=seed)[0]
        for prefix in prefixes
        for draws in (range(first), range(first, first + more))
    ]
    assert whole == [parts[0] + parts[1], parts[2] + parts[3]]


def test_one_step_is_the_first_of_the_whole() -> None:
    """`one_step` cuts where the splitter does, and says whether anything was left."""
    policy = ScriptedPolicy.from_table({("p", ""): ["a b\n\nc\n", "d\n"], ("p", "d\n"): ["e"]}, splitter=by_line)
    assert policy.write([START], draws=range(3), one_step=True) == [
        [Continuation("a b\n\n", "step", 2), Continuation("d\n", "stop", 1), Continuation("a b\n\n", "step", 2)]
    ]
    assert policy.write([START.then(Step("d\n"))], draws=range(1)) == [[Continuation("e", "stop", 1)]]
    with pytest.raises(InputError, match="no text for problem 'p' after 'x'"):
        policy.write([START.then(Step("x"))], draws=range(1))
