"""What a forward pass owes: from the logits of some lessons to one number."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gradatim.train.lessons import Lesson, Ranking
from gradatim.train.losses import bradley_terry, focal, logistic, pqm, squared_error
from gradatim.train.targets import Evidence

_GOLDEN = (math.sqrt(5) - 1) / 2


def loss_of(z: Tensor, lessons: Sequence[Lesson]) -> Tensor:
    """The sum (not the mean) of the losses at the logits (reads,) of some lessons, all with one goal."""
    if lessons[0].matches:
        return _of_matches(z, lessons)
    return _of_rankings(z, lessons) if lessons[0].rankings else _of_evidence(z, lessons)


def constant_loss(lessons: Sequence[Lesson]) -> float:
    """The mean loss of the best constant logit: what a model that looks at nothing reaches. Pairs without margin: ln 2."""
    whole = _summary(lessons)

    def mean(constant: float) -> float:
        return loss_of(torch.full((whole.reads,), constant, dtype=torch.float64), [whole]).item() / whole.weight

    if not whole.evidence or whole.goal.objective == "focal":
        return _least(mean)
    # Proper scores have their minimum where the probability is the rate, whatever the positive weight.
    [(good, bad)] = whole.evidence
    return mean(math.log(good / bad)) if good and bad else 0.0


def _summary(lessons: Sequence[Lesson]) -> Lesson:
    """A small lesson that owes what all of them owe where every logit is the same."""
    margins: dict[float, float] = defaultdict(float)
    kinds: dict[tuple[bool, ...], float] = defaultdict(float)
    for lesson in lessons:
        for *_, margin, weight in lesson.matches:
            margins[margin] += weight
        for ranking in lesson.rankings:
            kinds[ranking.good] += ranking.weight
    evidence = [owed for lesson in lessons for owed in lesson.evidence]
    return Lesson(
        (),
        (tuple(range(max(map(len, kinds), default=2))),) if not evidence else ((0,),),
        (Evidence(sum(owed.good for owed in evidence), sum(owed.bad for owed in evidence)),) if evidence else (),
        matches=tuple((0, 1, margin, weight) for margin, weight in margins.items()),
        rankings=tuple(Ranking(tuple(range(len(kind))), kind, weight) for kind, weight in kinds.items()),
        goal=lessons[0].goal,
    )


def _of_evidence(z: Tensor, lessons: Sequence[Lesson]) -> Tensor:
    goal = lessons[0].goal
    owed = [evidence for lesson in lessons for evidence in lesson.evidence]
    good, bad = torch.tensor(owed, dtype=z.dtype, device=z.device).unbind(1)
    z, good = z + goal.logit_shift, goal.positive_weight * good
    match goal.objective:
        case "mse":
            return squared_error(z, good, bad).sum()
        case "focal":
            return focal(z, good, bad, goal.gamma).sum()
        case _:
            return logistic(z, good, bad).sum()


def _of_matches(z: Tensor, lessons: Sequence[Lesson]) -> Tensor:
    rows, first = [], 0
    for lesson in lessons:
        rows += [(first + chosen, first + rejected, margin, w) for chosen, rejected, margin, w in lesson.matches]
        first += lesson.reads
    chosen, rejected = torch.tensor([row[:2] for row in rows], device=z.device).unbind(1)
    margin, weight = torch.tensor([row[2:] for row in rows], dtype=z.dtype, device=z.device).unbind(1)
    return (weight * bradley_terry(z[chosen], z[rejected], margin)).sum()


def _of_rankings(z: Tensor, lessons: Sequence[Lesson]) -> Tensor:
    """Each solution a row, padded with its own first read, which both masks hide."""
    reads, marks, weights, first = [], [], [], 0
    for lesson in lessons:
        for ranking in lesson.rankings:
            reads.append([first + read for read in ranking.reads])
            marks.append([1 if good else -1 for good in ranking.good])
            weights.append(ranking.weight)
        first += lesson.reads
    width = max(map(len, reads))
    rows = torch.tensor([[*row, *[row[0]] * (width - len(row))] for row in reads], device=z.device)
    mark = torch.tensor([[*row, *[0] * (width - len(row))] for row in marks], device=z.device)
    weight = torch.tensor(weights, dtype=z.dtype, device=z.device)
    return (weight * pqm(z[rows], mark > 0, mark < 0, lessons[0].goal.zeta)).sum()


def _least(of: Callable[[float], float], low: float = -30.0, high: float = 30.0) -> float:
    """The minimum of a function that falls and then rises, by golden sections."""
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = of(a), of(b)
    while high - low > 1e-6:
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = of(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = of(b)
    return min(at_a, at_b)
