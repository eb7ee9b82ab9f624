"""The closed form of tier A against brute force: every random choice enumerated."""

from itertools import product
from random import Random

import pytest

from gradatim.core import Step
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.problems.lab.world import load, parse
from gradatim.steps import by_line


def enumerated(policy: MarkovPolicy, prompt: str) -> float:
    """V(start) by walking through all combinations of errors, with arithmetic written out again."""
    graph = parse(prompt)
    truth, slip, kept = graph.values(), policy.slip(prompt), 1 - policy.student.repair
    choices = []
    for name in graph.needed():
        definition = graph.definitions[name]
        if definition.value is None:
            choices.append([(0, 1 - slip * kept), (1, slip * kept / 2), (-1, slip * kept / 2)])
        elif name in graph.traps():
            wrong = graph.definitions[graph.traps()[name]].value - definition.value
            p = policy.student.misread * kept
            choices.append([(0, 1 - p), (wrong, p)])
        else:
            choices.append([(0, 1.0)])
    total = 0.0
    for combination in product(*choices):
        known, chance = {}, 1.0
        for name, (shift, p) in zip(graph.needed(), combination, strict=True):
            d = graph.definitions[name]
            right = d.value if d.value is not None else known[d.left] + (1 if d.op == "+" else -1) * known[d.right]
            known[name] = (right + shift) % 23
            chance *= p
        total += chance * (known[graph.query] == truth[graph.query])
    return total


@pytest.mark.parametrize("repair", [0.0, 0.3])
def test_value_of_the_start_equals_the_sum_over_all_errors(repair: float) -> None:
    """V(start) by convolution equals V(start) by enumeration, to rounding."""
    policy = MarkovPolicy(Student(misread=0.7, repair=repair))

    for problem in load("test", 12):
        assert policy.value(problem.start()) == pytest.approx(enumerated(policy, problem.prompt), abs=1e-12)


@pytest.mark.parametrize("repair", [0.0, 0.3])
def test_value_is_the_mean_of_the_values_one_step_on(repair: float) -> None:
    """V is a martingale: the mean of V after one written step is V before it, within four standard errors."""
    policy = MarkovPolicy(Student(misread=0.7, repair=repair))
    rng = Random(3)

    for problem in load("test", 10):
        prefix = problem.start()
        for _ in range(rng.randrange(4)):
            [[written]] = policy.write([prefix], draws=range(99, 100), one_step=True)
            prefix = prefix.then(Step(written.text))
        [written] = policy.write([prefix], draws=range(400), one_step=True)
        values = [policy.value(prefix.then(Step(w.text))) for w in written]
        mean = sum(values) / len(values)
        spread = (sum((v - mean) ** 2 for v in values) / len(values) / len(values)) ** 0.5
        assert abs(mean - policy.value(prefix)) <= 4 * spread + 1e-9


def test_draws_depend_on_nothing_but_their_number() -> None:
    """Draws 0-7 are draws 0-3 and then 4-7, in any batch of prefixes."""
    policy = MarkovPolicy()
    starts = [p.start() for p in load("test", 3)]

    whole = policy.write(starts, draws=range(8), seed=5)
    parts = [
        [*a, *b]
        for a, b in zip(
            policy.write(starts[::-1], draws=range(4), seed=5)[::-1],
            policy.write(starts, draws=range(4, 8), seed=5),
            strict=True,
        )
    ]

    assert whole == parts


def test_step_by_step_writing_ends_in_an_answer() -> None:
    """Writing one step at a time reaches a finished solution whose value is 0 or 1."""
    policy = MarkovPolicy(Student(misread=0.5, repair=0.3))
    for problem in load("test", 5):
        prefix = problem.start()
        for _ in range(60):
            [[written]] = policy.write([prefix], draws=range(1), one_step=True)
            for step in by_line(written.text):
                prefix = prefix.then(step)
            if written.finish == "stop":
                break
        assert policy.value(prefix) in (0.0, 1.0)
