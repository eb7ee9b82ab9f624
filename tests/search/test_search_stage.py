"""`gradatim search`: files, going on after a stop, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from search_worlds import FunctionScorer, Recording
from typer.testing import CliRunner

from gradatim.cli import app
from gradatim.core import Prefix, Problem
from gradatim.errors import ConfigError, InputError
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.records import read_scores, read_solutions
from gradatim.search import SearchConfig, search, search_stage
from gradatim.verify.answers import exact_verifier

CONFIG = SearchConfig(n=2, width=4, keep=2, batch=2)


def value(prefix: Prefix) -> float:
    return MarkovPolicy().value(prefix)


def stage(
    problems: list[Problem], policy: Any, out: Path | None = None, config: SearchConfig = CONFIG
) -> dict[str, Any]:
    result = search_stage(config, policy, FunctionScorer(value), problems, verifier=exact_verifier, out=out, quiet=True)
    return {name: item for name, item in result.items() if name not in ("seconds", "out")}


def test_files_hold_every_finished_solution_with_its_score(tmp_path: Path) -> None:
    problems = load("test", 3)
    result = stage(problems, MarkovPolicy(), tmp_path)
    found, _ = search(problems, MarkovPolicy(), FunctionScorer(value), CONFIG, verifier=exact_verifier)
    candidates = [candidate for one in found for candidate in one.candidates]
    assert read_solutions(tmp_path / "solutions.jsonl") == [one.solution for one in candidates]
    scores = dict(read_scores(tmp_path / "scores.jsonl"))
    assert [scores[one.solution.id].value for one in candidates] == [one.score.value for one in candidates]
    assert result["finished"] == len(candidates)
    assert result["best"]["correct"] == sum(
        one.best is not None and one.best.solution.verdict == "correct" for one in found
    )
    assert [row["text"] for row in result["problems"]] == [one.best and one.best.solution.prefix.text for one in found]


def test_a_search_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """What was recorded is not searched again, and the result is that of one go."""

    class Tired(Recording):
        def write(self, prefixes: Any, **more: Any) -> Any:
            if any(prefix.problem_id == "lab-test-2" for prefix in prefixes):
                raise KeyboardInterrupt
            return super().write(prefixes, **more)

    problems = load("test", 5)
    with pytest.raises(KeyboardInterrupt):
        stage(problems, Tired(MarkovPolicy()), tmp_path)
    policy = Recording(MarkovPolicy())
    assert stage(problems, policy, tmp_path) == stage(problems, MarkovPolicy())
    assert {prefix.problem_id for prefix, *_ in policy.written} == {"lab-test-2", "lab-test-3", "lab-test-4"}
    assert {path.name for path in tmp_path.iterdir()} == {"solutions.jsonl", "scores.jsonl"}


def test_unfinished_work_with_other_settings_is_refused(tmp_path: Path) -> None:
    class Broken(MarkovPolicy):
        def write(self, prefixes: Any, **more: Any) -> Any:
            if prefixes[0].problem_id == "lab-test-2":
                raise KeyboardInterrupt
            return super().write(prefixes, **more)

    problems = load("test", 4)
    with pytest.raises(KeyboardInterrupt):
        stage(problems, Broken(), tmp_path)
    with pytest.raises(ConfigError, match="keep"):
        stage(problems, MarkovPolicy(), tmp_path, SearchConfig(n=2, width=4, keep=4, batch=2))


def test_two_problems_with_one_id_are_refused() -> None:
    problem = load("test", 1)[0]
    with pytest.raises(InputError, match="lab-test-0"):
        stage([problem, problem], MarkovPolicy())


def test_the_command_prints_one_object_and_its_account() -> None:
    """The lab's own policy and reward model, by the command line."""
    asked = ["search", "lab:test:1", "--n", "1", "--width", "2", "--keep", "1", "--json", "--quiet", "--method", "dvts"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["search"] == "dvts n=1 width=2 keep=1 steps=64 seed=0"
    [row] = printed["problems"]
    assert row["verdict"] in ("correct", "incorrect", "unparsed")
    account = printed["account"]
    assert account["scored"] == account["distinct"]
    assert account["flops"] > account["generated"]
