"""`gradatim solve`: one problem's trouble does not cost the answers of the others."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pytest

from gradatim import best_of
from gradatim.cli import app
from gradatim.core import Continuation, Prefix, Problem, Score
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.solve import Solved, as_json, solve

PROBLEMS = [Problem(id=name, prompt=f"What is {name}?") for name in ("a", "b", "c")]


class Lengths:
    """Scores by the number of steps, and refuses more than three."""

    name = "lengths"

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        for prefix in prefixes:
            if len(prefix.steps) > 3:
                raise InputError(f"a solution of {len(prefix.steps)} steps", expected="at most 3")
        return [Score(value=len(one.steps) / 4, by=self.name) for one in prefixes]


def writes(**texts: Sequence[str | None]) -> ScriptedPolicy:
    """What is written for each problem, by draw; None fails."""

    def script(prefix: Prefix, draw: int, seed: int) -> Continuation:
        text = texts[prefix.problem_id][draw]
        return Continuation("", "failed", 0, "no server") if text is None else Continuation(text, "stop", 1)

    return ScriptedPolicy(script)


SHORT, LONG = "so\nAnswer: 1\n", "so\nand\nso\nAnswer: 2\n"


def test_refused_candidates_and_failed_draws_are_left_out_and_counted() -> None:
    """The rest is chosen from; a problem without any says why, and the others have their answers."""
    policy = writes(a=[SHORT, LONG, None], b=[None] * 3, c=[LONG] * 3)
    a, b, c = solve(PROBLEMS, policy, Lengths(), n=3)
    assert isinstance(a.outcome, Solved)
    assert (a.outcome.answer, a.outcome.runners_up, a.refused, a.not_written) == ("1", (), 1, {"no server": 1})
    assert isinstance(b.outcome, BackendError)
    assert (b.refused, b.not_written) == (0, {"no server": 3})
    assert isinstance(c.outcome, InputError)
    assert (c.refused, c.not_written) == (3, {})
    rows = [as_json(one) for one in (a, b, c)]
    assert [(row["problem_id"], row["answer"], row["candidates"]) for row in rows] == [
        ("a", "1", 1),
        ("b", None, 0),
        ("c", None, 0),
    ]
    assert rows[0]["reason"] is None
    assert "no server" in rows[1]["reason"]
    assert "a solution of 4 steps; expected at most 3" in rows[2]["reason"]


def test_a_policy_that_fails_for_one_problem_costs_that_problem_alone() -> None:
    """BackendError of the whole call, as a server's policy raises it."""

    class Broken(ScriptedPolicy):
        def write(self, prefixes: Any, **more: Any) -> Any:
            if prefixes[0].problem_id == "a":
                raise BackendError("http://there: no connection")
            return super().write(prefixes, **more)

    broken = Broken(lambda prefix, draw, seed: SHORT)
    first, second, _ = solve(PROBLEMS, broken, Lengths(), n=2)
    assert first.not_written == {"http://there: no connection": 2}
    assert isinstance(second.outcome, Solved)
    with pytest.raises(BackendError, match="no connection"):
        solve(PROBLEMS[:1], broken, Lengths(), n=2)
    with pytest.raises(BackendError, match="no connection"):
        best_of(broken, Lengths(), PROBLEMS[0], n=2)


def test_nothing_for_any_problem_is_an_error() -> None:
    with pytest.raises(BackendError, match="nothing could be written: no server"):
        solve(PROBLEMS[:2], writes(a=[None], b=[None]), Lengths(), n=1)
    with pytest.raises(InputError, match="at most 3"):
        best_of(writes(a=[LONG]), Lengths(), PROBLEMS[0], n=1)
    with pytest.raises(BackendError, match="has a step to score"):
        best_of(writes(a=[""]), NoValue(), PROBLEMS[0], n=1)


class NoValue(Lengths):
    """NaN for everything, as for solutions without a step."""

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        return [Score(value=float("nan"), by=self.name) for _ in prefixes]


def lab(monkeypatch: pytest.MonkeyPatch, text: bytes, *more: str) -> None:
    """The command with questions on standard input, answered by the lab's models."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    app(["solve", "-", "--n", "1", "--max-new-tokens", "4", "--json", "--quiet", *more], standalone_mode=False)


def test_questions_on_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first so many lines that are not empty; the result says what is missing from it."""
    lab(monkeypatch, "\ufeffWhat is 1 + 1?\n\n  And é?\nAnd this?\n".encode(), "--limit", "2")
    printed = json.loads(capsys.readouterr().out)
    assert [row["problem_id"] for row in printed["solved"]] == ["question-0", "question-1"]
    assert (printed["not_written"], printed["refused"]) == ({}, 0)
    with pytest.raises(ConfigError, match="limit=0"):
        lab(monkeypatch, b"What?\n", "--limit", "0")
    with pytest.raises(InputError, match="no question on standard input"):
        lab(monkeypatch, b"\n \n")


def test_bytes_that_are_no_text_are_named_by_their_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^<stdin>:3: bytes that are no UTF-8 \(at byte 4\)"):
        lab(monkeypatch, b"What is 1 + 1?\n\nAnd \xff?\n")
