"""A score is what the stock model says of the solution alone, whatever else is in the batch and however it is padded."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch

from gradatim.core import Prefix, Reduction, Score, Step
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.models.activation import sigmoid
from gradatim.models.model import Kind, RewardModel
from gradatim.score.engine import ModelScorer
from tiny_models import prefixes, reward_model

ARCHITECTURES = ["llama", "qwen2", "mistral", "gpt2"]


def stock_logits(model: RewardModel, prefix: Prefix) -> list[float]:
    """What the stock classes' own forward pass of one unpadded solution gives."""
    encoding = model.encoder.encode(prefix)
    with torch.inference_mode():
        logits = model.module(torch.tensor([encoding.ids])).logits
    if model.kind == "orm":
        return [logits.item()]
    return [(logits[0, read, 1] - logits[0, read, 0]).item() for read in encoding.reads if read is not None]


def found_logits(scores: list[Score]) -> list[list[float]]:
    return [list(score.logits or ()) for score in scores]


def assert_close(found: list[list[float]], expected: list[list[float]]) -> None:
    assert [len(row) for row in found] == [len(row) for row in expected]
    pairs = [(x, y) for row, other in zip(found, expected, strict=True) for x, y in zip(row, other, strict=True)]
    assert max(abs(x - y) for x, y in pairs) < 1e-5


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", ["prm", "orm"])
@pytest.mark.parametrize(
    ("block_tokens", "batch_tokens", "use_trees"),
    [(1000, 4096, True), (80, 4096, True), (80, 100, True), (1, 1, True), (1000, 4096, False), (1000, 1, False)],
)
def test_scores_are_the_stock_model_s(
    architecture: str, kind: Kind, block_tokens: int, batch_tokens: int, use_trees: bool
) -> None:
    """In trees or padded rows, in batches of any size, every logit agrees with the solution alone to 1e-5."""
    model = reward_model(kind, architecture)
    solutions = prefixes()
    scorer = ModelScorer(model, block_tokens=block_tokens, batch_tokens=batch_tokens, use_trees=use_trees)

    assert_close(found_logits(scorer.score(solutions)), [stock_logits(model, prefix) for prefix in solutions])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_order_and_company_change_nothing(architecture: str) -> None:
    """Shuffled, doubled or one by one, a solution keeps its score."""
    scorer = ModelScorer(reward_model("prm", architecture))
    solutions = prefixes()
    order = list(range(len(solutions)))
    random.Random(3).shuffle(order)

    together = found_logits(scorer.score(solutions))
    shuffled = found_logits(scorer.score([solutions[index] for index in order]))
    alone = [found_logits(scorer.score([prefix]))[0] for prefix in solutions]
    assert_close(shuffled, [together[index] for index in order])
    assert_close(alone, together)
    assert_close(found_logits(scorer.score(solutions * 2)), together * 2)


def test_there_is_a_score_a_step_and_it_is_signed() -> None:
    """n_scores == n_steps; steps are sigmoids of the logits, and the score says who gave it, and to what."""
    solutions = prefixes()
    model = reward_model()
    scores = ModelScorer(model).score(solutions)

    assert [len(score.steps) for score in scores] == [len(prefix.steps) for prefix in solutions]
    for score, prefix in zip(scores, solutions, strict=True):
        assert score.steps == tuple(map(sigmoid, score.logits or ()))
        assert (score.by, score.reduction, score.prefix) == (model.name, "min", prefix)
        assert score.value == pytest.approx(min(score.steps))
    assert max(max(score.steps) for score in scores) - min(min(score.steps) for score in scores) > 0.1


@pytest.mark.parametrize(("reduction", "expected"), [("prod", math.prod), ("last", lambda steps: steps[-1])])
def test_the_model_s_reduction_makes_the_value(reduction: Reduction, expected: object) -> None:
    """The reduction saved with the model is the one that is used, and the score bears its name."""
    assert callable(expected)
    scores = ModelScorer(replace(reward_model(), reduction=reduction)).score(prefixes())

    for score in scores:
        assert score.value == pytest.approx(expected(score.steps))
        assert score.reduction == reduction


def test_an_orm_has_a_value_and_no_steps() -> None:
    """An outcome model's value is the sigmoid of its one logit."""
    for score in ModelScorer(reward_model("orm")).score(prefixes()):
        assert score.steps == ()
        assert score.reduction == "outcome"
        assert score.logits is not None
        assert score.value == sigmoid(score.logits[0])


def test_observations_are_context_and_score_nan() -> None:
    """An observation keeps its place with NaN, changes the steps after it, and none before."""
    scorer = ModelScorer(reward_model())
    first, seen, last = Step("Start with 3 apples.\n"), Step("15\n", "observation"), Step("The answer is 15.")

    with_it, without = scorer.score([Prefix("p", "Q", (first, seen, last)), Prefix("p", "Q", (first, last))])
    assert math.isnan(with_it.steps[1])
    assert with_it.steps[0] == pytest.approx(without.steps[0], abs=1e-6)
    assert abs(with_it.steps[2] - without.steps[1]) > 1e-4
    assert with_it.value == pytest.approx(min(with_it.steps[0], with_it.steps[2]))


@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_an_empty_solution_has_the_value_nan(kind: Kind) -> None:
    """Nothing to read is NaN, not an error and not 0; its neighbours are scored as ever."""
    scorer = ModelScorer(reward_model(kind))
    empty, full = Prefix("p", "Q"), prefixes()[0]

    nothing, something = scorer.score([empty, full])
    assert nothing.steps == ()
    assert math.isnan(nothing.value)
    assert something.value == pytest.approx(scorer.score([full])[0].value, abs=1e-6)
    assert scorer.score([]) == []


def test_only_observations_score_nan_at_every_step() -> None:
    """A PRM with nothing to judge says NaN a step, and NaN."""
    (score,) = ModelScorer(reward_model()).score([Prefix("p", "Q", (Step("seen", "observation"),))])

    assert list(map(math.isnan, score.steps)) == [True]
    assert math.isnan(score.value)


def test_the_account_of_tokens_is_right() -> None:
    """Distinct tokens are those of one tree; a tree processes fewer than rows do; padding is counted apart."""
    model, solutions = reward_model(), prefixes()
    ids = [model.encoder.encode(prefix).ids for prefix in solutions]
    distinct = len({row[:length] for row in ids for length in range(1, len(row) + 1)})
    rows = {row for row in ids if not any(other != row and other[: len(row)] == row for other in ids)}

    trees, padded = ModelScorer(model), ModelScorer(model, use_trees=False, batch_tokens=100_000)
    trees.score(solutions)
    padded.score(solutions)
    assert trees.stats.distinct_tokens == padded.stats.distinct_tokens == distinct
    assert trees.stats.tokens_processed == distinct < padded.stats.tokens_processed
    assert trees.stats.padding_tokens == 0
    assert padded.stats.tokens_processed == sum(map(len, rows))
    assert 0 < padded.stats.padding_tokens < padded.stats.tokens_processed / 7
    before = trees.stats
    trees.forget()
    trees.score(solutions)
    assert trees.stats.tokens_processed == 2 * before.tokens_processed
    assert trees.stats.seconds > before.seconds > 0


def test_a_model_that_takes_no_trees_says_so() -> None:
    """A window shorter than the solutions falls back to padded rows, with the same scores and a note."""
    model, solutions = reward_model("prm", "mistral", sliding_window=8), prefixes()
    scorer = ModelScorer(model)

    assert_close(found_logits(scorer.score(solutions)), [stock_logits(model, prefix) for prefix in solutions])
    assert scorer.stats.notes[0].startswith("no trees: the attention of this model takes trees up to 8 deep")
    full = ModelScorer(reward_model("prm", "llama"))
    full.score(solutions)
    asked = ModelScorer(reward_model("prm", "llama"), use_trees=False)
    asked.score(solutions)
    assert full.stats.notes == asked.stats.notes == ()


def test_what_can_not_be_scored_is_named() -> None:
    """A solution longer than the model can take is refused by name; the others are not scored silently without it."""
    scorer = ModelScorer(reward_model())
    long = Prefix("p9", "Q", (Step("word " * 600),))

    error = scorer.refused([prefixes()[0], long])
    assert error[0] is None
    assert "p9" in str(error[1])
    with pytest.raises(InputError, match=r"problem 'p9'.*at most 512"):
        scorer.score([prefixes()[0], long])


def test_a_model_of_nan_is_an_error() -> None:
    """Weights that overflowed do not become scores."""
    model = reward_model()
    with torch.no_grad():
        model.module.score.weight.fill_(math.nan)

    with pytest.raises(BackendError, match="answers NaN for a solution of problem 'p0'"):
        ModelScorer(model).score(prefixes())


def test_budgets_need_room() -> None:
    """A block or a batch of no tokens is refused."""
    with pytest.raises(ConfigError, match="block_tokens=0"):
        ModelScorer(reward_model(), block_tokens=0)
    with pytest.raises(ConfigError, match="keep_mib=-1"):
        ModelScorer(reward_model(), keep_mib=-1)


@pytest.mark.parametrize("logit", [-1e4, -30.0, -0.5, 0.0, 0.5, 30.0, 1e4])
def test_sigmoid_is_stable(logit: float) -> None:
    """It agrees with a tanh, and with its mirror image, where exp would overflow too."""
    assert sigmoid(logit) == pytest.approx((1 + math.tanh(logit / 2)) / 2, abs=1e-12)
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1)
    assert math.isnan(sigmoid(math.nan))
