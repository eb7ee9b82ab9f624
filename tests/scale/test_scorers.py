"""Scoring on several workers: the scores in the order of the prefixes, the costs added up, refusals as one scorer tells them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gradatim.core import Prefix, Score, Step
from gradatim.errors import ConfigError, InputError
from gradatim.scale.scorers import TOGETHER, open_scorers, scorers
from gradatim.scale.settings import WorkerSettings
from gradatim.score.opening import Opening
from gradatim.score.stage import CountingScorer, Stats


def by_length() -> Callable[[], CountingScorer]:
    """What opens a scorer of texts by their length, which can't take a step "no". All of it is defined in here, so that it
    travels whole: workers do not import this file."""

    def opener() -> CountingScorer:
        return ByLength()

    class ByLength:
        name, checkpoint, threshold = "by length", "c0ffee", 0.25
        stats = Stats(tokens_processed=5, notes=("opened",))

        def refused(self, prefixes: Sequence[Prefix]) -> list[InputError | None]:
            return [InputError("too long") if prefix.text == "no" else None for prefix in prefixes]

        def score(self, prefixes: Sequence[Prefix], *, shown: Any = None) -> list[Score]:
            count = sum(len(prefix.text) for prefix in prefixes)
            self.stats += Stats(tokens_processed=count, distinct_tokens=len(prefixes), seconds=7.0)
            return [Score(value=len(prefix.text) / 100, by=self.name) for prefix in prefixes]

    return opener


def test_scores_are_those_of_one_scorer(ray_node: int) -> None:
    """More problems than fit in a part, and one with more solutions than that."""
    texts = [(f"p{index % 200 if index < 400 else 999}", "x" * (index % 37 + 1)) for index in range(400 + TOGETHER + 9)]
    prefixes = [Prefix(problem, "why?", (Step(text),)) for problem, text in texts]
    with scorers(by_length(), WorkerSettings(workers=2, worker_timeout=120)) as crew:
        assert (crew.name, crew.checkpoint, crew.threshold) == ("by length", "c0ffee", 0.25)
        assert crew.score(prefixes) == by_length()().score(prefixes)
        found = crew.stats
        assert (found.tokens_processed, found.distinct_tokens) == (sum(len(text) for _, text in texts), len(texts))
        assert found.notes == ("opened",)
        assert 0 < found.seconds < 120
        bad = Prefix("p", "why?", (Step("no"),))
        assert [reason and str(reason) for reason in crew.refused([prefixes[0], bad])] == [None, "too long"]
        assert crew.score([]) == crew.refused([]) == []


def test_a_server_has_workers_of_its_own() -> None:
    """A model on a server and workers contradict each other."""
    asked = WorkerSettings(workers=2)
    with pytest.raises(ConfigError, match="on a server"), open_scorers("m", Opening(server="http://x"), asked):
        pass
