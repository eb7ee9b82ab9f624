"""`gradatim search`: files, going on after a stop, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from search_worlds import FunctionScorer, Recording
from typer.testing import CliRunner

from gradatim.choose.stage import ChooseConfig, choose_stage
from gradatim.cli import app
from gradatim.core import Continuation, Policy, Prefix, Problem, Score, Scorer, Verifier
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.records import read_scores, read_solutions
from gradatim.score.calibrate import CalibratedScorer, Calibration
from gradatim.score.engine import ModelScorer
from gradatim.search import SearchConfig, search, search_stage
from gradatim.solutions.ledger import Ledger, ledger_path
from gradatim.verify.answers import choice_verifier, exact_verifier
from gradatim.view.explain import ExplainConfig, explain_stage
from tiny_models import reward_model

CONFIG = SearchConfig(n=2, width=4, keep=2, batch=2)


def value(prefix: Prefix) -> float:
    return MarkovPolicy().value(prefix)


def stage(
    problems: list[Problem],
    policy: Any,
    out: Path | None = None,
    config: SearchConfig = CONFIG,
    *,
    scorer: Scorer | None = None,
    verifier: Verifier | None = exact_verifier,
) -> dict[str, Any]:
    scorer = scorer or FunctionScorer(value)
    result = search_stage(config, policy, scorer, problems, verifier=verifier, out=out, quiet=True)
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


class Stopping(MarkovPolicy):
    """Is stopped at the third problem."""

    def write(self, prefixes: Any, **more: Any) -> Any:
        if prefixes[0].problem_id == "lab-test-2":
            raise KeyboardInterrupt
        return super().write(prefixes, **more)


def test_unfinished_work_with_other_settings_is_refused(tmp_path: Path) -> None:
    problems = load("test", 4)
    with pytest.raises(KeyboardInterrupt):
        stage(problems, Stopping(), tmp_path)
    with pytest.raises(ConfigError, match="with keep = 2, and this run has 1"):
        stage(problems, MarkovPolicy(), tmp_path, SearchConfig(n=2, width=4, keep=1, batch=2))


MAP = Calibration(
    method="temperature",
    scale="probability",
    numbers={"temperature": (2.0,)},
    truth="validity",
    target="valid",
    scorer="tiny prm",
    items=1,
    problems=1,
)
PRM = reward_model()


@pytest.mark.parametrize(
    ("told", "scorer", "verifier"),
    [
        ("reduction", lambda: ModelScorer(replace(PRM, reduction="mean")), exact_verifier),
        ("calibration", lambda: CalibratedScorer(ModelScorer(PRM), MAP), exact_verifier),
        ("verifier", lambda: ModelScorer(PRM), choice_verifier),
        ("verifier", lambda: ModelScorer(PRM), None),
    ],
)
def test_unfinished_work_under_another_judge_is_refused(
    told: str, scorer: Callable[[], Scorer], verifier: Verifier | None, tmp_path: Path
) -> None:
    """A model's name and checkpoint say neither how its step scores are reduced nor what was made of them."""
    problems, config = load("test", 3), SearchConfig(n=1, width=1, keep=1, batch=2, step_limit=2)
    with pytest.raises(KeyboardInterrupt):
        stage(problems, Stopping(), tmp_path, config, scorer=ModelScorer(PRM))
    with pytest.raises(ConfigError, match=f"unfinished work with {told} = "):
        stage(problems, MarkovPolicy(), tmp_path, config, scorer=scorer(), verifier=verifier)
    stage(problems, MarkovPolicy(), tmp_path, config, scorer=ModelScorer(PRM))


class Failing:
    """A policy whose draws fail for some problems from a step on, but for the first of each call."""

    def __init__(self, policy: Policy, *broken: str, start: int = 1, first: int = 0) -> None:
        self.policy, self.name, self.broken, self.start, self.first = policy, policy.name, broken, start, first

    def write(self, prefixes: Any, *, draws: range, **more: Any) -> list[list[Continuation]]:
        rows = self.policy.write(prefixes, draws=draws, **more)
        return [
            [*row[: self.first], *[Continuation("", "failed", 0, "no server")] * (len(row) - self.first)]
            if prefix.problem_id in self.broken and len(prefix.steps) >= self.start
            else row
            for prefix, row in zip(prefixes, rows, strict=True)
        ]


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_problems_with_draws_that_failed_are_searched_again(tmp_path: Path) -> None:
    """The files hold the rest, the ledger stays, and the same call asks for those problems alone; in the end all is as if
    nothing had failed. What is worse the second time changes nothing."""
    problems = load("test", 5)
    clean, out = tmp_path / "clean", tmp_path / "out"
    expected = stage(problems, MarkovPolicy(), clean)
    first = stage(problems, Failing(MarkovPolicy(), "lab-test-1", "lab-test-4"), out)
    assert set(first["not_written"]) == {"no server"}
    assert ledger_path(out / "solutions.jsonl").exists()
    some = {one.prefix.problem_id for one in read_solutions(out / "solutions.jsonl")}
    assert some == {"lab-test-0", "lab-test-2", "lab-test-3"}

    # One draw of each prefix is had, so that more draws fail than where all of the first do.
    stage(problems, Failing(MarkovPolicy(), "lab-test-1", "lab-test-4", first=1), out)
    further = (out / "solutions.jsonl").read_bytes()
    assert {one.prefix.problem_id for one in read_solutions(out / "solutions.jsonl")} == {one.id for one in problems}
    stage(problems, Failing(MarkovPolicy(), "lab-test-1", "lab-test-4", start=0), out)
    assert (out / "solutions.jsonl").read_bytes() == further

    policy = Recording(MarkovPolicy())
    again = stage(problems, policy, out)
    assert {prefix.problem_id for prefix, *_ in policy.written} == {"lab-test-1", "lab-test-4"}
    assert written(out) == written(clean)
    assert {**again, "account": None} == {**expected, "account": None}
    assert again["account"]["generated"] > expected["account"]["generated"]  # what was spent on what failed, too


def test_a_search_of_which_nothing_could_be_written_leaves_the_files_alone(tmp_path: Path) -> None:
    """It is an error; and what failed bars nobody."""
    problems = load("test", 3)
    stage(problems, MarkovPolicy(), tmp_path)
    files = written(tmp_path)
    gone = Failing(MarkovPolicy(), *(problem.id for problem in problems), start=0)
    for out in (tmp_path, None):
        with pytest.raises(BackendError, match="nothing could be written: no server"):
            stage(problems, gone, out)
    assert {name: content for name, content in written(tmp_path).items() if name in files} == files
    with Ledger(ledger_path(tmp_path / "solutions.jsonl"), {"stage": "other"}) as ledger:
        assert ledger.count() == 0


class Short(FunctionScorer):
    """Refuses what is longer than so many steps."""

    def __init__(self, most: int) -> None:
        super().__init__(value)
        self.most = most

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        if any(len(prefix.steps) > self.most for prefix in prefixes):
            raise InputError("too long", expected=f"at most {self.most} steps")
        return super().score(prefixes)


def test_choose_and_explain_take_the_files_of_a_search_with_refusals(tmp_path: Path) -> None:
    """A finished solution that the scorer refused is counted, and in neither file: nothing can choose by its score."""
    problems = load("test", 4)
    stage(problems, MarkovPolicy(), tmp_path)
    steps = [len(one.prefix.steps) for one in read_solutions(tmp_path / "solutions.jsonl")]
    result = stage(problems, MarkovPolicy(), tmp_path, scorer=Short(most=min(steps)))
    pool, scores = str(tmp_path / "solutions.jsonl"), (str(tmp_path / "scores.jsonl"),)
    kept = len(read_solutions(tmp_path / "solutions.jsonl"))
    assert 0 < kept == result["finished"] - result["unscored"] < result["finished"]
    assert result["counts"]["refused"] >= result["unscored"]
    assert choose_stage(ChooseConfig(pool=pool, scores=scores), quiet=True)["candidates"] == kept
    explained = explain_stage(ExplainConfig(data=pool, scores=scores))
    assert sum(len(one["solutions"]) for one in explained["problems"]) == kept


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
