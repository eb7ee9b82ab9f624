"""A mixture writes what its policies write, in turn."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.problems.lab.world import load
from gradatim.study.mixture import Mixture

PARTS = (MarkovPolicy(), MarkovPolicy(Student()), MarkovPolicy(slips=(0.3,)))
STARTS = [problem.start() for problem in load("test", 2)]


def test_draws_are_those_of_the_policies_in_turn() -> None:
    """Draw d of a mixture of three is draw d // 3 of policy d % 3, for every prefix."""
    mixed = Mixture(PARTS).write(STARTS, draws=range(7), seed=3)

    for (place, start), draw in product(enumerate(STARTS), range(7)):
        alone = PARTS[draw % 3].write([start], draws=range(draw // 3, draw // 3 + 1), seed=3)
        assert mixed[place][draw] == alone[0][0]


@settings(max_examples=15)
@given(st.integers(0, 9), st.integers(0, 6), st.integers(0, 6))
def test_a_range_of_draws_is_its_parts(first: int, some: int, more: int) -> None:
    """The law of a policy: two ranges side by side give what the whole range gives, wherever they begin."""
    mixture, middle = Mixture(PARTS[:2]), first + some

    whole = mixture.write(STARTS, draws=range(first, middle + more))
    parts = [mixture.write(STARTS, draws=some) for some in (range(first, middle), range(middle, middle + more))]

    assert whole == [a + b for a, b in zip(*parts, strict=True)]


def test_the_name_tells_all_policies() -> None:
    """Labels by a mixture say who wrote the rollouts."""
    assert all(part.name in Mixture(PARTS).name for part in PARTS)
