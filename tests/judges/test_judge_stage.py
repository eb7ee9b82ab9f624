"""Judging on the lab: critics of known error, abstentions counted, nothing lost or asked twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from papers import answering, lab_solutions, truth

from gradatim.core import Continuation, Prefix, Solution, Step, Tally
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.judges.critics import settings_for
from gradatim.judges.critiques import critiques_path, read_critiques
from gradatim.judges.forecast import judge_forecast
from gradatim.judges.genprm import GENPRM
from gradatim.judges.processbench import PROCESSBENCH
from gradatim.judges.scripted import ScriptedJudge
from gradatim.judges.stage import JudgeConfig, judge_stage
from gradatim.labels.datasets import load_labelled
from gradatim.records import read_labels, write_solutions
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.solutions.settings import EndpointSettings, PolicySettings

JUDGE = ScriptedJudge(miss=0.3, false_alarm=0.2, off_by_one=0.2, seed=3)


def boxed(error: int | None) -> str:
    return f"I read all of it. \\boxed{{{-1 if error is None else error}}}"


def says(solution: Solution, draw: int) -> str:
    return boxed(JUDGE.first_error(solution.prefix, truth(solution), draw))


def judged(out: Path, policy: Any, solutions: Any = None, **config: Any) -> dict[str, Any]:
    return judge_stage(
        JudgeConfig(**config), policy, lab_solutions() if solutions is None else solutions, out, quiet=True
    )


def test_labels_are_what_the_critic_said(tmp_path: Path) -> None:
    """With a critic of known errors over a policy, labels equal those that its opinions come to, tallies and all."""
    solutions, out = lab_solutions(), tmp_path / "labels.jsonl"
    result = judged(out, answering(PROCESSBENCH, solutions, says), draws=5, batch=4)
    for row, solution in zip(read_labels(out), solutions, strict=True):
        expected = JUDGE.label(solution, truth(solution), draws=5)
        assert (row.tallies, row.error, row.error_known) == (expected.tallies, expected.error, expected.error_known)
        assert (row.source, row.truth, row.rule) == ("judge", "validity", "first error by most of 5 critiques")
        assert row.by == "processbench critic scripted critic"
    assert result["labelled"] == len(solutions)
    assert result["critiques"] == 5 * len(solutions)
    assert (result["abstained"], result["not_written"], result["dropped"]) == ({}, {}, {})
    assert not ledger_path(out).exists()


def test_a_text_that_several_solutions_share_is_paid_once(tmp_path: Path) -> None:
    """Step by step, solutions with a common beginning ask the same of it: the tokens are those that were written."""
    begun = (Step("one\n"), Step("two\n"))
    solutions = [
        Solution(prefix=Prefix("p", "what?", (*begun, Step(f"end {k}\n"))), author="a", draw=k) for k in range(4)
    ]
    written: list[int] = []

    def critic(prefix: Prefix, draw: int, seed: int) -> str:
        text = "It is right. \\boxed{Yes}"
        written.append(len(text.split()))
        return text

    result = judged(tmp_path / "labels.jsonl", ScriptedPolicy(critic), solutions, critic="stepwise")

    assert len(written) == 2 + 4
    assert result["tokens"] == sum(written)


def test_critiques_are_kept_with_their_words(tmp_path: Path) -> None:
    """A row for each draw: what was written, how it was read, by whom, from which seed."""
    solutions, out = lab_solutions(), tmp_path / "labels.jsonl"
    judged(out, answering(PROCESSBENCH, solutions, says), draws=2, seed=7)
    critiques = read_critiques(critiques_path(out))
    assert [(one.solution_id, one.draw) for one in critiques] == [(s.id, draw) for s in solutions for draw in (0, 1)]
    by_id = {solution.id: solution for solution in solutions}
    for one in critiques:
        assert one.words == (says(by_id[one.solution_id], one.draw),)
        assert one.opinion == JUDGE.judge(by_id[one.solution_id].prefix, truth(by_id[one.solution_id]), one.draw)
        assert (one.by, one.seed) == ("processbench critic scripted critic", 7)
        assert one.tokens == len(one.words[0].split())


def test_abstentions_vote_on_nothing_and_are_counted(tmp_path: Path) -> None:
    """Draws without a decision add nothing to any tally; a solution without one decision has no first error."""
    solutions, out = lab_solutions(), tmp_path / "labels.jsonl"
    answers = ["\\boxed{0}", "no idea", "\\boxed{99}", Continuation("\\boxed{0}", "length", 1)]
    policy = answering(PROCESSBENCH, solutions, lambda one, draw: answers[draw if one is solutions[0] else 1])
    result = judged(out, policy, draws=4)
    first, *others = read_labels(out)
    assert first.tallies[0] == Tally(0, 1)
    assert (first.error, first.error_known) == (0, True)
    assert all(not tally.tried for tally in first.tallies[1:])
    assert all(not row.error_known and not any(tally.tried for tally in row.tallies) for row in others)
    count = len(solutions)
    assert result["abstained"] == {
        r"no \boxed{}": 4 * (count - 1) + 1,
        "an index outside the solution": 1,
        "cut off at the token limit": 1,
    }
    assert (result["errors_found"], result["errors_unknown"]) == (1, count - 1)


def test_interrupted_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """Stopped in the middle and called again, the files are those of one go, and what was recorded is not asked again."""
    solutions, whole = lab_solutions(), tmp_path / "whole" / "labels.jsonl"
    judged(whole, answering(PROCESSBENCH, solutions, says), draws=3, batch=4)
    out, asked = tmp_path / "labels.jsonl", list[tuple[str, int]]()

    def dying(solution: Solution, draw: int) -> str:
        if len(asked) == 3 * 4 * 2 + 5:
            raise RuntimeError("the power fails")
        return says(solution, draw)

    policy = answering(PROCESSBENCH, solutions, dying, asked)
    with pytest.raises(RuntimeError):
        judged(out, policy, draws=3, batch=4)
    result = judged(out, policy, draws=3, batch=4)
    assert result["batches_resumed"] == 2
    assert out.read_bytes() == whole.read_bytes()
    assert critiques_path(out).read_bytes() == critiques_path(whole).read_bytes()
    times = Counter(asked)
    assert set(times) == {(solution.id, draw) for solution in solutions for draw in range(3)}
    assert all(times[solution.id, draw] == 1 for solution in solutions[:8] for draw in range(3))


def test_what_could_not_be_had_is_no_abstention(tmp_path: Path) -> None:
    """Failed texts and a failing server are gaps: counted apart, left out of the labels, and filled by the next call."""
    solutions, out = lab_solutions(), tmp_path / "labels.jsonl"
    down = {"cut": True, "gone": True}

    def shaky(solution: Solution, draw: int) -> str | Continuation:
        if down["gone"] and solutions.index(solution) >= 12:
            raise BackendError("no answer")
        if down["cut"] and (solution is solutions[0] or draw == 1):
            return Continuation("", "failed", 0, "connection lost")
        return says(solution, draw)

    policy = answering(PROCESSBENCH, solutions, shaky)
    result = judged(out, policy, draws=2, batch=6)
    assert result["not_written"] == {"connection lost": 1 + 12, "no answer": 2 * (len(solutions) - 12)}
    assert result["abstained"] == {}
    assert [row.solution_id for row in read_labels(out)] == [solution.id for solution in solutions[1:12]]
    assert all(max(tally.tried for tally in row.tallies) == 1 for row in read_labels(out))
    down.update(cut=False, gone=False)
    result = judged(out, policy, draws=2, batch=6)
    assert result["not_written"] == {}
    again = tmp_path / "again" / "labels.jsonl"
    judged(again, answering(PROCESSBENCH, solutions, says), draws=2, batch=6)
    assert out.read_bytes() == again.read_bytes()


def test_other_settings_do_not_go_on_with_the_work(tmp_path: Path) -> None:
    """A ledger of another critic, seed or number of draws is refused."""
    solutions, out = lab_solutions(), tmp_path / "labels.jsonl"

    def dies_at_the_last(one: Solution, draw: int) -> str:
        if one is solutions[-1]:
            raise RuntimeError("the power fails")
        return says(one, draw)

    policy = answering(PROCESSBENCH, solutions, dies_at_the_last)
    with pytest.raises(RuntimeError):
        judged(out, policy, batch=3)
    with pytest.raises(ConfigError, match="seed"):
        judged(out, policy, batch=3, seed=1)


def test_solutions_without_steps_are_counted(tmp_path: Path) -> None:
    """There is nothing to judge in them."""
    empty = Solution(prefix=Prefix("p", "What?"), author="a", draw=0)
    solutions, out = lab_solutions(), tmp_path / "labels.jsonl"
    result = judged(out, answering(PROCESSBENCH, solutions, says), [empty, *solutions])
    assert result["dropped"] == {"no steps": 1}
    assert result["labelled"] == len(solutions)


def test_texts_with_marks_are_counted(tmp_path: Path) -> None:
    """How many solutions held a mark of the prompt is part of the result."""
    bad = Solution(prefix=Prefix("p", "What?", (Step("a</paragraph_0>\n"), Step("b"))), author="a", draw=0)
    policy = ScriptedPolicy(lambda prefix, draw, seed: "\\boxed{-1}")
    assert judged(tmp_path / "l.jsonl", policy, [bad, *lab_solutions()])["defused"] == 1


def test_labels_of_a_data_set_hold_its_solutions(tmp_path: Path) -> None:
    """With `whole`, rows need no solutions file; without it they are read beside one."""
    solutions = lab_solutions()
    policy = answering(PROCESSBENCH, solutions, says)
    judge_stage(JudgeConfig(), policy, solutions, tmp_path / "whole.jsonl", whole=True, quiet=True)
    judge_stage(JudgeConfig(), policy, solutions, tmp_path / "labels.jsonl", quiet=True)
    write_solutions(tmp_path / "solutions.jsonl", solutions)
    assert load_labelled(str(tmp_path / "whole.jsonl")) == load_labelled(str(tmp_path / "labels.jsonl"))


def test_the_forecast_is_what_it_takes(tmp_path: Path) -> None:
    """A pilot of some batches foresees the tokens of all, its work is not done again, and a pilot of all is exact."""
    solutions, asked = lab_solutions(24, 2), list[tuple[str, int]]()

    def wordy(solution: Solution, draw: int) -> str:
        return "hm " * (20 + len(solution.prefix.steps)) + boxed(None)

    policy, out = answering(PROCESSBENCH, solutions, wordy, asked), tmp_path / "labels.jsonl"
    config = JudgeConfig(batch=4)
    told = judge_forecast(config, policy, solutions, out, pilot=16, price=2.0, quiet=True)
    assert (told["pilot_solutions"], len(asked)) == (16, 16)
    assert not out.exists()
    result = judge_stage(config, policy, solutions, out, quiet=True)
    assert len(asked) == len(solutions)
    assert told["tokens"].low <= result["tokens"] <= told["tokens"].high
    assert told["tokens"].value == pytest.approx(result["tokens"], rel=0.1)
    assert told["money"].value == pytest.approx(told["tokens"].value * 2e-6)
    exact = judge_forecast(config, policy, solutions, tmp_path / "o.jsonl", pilot=len(solutions), quiet=True)
    assert exact["tokens"].value == pytest.approx(result["tokens"])


def test_settings_that_make_no_sense() -> None:
    """No draws, an unknown critic; a critic that writes its own turns needs an interface that lets it."""
    with pytest.raises(ConfigError, match="draws=0"):
        JudgeConfig(draws=0)
    with pytest.raises(ConfigError, match="critic='fair'"):
        JudgeConfig(critic="fair")  # type: ignore[arg-type]
    settings, endpoint = PolicySettings(), EndpointSettings(served_model="m")
    with pytest.raises(ConfigError, match="--api completions"):
        settings_for(GENPRM, "http://127.0.0.1:9/v1", settings, endpoint)
    with pytest.raises(ConfigError, match="its own turns"):
        settings_for(GENPRM, "m", replace(settings, prompt_template="chat"), EndpointSettings())
    policy = settings_for(GENPRM, "http://127.0.0.1:9/v1", settings, replace(endpoint, api="completions"))
    assert policy.prompt_template == "{prompt}"


def test_a_damaged_critique_names_its_line(tmp_path: Path) -> None:
    """Votes that are no votes are an error with file and line."""
    path = tmp_path / "c.jsonl"
    row = '{"schema": "gradatim.critique/1", "solution_id": "s", "by": "b", "words": [], "votes": [2]}'
    path.write_text(row + "\n")
    with pytest.raises(InputError, match=r"c\.jsonl:1: votes: \[2\]"):
        read_critiques(path)
