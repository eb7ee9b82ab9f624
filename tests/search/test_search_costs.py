"""What a search costs: every token is scored once, the policy reads no prefix twice, and the account says so."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from search_worlds import FunctionScorer, Recording, wandering
from typer.testing import CliRunner

from gradatim import load, load_policy
from gradatim.cli import app
from gradatim.core import Problem, Step
from gradatim.problems.lab import load as lab_problems
from gradatim.score.calibrate import Calibration, write_calibration
from gradatim.score.engine import ModelScorer
from gradatim.search import Account, Prices, SearchConfig, search
from gradatim.solutions.local import LocalPolicy
from gradatim.solutions.local.kept import KeptPaths
from gradatim.solutions.settings import PolicySettings
from gradatim.trees import shared
from tiny_models import bpe_tokenizer, causal, reward_model

METHODS = ("beam", "dvts", "lookahead", "mcts", "backtrack")
SMALL = {"n": 2, "width": 4, "keep": 2, "simulations": 5, "retries": 2, "step_limit": 4}
PROBLEMS = [Problem(id=str(index), prompt=f"Tom has {index} apples. How many has he?") for index in range(2)]


@cache
def policy_model() -> Any:
    """A random model in float64, where rounding can't move a token."""
    return causal("llama", len(bpe_tokenizer(bos=False)), seed=4).double()


def policy(**changes: Any) -> LocalPolicy:
    return LocalPolicy(
        policy_model(), bpe_tokenizer(bos=False), PolicySettings(max_new_tokens=40, device="cpu"), name="x", **changes
    )


class Noting(ModelScorer):
    """Notes what it scored."""

    def score(self, prefixes: Any, **more: Any) -> Any:
        self.noted = [*getattr(self, "noted", []), *prefixes]
        return super().score(prefixes, **more)


@pytest.mark.parametrize("method", METHODS)
def test_every_token_is_scored_once(method: str) -> None:
    """The reward model processes exactly the distinct tokens of all prefixes that were scored, over all rounds."""
    scorer = Noting(reward_model())
    config = SearchConfig(method=method, **SMALL)  # type: ignore[arg-type]
    _, account = search(PROBLEMS, policy(), scorer, config)
    sequences = [scorer.model.encoder.encode(prefix).ids for prefix in scorer.noted]
    beginnings = {ids[:length] for ids in sequences for length in range(1, len(ids) + 1)}
    assert account.distinct == len(beginnings)
    assert account.scored == scorer.stats.tokens_processed
    assert len(beginnings) <= account.scored <= 1.05 * len(beginnings)


def test_the_policy_reads_prompts_only() -> None:
    """With keys and values kept, nothing that the policy wrote is read again: in all, the prompts without their last
    tokens. (The lab's tokenizer makes the same tokens of a step that the policy wrote.)"""
    lab, scorer = load_policy("lab"), load("lab")
    problems = lab_problems("test", 2)
    _, account = search(problems, lab, scorer, SearchConfig(n=2, width=4, keep=2))
    assert account.prefilled == sum(len(lab.codec.encode(problem.start())) - 1 for problem in problems)
    assert account.scored == account.distinct
    assert account.generated > account.prefilled


def test_kept_keys_and_values_change_no_text() -> None:
    """A policy that keeps what it read and wrote writes what one that reads everything anew does, and reads less."""
    keeping, fresh = policy(), policy(keep_mib=0)
    last, prefixes = [PROBLEMS[0].start()], 0
    for _ in range(4):
        rows = keeping.write(last, draws=range(6), one_step=True)
        assert rows == fresh.write(last, draws=range(6), one_step=True)
        pairs = [(prefix, made) for prefix, row in zip(last, rows, strict=True) for made in row]
        prefixes += len(last)
        last = [prefix.then(Step(made.text)) for prefix, made in pairs if made.finish == "step"][:3]
    assert prefixes > 4
    assert keeping.prefilled < fresh.prefilled / 2


PATHS = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)


def states(path: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values that tell the path down to each token: (1 head, tokens, width 1)."""
    keys = torch.tensor([float(hash(path[: end + 1]) % 1009) for end in range(len(path))])[None, :, None]
    return [(keys, keys + 0.5)]


@given(added=st.lists(PATHS, max_size=12), asked=PATHS, room=st.integers(0, 20))
def test_kept_paths_are_whole_and_within_their_bound(
    added: list[tuple[int, ...]], asked: tuple[int, ...], room: int
) -> None:
    """What is found of a path is its beginning with that beginning's own keys and values; all of it, if all fits."""
    bounded, boundless = KeptPaths(room * 8), KeptPaths(1 << 20)
    for path in added:
        for kept in (bounded, boundless):
            kept.add(path, states(path))
        assert bounded.bytes <= room * 8
    for kept in (bounded, boundless):
        count, cache = kept.find(asked)
        assert (cache is None) == (count == 0)
        if cache is not None:
            assert torch.equal(cache.layers[0].keys[0], states(asked[:count])[0][0])
            assert torch.equal(cache.layers[0].values[0], states(asked[:count])[0][1])
    assert boundless.find(asked)[0] == max((shared(path, asked) for path in added), default=0)


def test_counts_that_nobody_keeps_are_none() -> None:
    """A scripted policy does not say what it reads: that is not zero, and there is no sum of operations."""
    _, account = search(PROBLEMS, wandering(), FunctionScorer(lambda _: 0.5), SearchConfig(**SMALL))  # type: ignore[arg-type]
    assert (account.prefilled, account.scored, account.distinct) == (None, None, None)
    assert account.flops(Prices(write=1, read=1, score=1)) is None
    assert Account(generated=3, prefilled=None) + Account(generated=1) == Account(generated=4, prefilled=None)


def test_a_calibration_that_leaves_the_ranking_alone_leaves_the_account_alone(tmp_path: Path) -> None:
    """The tokens are those of the model inside, distinct ones and operations included."""
    halved = Calibration(
        method="temperature",
        scale="probability",
        numbers={"temperature": (2.0,)},
        truth="validity",
        target="valid",
        scorer="lab-prm",
        items=1,
        problems=1,
    )
    write_calibration(tmp_path / "map.json", halved)
    asked = ["search", "lab:test:1", "--n", "1", "--width", "2", "--keep", "1", "--json", "--quiet"]
    plain, mapped = (
        json.loads(CliRunner().invoke(app, [*asked, *more]).stdout)
        for more in ([], ["--calibration", str(tmp_path / "map.json")])
    )
    assert plain["account"]["distinct"] > 0
    assert plain["account"]["flops"] > 0
    assert mapped["account"] == plain["account"]
    assert mapped["problems"][0]["value"] != plain["problems"][0]["value"]


def test_operations_are_tokens_times_prices() -> None:
    account = Account(generated=10, prefilled=5, scored=7, distinct=7)
    assert account.flops(Prices(write=3.0, read=2.0, score=100.0)) == 30 + 10 + 700


def test_parameters_that_a_token_meets() -> None:
    """Matrices of the layers and of the head; embeddings are looked up."""
    from gradatim.backbones import multiplied

    model = causal("llama", 50)
    width, inner, values = 32, 48, 16
    layer = 2 * width * width + 2 * width * values + 3 * width * inner
    assert multiplied(model) == (2 * layer, 50 * width)


def test_a_token_budget_bounds_each_problem() -> None:
    """No round starts once a problem's tokens are spent; its neighbours go on."""
    recording = Recording(wandering("ab", 9))
    config = SearchConfig(n=3, width=3, keep=3, token_budget=6)
    found, account = search(PROBLEMS, recording, FunctionScorer(lambda _: 0.5), config)
    assert all(6 <= one.generated < 6 + 3 * 2 for one in found)
    assert account.generated == sum(one.generated for one in found)
