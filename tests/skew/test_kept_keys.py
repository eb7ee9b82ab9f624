"""Scoring step by step, with keys kept from call to call, gives what scoring each solution alone gives."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from gradatim.core import Prefix, Step
from gradatim.errors import BackendError
from gradatim.models import reading, sheets
from gradatim.models.model import Kind, RewardModel
from gradatim.score.engine import ModelScorer
from tiny_models import prefixes, reward_model

ARCHITECTURES = ["llama", "qwen2", "mistral", "neox", "gpt2"]


def plain(model: RewardModel, wanted: list[Prefix]) -> list[tuple[float, ...] | None]:
    """Logits from the stock class's forward pass of each unpadded solution."""
    found: list[tuple[float, ...] | None] = []
    for prefix in wanted:
        encoding = model.encoder.encode(prefix)
        with torch.inference_mode():
            logits = model.module(torch.tensor([encoding.ids])).logits[0]
        places = [read for read in encoding.reads if read is not None]
        rows = logits[places] if model.kind == "prm" else logits[None]
        found.append(tuple((rows[:, 1] - rows[:, 0] if model.kind == "prm" else rows[:, 0]).tolist()))
    return found


def assert_same(scorer: ModelScorer, wanted: list[Prefix]) -> None:
    """To 1e-5, for every step of every prefix."""
    expected = plain(scorer.model, wanted)  # type: ignore[arg-type]
    for score, want in zip(scorer.score(wanted), expected, strict=True):
        assert score.logits == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("kind", ["prm", "orm"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prefixes_that_grow(architecture: str, kind: Kind) -> None:
    """Beams extended step by step, in calls of their own, score as if each were scored alone."""
    window = {"sliding_window": 128} if architecture == "mistral" else {}
    scorer = ModelScorer(reward_model(kind, architecture, **window), batch_tokens=50)
    for length in range(1, 5):
        assert_same(scorer, [prefix.first(min(length, len(prefix.steps))) for prefix in prefixes()])


@pytest.mark.parametrize("batch_tokens", [1, 7, 2048])
@pytest.mark.parametrize("keep_tokens", [0, 60, 10_000])
def test_any_memory_gives_the_same_scores(batch_tokens: int, keep_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is kept, whatever was scored before, in any order: a score is the solution's own."""
    monkeypatch.setattr(sheets, "PIECE", 16)
    scorer = ModelScorer(reward_model(), batch_tokens=batch_tokens, keep_mib=0)
    scorer._sheets.keep_bytes = keep_tokens * 2 * 2 * 16 * 4  # layers, keys and values, two heads of 8, float32
    draws = random.Random(5)
    for _ in range(3):
        wanted = draws.sample(prefixes(), 6)
        assert_same(scorer, [prefix.first(draws.randint(1, len(prefix.steps))) for prefix in wanted])
        assert scorer._sheets._pool.bytes <= scorer._sheets.keep_bytes


def test_a_step_more_costs_that_step() -> None:
    """A prefix that was scored is not computed again: only the tokens of the new step are."""
    model = reward_model()
    scorer, prefix = ModelScorer(model), prefixes()[2]
    costs = []
    for length in range(1, len(prefix.steps) + 1):
        before = scorer.stats.tokens_processed
        scorer.score([prefix.first(length)])
        costs.append(scorer.stats.tokens_processed - before)

    reads = [read for read in model.encoder.encode(prefix).reads if read is not None]
    assert costs == [reads[0] + 1, *(after - before for before, after in pairwise(reads))]
    before = scorer.stats
    scorer.score([prefix])
    assert scorer.stats.tokens_processed == before.tokens_processed


@pytest.mark.parametrize("budget", [sheets.PIECE, 4, 1])
def test_pieces_of_any_size_see_the_same(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sheet is cut, and which neighbours share a call, changes no score."""
    monkeypatch.setattr(sheets, "PIECE", budget)
    for call in (0, 10**9):
        monkeypatch.setattr(sheets, "CALL", call)
        assert_same(ModelScorer(reward_model("prm", "qwen2")), prefixes())


def test_one_text_cut_in_two_ways() -> None:
    """A step that holds the separator has the same tokens as two steps, and other reads; both in one call, or in two."""
    model = reward_model()
    whole = Prefix("p", "Q", (Step("Start with 3 apples.\nThen 3 + 12 = 15.\n"),))
    split = Prefix("p", "Q", (Step("Start with 3 apples.\n"), Step("Then 3 + 12 = 15.\n")))
    assert model.encoder.encode(whole).ids == model.encoder.encode(split).ids

    assert_same(ModelScorer(model), [whole, split])
    scorer = ModelScorer(model)
    assert_same(scorer, [whole])
    assert_same(scorer, [split])
    assert scorer.stats.tokens_processed == len(model.encoder.encode(whole).ids) + 1


def test_other_weights_are_noticed() -> None:
    """After a training step nothing of what was kept is used."""
    model = reward_model()
    scorer = ModelScorer(model)
    assert_same(scorer, prefixes())
    optimizer = torch.optim.SGD(model.module.parameters(), lr=0.05)
    model.module(torch.tensor([[5, 6, 7]])).logits.sum().backward()
    optimizer.step()

    assert_same(scorer, prefixes())
    with torch.no_grad():
        model.module.score.weight.mul_(-1)
    assert_same(scorer, prefixes())


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int, error: BaseException) -> None:
    """Passes of more than so many tokens fail."""
    usual = reading.hidden_on

    def hidden_on(module: Any, sheet: sheets.Sheet, *rest: Any) -> torch.Tensor:
        if len(sheet) > most:
            raise error
        return usual(module, sheet, *rest)

    monkeypatch.setattr(reading, "hidden_on", hidden_on)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory: you tried ...")],
)
def test_too_little_memory_halves_the_batch(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on in smaller batches with the same scores, and says so."""
    short_of_memory(monkeypatch, 40, error)
    scorer = ModelScorer(reward_model(), batch_tokens=256)

    assert_same(scorer, prefixes())
    assert scorer.batch_tokens == 32
    assert scorer.stats.notes[-1] == "out of memory: went on with batches of 32 tokens"


def test_no_memory_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, and says what would help."""
    short_of_memory(monkeypatch, 0, MemoryError())
    with pytest.raises(BackendError, match="out of memory even in the smallest batches"):
        ModelScorer(reward_model()).score(prefixes())


def test_other_errors_are_not_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is not retried; nothing of the failed pass is kept."""
    model = reward_model()
    scorer = ModelScorer(model)
    with monkeypatch.context() as patched:
        short_of_memory(patched, 0, RuntimeError("shapes do not match"))
        with pytest.raises(RuntimeError, match="shapes"):
            scorer.score(prefixes())

    assert_same(scorer, prefixes())


def test_a_foreign_reading_has_whole_paths() -> None:
    """What is no `RewardModel` is asked for its own values, in blocks that begin with the first token."""

    class Foreign:
        """The same model, with a bonus a token: only its own `logits` knows."""

        def __init__(self, model: RewardModel) -> None:
            self.model = model

        def __getattr__(self, name: str) -> Any:
            return getattr(self.model, name)

        def logits(self, blocks: Any, nodes: Any) -> torch.Tensor:
            assert all(block.depth[0] == 0 for block in blocks)
            return self.model.logits(blocks, nodes) + 7

    model = reward_model()
    for usual, other in zip(
        ModelScorer(model).score(prefixes()), ModelScorer(Foreign(model)).score(prefixes()), strict=True
    ):
        assert other.logits == pytest.approx([value + 7 for value in usual.logits or ()], abs=1e-5)


def test_eager_attention_keeps_nothing_and_scores_the_same() -> None:
    """A model whose attention can't be replaced is run in blocks with dense masks."""
    model = reward_model(attn_implementation="eager")
    scorer = ModelScorer(model)

    assert_same(scorer, prefixes())
    before = scorer.stats.tokens_processed
    assert_same(scorer, prefixes())
    assert scorer.stats.tokens_processed == 2 * before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype: torch.dtype) -> None:
    """Weights and activations of half the size: scores that differ by their rounding, not by what is kept."""
    model = reward_model()
    half = replace(model, module=reward_model().module.to(dtype))
    exact, scorer = ModelScorer(model).score(prefixes()), ModelScorer(half, batch_tokens=30)

    for _ in range(2):
        for want, score in zip(exact, scorer.score(prefixes()), strict=True):
            assert score.steps == pytest.approx(want.steps, abs=0.1)
