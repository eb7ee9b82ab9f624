"""The sampling stage with a scripted policy: what is written, what is counted, and going on after a stop."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from gradatim.core import Continuation, Prefix, Problem, Verdict, Verifier
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.records import read_solutions
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.verify.answers import MathVerifier, choice_verifier, exact_verifier

PROBLEMS = [
    Problem(id="sum", prompt="What is 3 + 4?", answer="7"),
    Problem(id="open", prompt="What do you think?"),
    Problem(id="ten", prompt="What is 5 + 5?", answer="10"),
]

TEXTS = [
    Continuation("3 + 4 = 7\n\nso\nAnswer: 7", "stop", 7),
    Continuation("3 + 4 = 8\nAnswer: 8\n", "stop", 6),
    Continuation("no idea", "stop", 2),
    Continuation("Answer: 7\nand on", "length", 4),
    Continuation("", "stop", 1),
]


def test_what_is_written_and_counted(tmp_path: Path) -> None:
    """Steps join to the text; verdicts, answers, cut-off and unread texts are told apart; a cut-off text is not judged."""
    policy = ScriptedPolicy(lambda prefix, draw, seed: TEXTS[draw])
    out = tmp_path / "solutions.jsonl"
    result = sample_stage(SampleConfig(n=5), policy, PROBLEMS, exact_verifier, out, quiet=True)
    rows = read_solutions(out)
    assert [(row.prefix.problem_id, row.draw) for row in rows] == [(p.id, d) for p in PROBLEMS for d in range(5)]
    assert [row.prefix.text for row in rows] == [text.text for text in TEXTS] * 3
    assert [step.text for step in rows[0].prefix.steps] == ["3 + 4 = 7\n\n", "so\n", "Answer: 7"]
    assert [row.answer for row in rows[:5]] == ["7", "8", None, None, None]
    unparsed = [Verdict.UNPARSED] * 3
    assert [row.verdict for row in rows[:5]] == [Verdict.CORRECT, Verdict.INCORRECT, *unparsed]
    assert [row.verdict for row in rows[5:10]] == [None] * 5
    assert [row.finish for row in rows[:5]] == ["stop", "stop", "stop", "length", "stop"]
    assert {row.author for row in rows} == {"scripted"}
    assert result["verdicts"] == {"correct": 1, "incorrect": 3, "unparsed": 6, "none": 5}
    counts = {name: result[name] for name in ("problems", "solutions", "truncated", "unread", "empty", "tokens")}
    assert counts == {"problems": 3, "solutions": 15, "truncated": 3, "unread": 6, "empty": 3, "tokens": 60}
    assert json.loads(json.dumps(result)) == result
    assert not ledger_path(out).exists()


@pytest.mark.parametrize(("batch", "resumed", "repeated"), [(1, 11, 0), (4, 3, 1), (100, 0, 11)])
def test_going_on_after_a_stop(batch: int, resumed: int, repeated: int, tmp_path: Path) -> None:
    """Stopped in the middle and called again, it writes no finished batch twice, and ends with the same file."""
    config, written, stop_at = SampleConfig(n=6, batch=batch), Counter[tuple[str, int]](), [11]

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        if sum(written.values()) == stop_at[0]:
            stop_at[0] = -1
            raise KeyboardInterrupt
        written[prefix.problem_id, draw] += 1
        return f"{prefix.problem_id} {draw} {seed}\nAnswer: {draw}\n"

    out, whole = tmp_path / "solutions.jsonl", tmp_path / "whole.jsonl"
    with pytest.raises(KeyboardInterrupt):
        sample_stage(config, ScriptedPolicy(script), PROBLEMS, exact_verifier, out, quiet=True)
    assert ledger_path(out).exists()
    assert not out.exists()
    result = sample_stage(config, ScriptedPolicy(script), PROBLEMS, exact_verifier, out, quiet=True)
    assert result["batches_resumed"] == resumed
    assert sum(count - 1 for count in written.values()) == repeated
    sample_stage(config, ScriptedPolicy(script), PROBLEMS, exact_verifier, whole, quiet=True)
    assert out.read_bytes() == whole.read_bytes()


def test_unfinished_work_is_never_mixed_with_other_work(tmp_path: Path) -> None:
    """Another setting, policy, problem or verifier refuses to go on with the ledger, and names what differs."""
    out = tmp_path / "solutions.jsonl"

    def stopped(prefix: Prefix, draw: int, seed: int) -> str:
        if prefix.problem_id != PROBLEMS[0].id:
            raise KeyboardInterrupt
        return "Answer: 7"

    def sample(
        policy: ScriptedPolicy, problems: list[Problem], n: int, seed: int = 0, by: Verifier = exact_verifier
    ) -> None:
        sample_stage(SampleConfig(n=n, seed=seed, batch=2), policy, problems, by, out, quiet=True)

    policy = ScriptedPolicy(stopped)
    with pytest.raises(KeyboardInterrupt):
        sample(policy, PROBLEMS, n=2)
    for other, problems, config, name in (
        (policy, PROBLEMS, {"n": 3}, "n"),
        (policy, PROBLEMS, {"n": 2, "seed": 1}, "seed"),
        (ScriptedPolicy(stopped, name="another"), PROBLEMS, {"n": 2}, "policy"),
        (policy, PROBLEMS[:2], {"n": 2}, "problems"),
        (policy, PROBLEMS, {"n": 2, "by": choice_verifier}, "verifier"),
        (policy, PROBLEMS, {"n": 2, "by": MathVerifier()}, "verifier"),
    ):
        with pytest.raises(ConfigError, match=f"with {name} = "):
            sample(other, problems, **config)  # type: ignore[arg-type]


def test_failures_of_others_are_counted_and_can_be_filled(tmp_path: Path) -> None:
    """A batch whose policy failed is left out and done by the next call; a check that failed leaves the answer open."""
    down, out = ["server down"], tmp_path / "solutions.jsonl"

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        if down and prefix.problem_id == "ten":
            raise BackendError(down[0])
        return "Answer: 7"

    def shaky(problem: Problem, text: str) -> Verdict:
        if down:
            raise BackendError("no verifier")
        return exact_verifier(problem, text)

    config, policy = SampleConfig(n=2, batch=2), ScriptedPolicy(script)
    result = sample_stage(config, policy, PROBLEMS, shaky, out, quiet=True)
    assert (result["solutions"], result["not_written"], result["check_failed"]) == (4, {"server down": 2}, 2)
    assert result["verdicts"] == {"correct": 0, "incorrect": 0, "unparsed": 0, "none": 4}
    assert {(row.verdict, row.answer) for row in read_solutions(out)} == {(None, "7")}
    down.clear()
    result = sample_stage(config, policy, PROBLEMS, shaky, out, quiet=True)
    assert (result["solutions"], result["not_written"], result["batches_resumed"]) == (6, {}, 2)


def test_bad_input(tmp_path: Path) -> None:
    """Settings outside their range and two problems with one id are errors; no problems give an empty file."""
    for config in ({"n": 0}, {"batch": 0}, {"splitter": "word"}):
        with pytest.raises(ConfigError):
            SampleConfig(**config)  # type: ignore[arg-type]
    policy = ScriptedPolicy(lambda prefix, draw, seed: "x")
    with pytest.raises(InputError, match="'sum'"):
        sample_stage(SampleConfig(), policy, PROBLEMS[:1] * 2, exact_verifier, tmp_path / "s.jsonl", quiet=True)
    assert sample_stage(SampleConfig(), policy, [], exact_verifier, tmp_path / "s.jsonl", quiet=True)["solutions"] == 0
    assert read_solutions(tmp_path / "s.jsonl") == []
