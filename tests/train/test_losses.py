from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from gradatim.train.losses import bradley_terry, logistic

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
