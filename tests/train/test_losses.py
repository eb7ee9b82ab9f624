from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest
import torch

from gradatim.train.losses import bradley_terry, focal, logistic, pqm, squared_error

POINTS = [-80.0, -30.0, -3.0, -0.5, 0.0, 0.25, 2.0, 30.0, 80.0]


def exact_log_sigmoid(z: float) -> float:
    """ln s(z) in double precision by the stable branch for each sign."""
    return -math.log1p(math.exp(-z)) if z >= 0 else z - math.log1p(math.exp(z))


def sigmoid(z: float) -> float:
    return math.exp(exact_log_sigmoid(z))


def slopes(
    loss: Callable[[torch.Tensor], torch.Tensor], at: list[float], dtype: torch.dtype
) -> tuple[torch.Tensor, ...]:
    """Values and gradients of a loss at the given logits."""
    z = torch.tensor(at, dtype=dtype, requires_grad=True)
    values = loss(z)
    values.sum().backward()
    assert z.grad is not None
    return values.detach(), z.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("good", "bad"), [(1.0, 0.0), (0.0, 1.0), (0.3, 0.7), (3.0, 5.0)])
def test_logistic_equals_its_formula(good: float, bad: float, dtype: torch.dtype) -> None:
    """Values and gradients equal the written-out formula to 1e-6 of their size, and are finite, up to |z| = 80."""
    a, b = (torch.full((len(POINTS),), x, dtype=dtype) for x in (good, bad))
    want = [-(good * exact_log_sigmoid(z) + bad * exact_log_sigmoid(-z)) for z in POINTS]
    want_slope = [-good * sigmoid(-z) + bad * sigmoid(z) for z in POINTS]

    values, gradient = slopes(lambda z: logistic(z, a, b), POINTS, dtype)

    assert values.tolist() == pytest.approx(want, rel=1e-6, abs=1e-9)
    assert gradient.tolist() == pytest.approx(want_slope, rel=1e-6, abs=1e-6 * (good + bad))
    assert torch.isfinite(values).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("good", "tried"), [(0, 4), (3, 8), (8, 8)])
def test_binomial_is_repeated_hard_cross_entropy(good: int, tried: int) -> None:
    """s of k costs what s ones and k - s zeros cost in torch's own binary cross-entropy, with its gradients."""
    votes = torch.tensor([1.0] * good + [0.0] * (tried - good), dtype=torch.float64)
    counts = [torch.full((len(POINTS),), float(x), dtype=torch.float64) for x in (good, tried - good)]

    def repeated(z: torch.Tensor) -> torch.Tensor:
        logits, targets = z[:, None].expand(-1, tried), votes.expand(len(z), -1)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)

    values, gradient = slopes(lambda z: logistic(z, *counts), POINTS, torch.float64)
    want, want_slope = slopes(repeated, POINTS, torch.float64)

    torch.testing.assert_close(values, want, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradient, want_slope, rtol=1e-9, atol=1e-12)


def test_two_logits_and_one_difference_cost_the_same() -> None:
    """With z = z1 - z0 a hard label costs torch's cross-entropy over the stock head's two classes."""
    logits = torch.tensor([[0.0, 80.0], [80.0, 0.0], [1.5, -0.5], [-2.0, 2.0]])
    labels = torch.tensor([1, 1, 0, 1])

    found = logistic(logits[:, 1] - logits[:, 0], labels.float(), 1 - labels.float())

    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, labels, reduction="none"))


@pytest.mark.parametrize("margin", [0.0, 1.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bradley_terry_equals_its_formula(margin: float, dtype: torch.dtype) -> None:
    """-ln s(chosen - rejected - margin), with opposite gradients for the two sides, finite up to differences of 80."""
    chosen = torch.tensor(POINTS, dtype=dtype, requires_grad=True)
    rejected = torch.zeros(len(POINTS), dtype=dtype, requires_grad=True)

    values = bradley_terry(chosen, rejected, torch.full((len(POINTS),), margin, dtype=dtype))
    values.sum().backward()

    slope = [-sigmoid(-(z - margin)) for z in POINTS]
    assert values.tolist() == pytest.approx([-exact_log_sigmoid(z - margin) for z in POINTS], rel=1e-6, abs=1e-9)
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.tolist() == pytest.approx(slope, rel=1e-6, abs=1e-9)
    assert rejected.grad.tolist() == pytest.approx([-x for x in slope], rel=1e-6, abs=1e-9)
    assert torch.isfinite(values).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("good", "bad"), [(1.0, 0.0), (0.0, 1.0), (0.3, 0.7), (3.0, 5.0)])
def test_squared_error_equals_its_formula(good: float, bad: float, dtype: torch.dtype) -> None:
    """(good + bad) (p - rate)^2 and the votes' own variance; the slope is the first part's; finite up to |z| = 80."""
    a, b = (torch.full((len(POINTS),), x, dtype=dtype) for x in (good, bad))
    rate, tried = good / (good + bad), good + bad
    want = [tried * ((sigmoid(z) - rate) ** 2 + rate * (1 - rate)) for z in POINTS]
    want_slope = [2 * tried * (sigmoid(z) - rate) * sigmoid(z) * sigmoid(-z) for z in POINTS]

    values, gradient = slopes(lambda z: squared_error(z, a, b), POINTS, dtype)

    assert values.tolist() == pytest.approx(want, rel=1e-6, abs=1e-6)
    assert gradient.tolist() == pytest.approx(want_slope, rel=1e-6, abs=1e-6)


def focal_slope(z: float, gamma: float) -> float:
    """d/dz of -(1 - p)^gamma ln p, by hand: (1 - p)^gamma (gamma p ln p - (1 - p))."""
    return sigmoid(-z) ** gamma * (gamma * sigmoid(z) * exact_log_sigmoid(z) - sigmoid(-z))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize(("good", "bad"), [(1.0, 0.0), (0.0, 1.0), (3.0, 5.0)])
def test_focal_equals_its_formula(good: float, bad: float, gamma: float, dtype: torch.dtype) -> None:
    """The written-out formula and its derivative, finite up to |z| = 80 and beyond what float32 can hold of s(-z)."""
    a, b = (torch.full((len(POINTS),), x, dtype=dtype) for x in (good, bad))
    want = [
        -(good * sigmoid(-z) ** gamma * exact_log_sigmoid(z) + bad * sigmoid(z) ** gamma * exact_log_sigmoid(-z))
        for z in POINTS
    ]
    want_slope = [good * focal_slope(z, gamma) - bad * focal_slope(-z, gamma) for z in POINTS]

    values, gradient = slopes(lambda z: focal(z, a, b, gamma), POINTS, dtype)
    _, far = slopes(lambda z: focal(z, a[:2], b[:2], gamma), [-200.0, 200.0], dtype)

    assert values.tolist() == pytest.approx(want, rel=1e-6, abs=1e-9)
    assert gradient.tolist() == pytest.approx(want_slope, rel=1e-6, abs=1e-6 * (good + bad))
    assert torch.isfinite(far).all()


def naive_pqm(q: list[torch.Tensor], good: list[bool], zeta: float) -> torch.Tensor:
    """The loss as it is written on paper, with exponentials, a term a right step and one for the wrong ones."""
    wrong = sum((math.exp(zeta) * torch.exp(value) for value, right in zip(q, good, strict=True) if not right), ZERO)
    right = [value for value, right in zip(q, good, strict=True) if right]
    terms = [
        torch.log(torch.exp(value) / (1 + sum(map(torch.exp, right[: t + 1]), ZERO) + wrong))
        for t, value in enumerate(right)
    ]
    if not all(good):
        terms.append(torch.log(1 / (1 + wrong)))
    return -torch.stack(terms).sum() / len(terms)


ZERO = torch.tensor(0.0, dtype=torch.float64)


@pytest.mark.parametrize("zeta", [0.0, 4.0])
@pytest.mark.parametrize(
    "good",
    [
        [True],
        [False],
        [True, True, False],
        [False, False],
        [True, False, True, True],
        [False, True, False, True, False],
    ],
)
def test_pqm_equals_its_formula(good: list[bool], zeta: float) -> None:
    """Values and gradients equal those of the formula with exponentials, alone and in a padded batch."""
    draw = random.Random(len(good))
    values = [draw.uniform(-6, 6) for _ in good]
    alone = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    naive_pqm(list(alone), good, zeta).backward()
    batch = torch.tensor([[*values, *[3.0] * (6 - len(good))], [1.0] * 6], dtype=torch.float64, requires_grad=True)
    right = torch.tensor([[*good, *[False] * (6 - len(good))], [True] * 6])
    wrong = torch.tensor([[*[not one for one in good], *[False] * (6 - len(good))], [False] * 6])

    found = pqm(batch, right, wrong, zeta)
    found[0].backward()

    assert alone.grad is not None
    assert batch.grad is not None
    assert found[0].item() == pytest.approx(naive_pqm(list(alone), good, zeta).item(), rel=1e-9)
    assert batch.grad[0].tolist() == pytest.approx([*alone.grad.tolist(), *[0.0] * (6 - len(good))], rel=1e-6, abs=1e-9)
    assert batch.grad[1].tolist() == [0.0] * 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pqm_is_finite_far_out(dtype: torch.dtype) -> None:
    """Every pattern of three steps at every corner of |Q| = 80: finite values, and gradients of at most one."""
    corners = torch.tensor(list(itertools.product([-80.0, 80.0], repeat=3)), dtype=dtype)
    for pattern in itertools.product([True, False], repeat=3):
        q = corners.clone().requires_grad_()
        right = torch.tensor([pattern]).expand(len(q), -1)
        values = pqm(q, right, ~right, 4.0)
        values.sum().backward()
        assert torch.isfinite(values).all()
        assert q.grad is not None
        assert (q.grad.abs() <= 1).all()
