"""Adaptive labelling from end to end: tallies, free evidence, gaps, the ledger, and the forecast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gradatim.core import Continuation, Estimate, Labels, Prefix, Problem, Solution, Step, Tally, Verdict
from gradatim.errors import ConfigError
from gradatim.labels.forecast import forecast_stage
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.checker import check, first_error
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.records import read_labels, read_solutions
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.verify.answers import exact_verifier

PROBLEM = Problem(id="p", prompt="What is 3 + 4?", answer="7")
SEQUENTIAL = LabelConfig(stop="posterior", search="bisection", cap=32, undecided="likelier")
INFORMED = LabelConfig(stop="posterior", search="informed", cap=32, undecided="likelier")


def solution(texts: Sequence[str], verdict: Verdict, *, draw: int = 0, author: str = "someone") -> Solution:
    prefix = Prefix("p", PROBLEM.prompt, tuple(map(Step, texts)))
    return Solution(prefix=prefix, author=author, draw=draw, verdict=verdict)


def labelled(
    folder: Path, policy: ScriptedPolicy, solutions: Sequence[Solution], config: LabelConfig
) -> tuple[list[Labels], dict[str, object]]:
    result = label_stage(config, policy, [PROBLEM], solutions, exact_verifier, folder / "labels.jsonl", quiet=True)
    return read_labels(folder / "labels.jsonl"), result


def test_far_fewer_tokens_find_the_same_errors(tmp_path: Path) -> None:
    """In the lab, the sequential rules find first errors about as often as 32 rollouts of every step, for less than a fifth."""
    policy, problems = MarkovPolicy(Student(misread=0.3)), load("test", 24)
    sample_stage(SampleConfig(n=14), policy, problems, exact_verifier, tmp_path / "s.jsonl", quiet=True)
    solutions = read_solutions(tmp_path / "s.jsonl")
    truth = [first_error(check(one.prefix)) for one in solutions]
    hits, cost = {}, {}
    for name, config in (("all", LabelConfig(k=32)), ("sequential", SEQUENTIAL), ("informed", INFORMED)):
        out = tmp_path / f"{name}.jsonl"
        result = label_stage(config, policy, problems, solutions, exact_verifier, out, quiet=True)
        rows = read_labels(out)
        hits[name] = sum(row.error_known and row.error == error for row, error in zip(rows, truth, strict=True))
        cost[name] = result["tokens"]
        assert {row.optional_stopping for row in rows} == {name != "all"}
        for row in rows:
            assert (row.bounds is None) == (name == "all")
            assert row.bounds == (0.1, 0.1) if name == "sequential" else sum(row.bounds or ()) < 1
    assert min(hits["sequential"], hits["informed"]) > hits["all"] - 0.04 * len(solutions)
    assert max(cost["sequential"], cost["informed"]) < cost["all"] / 5


def test_a_rule_reads_the_first_draws_of_a_longer_one(tmp_path: Path) -> None:
    """Fixed k = 5 counts the first 5 draws of what k = 12 counts, and the first success is the first of them."""
    policy = ScriptedPolicy(lambda prefix, draw, seed: f"Answer: {7 + (draw + len(prefix.text)) % 3 % 2}\n")
    ours = [solution(["a\n", "bc\n", "Answer: 8\n"], Verdict.INCORRECT)]
    endings = [[(draw + size) % 3 % 2 == 0 for draw in range(12)] for size in (2, 5)]
    for k in (5, 12):
        (row,), _ = labelled(tmp_path, policy, ours, LabelConfig(k=k))
        assert row.tallies == (*(Tally(sum(good[:k]), k) for good in endings), Tally(0, 1))
    (row,), result = labelled(tmp_path, policy, ours, LabelConfig(k=12, rule="any", stop="first"))
    assert row.tallies == (*(Tally(1, good.index(True) + 1) for good in endings), Tally(0, 1))
    assert (row.error, row.error_known, row.optional_stopping, row.bounds) == (2, True, True, None)
    assert result["rollouts"] == sum(good.index(True) + 1 for good in endings)


def test_a_right_answer_is_a_success_of_its_prefixes_for_hard_labels_only(tmp_path: Path) -> None:
    """By rule "any" it needs no rollouts and gets no counts from itself; by rule "relative" it is tested."""
    policy = ScriptedPolicy(lambda prefix, draw, seed: "Answer: 8\n")
    ours = [solution(["a\n", "b\n", "Answer: 7\n"], Verdict.CORRECT)]
    for stop, search in (("first", "all"), ("first", "bisection"), ("fixed", "bisection")):
        config = LabelConfig(rule="any", stop=stop, search=search)  # type: ignore[arg-type]
        (row,), result = labelled(tmp_path, policy, ours, config)
        assert (row.error, row.error_known) == (None, True)
        assert row.tallies == (Tally(), Tally(), Tally(1, 1))
        assert result["rollouts"] == (8 if stop == "fixed" else 0), "of the bare problem"
    (row,), _ = labelled(tmp_path, policy, ours, LabelConfig())
    assert row.error == 0


def test_other_solutions_are_free_evidence_of_what_they_share(tmp_path: Path) -> None:
    """Fourteen solutions begin with a right step; twelve of the others end well, so nobody needs to roll that step out."""
    asked: Counter[str] = Counter()

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        asked[prefix.text] += 1
        return f"Answer: {8 if 'bad' in prefix.text else 7}\n"

    right = [
        solution(["a\n", f"{draw}\n", "Answer: 7\n"], Verdict.CORRECT, draw=draw, author="scripted")
        for draw in range(13)
    ]
    wrong = solution(["a\n", "bad\n", "Answer: 8\n"], Verdict.INCORRECT, draw=13, author="scripted")
    rows, _ = labelled(tmp_path, ScriptedPolicy(script), [*right, wrong], LabelConfig(stop="sprt", search="all"))
    assert asked["a\n"] == asked[""] == 0
    assert rows[-1].start == rows[-1].tallies[0] == Tally(13, 13)
    assert (rows[-1].error, rows[-1].error_known) == (1, True)
    assert rows[-1].tallies[1] == Tally(0, asked["a\nbad\n"])
    assert {row.tallies[0] for row in rows[:-1]} == {Tally(12, 13)}
    fixed, _ = labelled(tmp_path, ScriptedPolicy(script), [*right, wrong], LabelConfig(k=2))
    assert {row.tallies[0] for row in fixed} == {Tally(2, 2)}


def test_an_informed_search_counts_each_draw_once_in_any_batches(tmp_path: Path) -> None:
    """Four solutions share steps: no draw is written twice, all that was written is counted, and batches change nothing."""
    asked: Counter[tuple[str, int]] = Counter()

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        asked[prefix.text, draw] += 1
        return f"Answer: {7 if 'bad' not in prefix.text and (draw + len(prefix.text)) % 2 else 8}\n"

    wrong = [
        solution(["a\n", step, f"{draw}\n", "Answer: 8\n"], Verdict.INCORRECT, draw=draw)
        for draw, step in enumerate(("b\n", "bad\n", "b\n", "bad\n"))
    ]
    found = []
    for batch in (1, 3, 512):
        asked.clear()
        (tmp_path / str(batch)).mkdir()
        config = replace(INFORMED, batch=batch)
        rows, result = labelled(tmp_path / str(batch), ScriptedPolicy(script), wrong, config)
        assert set(asked.values()) == {1}
        assert result["rollouts"] == len(asked)
        found.append(rows)
    assert found[0] == found[1] == found[2]
    assert [row.error for row in found[0]] == [3, 1, 3, 1]


def test_draws_that_failed_are_gaps_that_the_next_call_fills(tmp_path: Path) -> None:
    """A failed draw is in no denominator and is counted; the ledger stays, and only the gaps are written again."""
    down = [True]
    asked: Counter[tuple[str, int]] = Counter()

    def script(prefix: Prefix, draw: int, seed: int) -> str | Continuation:
        asked[prefix.text, draw] += 1
        if down[0] and prefix.steps and draw in (1, 2, 5):
            return Continuation("", "failed", 0, "503")
        return "Answer: 7\n"

    ours, policy = [solution(["a\n", "Answer: 7\n"], Verdict.CORRECT)], ScriptedPolicy(script)
    (row,), result = labelled(tmp_path, policy, ours, LabelConfig(k=6, batch=4))
    assert (row.tallies[0], result["not_written"], result["rollouts"]) == (Tally(3, 3), {"503": 3}, 9)
    down[0] = False
    (row,), result = labelled(tmp_path, policy, ours, LabelConfig(k=6, batch=4))
    assert (row.tallies[0], result["not_written"], result["rollouts"]) == (Tally(6, 6), {}, 12)
    assert asked == {("", draw): 1 for draw in range(6)} | {("a\n", d): 1 + (d in (1, 2, 5)) for d in range(6)}
    assert not ledger_path(tmp_path / "labels.jsonl").exists()


def test_the_forecast_holds_and_its_pilot_is_not_written_again(tmp_path: Path) -> None:
    """Within 25 % of what labelling then takes, in its own interval; the pilot's draws are read from the ledger."""
    policy, problems = MarkovPolicy(Student(misread=0.3)), load("test", 60)
    sample_stage(SampleConfig(n=4), policy, problems, exact_verifier, tmp_path / "s.jsonl", quiet=True)
    inputs = (policy, problems, read_solutions(tmp_path / "s.jsonl"), exact_verifier, tmp_path / "l.jsonl")
    found = forecast_stage(INFORMED, *inputs, pilot=24, price=2.0, quiet=True)
    again = forecast_stage(INFORMED, *inputs, pilot=24, price=2.0, quiet=True)
    assert {name: found[name] for name in found if name != "seconds"} == {
        name: again[name] for name in again if name != "seconds"
    }
    assert not (tmp_path / "l.jsonl").exists()
    result = label_stage(INFORMED, *inputs, quiet=True)
    assert result["batches_resumed"] > 0
    for name in ("rollouts", "tokens"):
        assert result[name] == pytest.approx(found[name].value, rel=0.25)
        assert found[name].low < result[name] < found[name].high
    assert found["money"].value == pytest.approx(found["tokens"].value * 2e-6)
    assert 0 < found["seconds"].low < found["seconds"].value < found["seconds"].high
    everything = forecast_stage(INFORMED, *inputs, pilot=100, quiet=True)
    assert everything["tokens"] == Estimate(*[result["tokens"]] * 3, 60)
    for bad in ({"pilot": 1}, {"price": -1.0}):
        with pytest.raises(ConfigError):
            forecast_stage(INFORMED, *inputs, **bad)  # type: ignore[arg-type]


def test_a_pilot_has_its_share_of_hard_problems(tmp_path: Path) -> None:
    """Half of the problems were solved and cost nothing, the others 8 rollouts: any pilot of ten knows that exactly."""
    problems = [Problem(id=f"p{index}", prompt=f"Question {index}", answer="7") for index in range(20)]
    solutions = [
        Solution(
            prefix=Prefix(
                problem.id, problem.prompt, (Step("a\n"), Step("Answer: 7\n" if index % 2 else "Answer: 8\n"))
            ),
            author="scripted",
            draw=0,
            verdict=Verdict.CORRECT if index % 2 else Verdict.INCORRECT,
        )
        for index, problem in enumerate(problems)
    ]
    policy = ScriptedPolicy(lambda prefix, draw, seed: "Answer: 8\n")
    for seed in range(5):
        config, out = LabelConfig(rule="any", stop="first", seed=seed), tmp_path / f"{seed}.jsonl"
        found = forecast_stage(config, policy, problems, solutions, exact_verifier, out, pilot=10, quiet=True)
        assert (found["pilot_rollouts"], found["rollouts"].value) == (40, 80)


@pytest.mark.parametrize(
    "settings",
    [
        *({"stop": "first"}, {"stop": "sprt", "rule": "any"}, {"stop": "wald"}, {"search": "some"}),
        *({"nominal": 0.5}, {"nominal": 0.0}, {"cap": 0}, {"undecided": "guess"}),
        *({"search": "informed"}, {"bits": 0.0}, {"bits": 1.0}),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    """Each with what was found."""
    with pytest.raises(ConfigError, match=str(next(iter(settings.values())))):
        LabelConfig(**settings)  # type: ignore[arg-type]
