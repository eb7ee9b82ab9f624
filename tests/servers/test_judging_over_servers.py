"""Critics over a server that misbehaves: what they say is counted once, what they could not say is no abstention."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from model_server import Fault, ModelServer

from gradatim.cli import app
from gradatim.core import Prefix, Solution, Step, Tally, seed_for
from gradatim.judges.critics import CRITICS, settings_for
from gradatim.judges.stage import JudgeConfig, judge_stage
from gradatim.labels.datasets import load_labelled
from gradatim.records import read_labels, write_solutions
from gradatim.solutions.endpoint import load_endpoint
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.solutions.settings import EndpointSettings, PolicySettings

SOLUTIONS = [
    Solution(prefix=Prefix(f"p{i}", f"Problem {i}?", tuple(Step(f"say {n}\n") for n in range(4))), author="a", draw=0)
    for i in range(12)
]


def critic(prefix: Prefix, draw: int, seed: int) -> str:
    r"""Problem i has its first error in step i mod 5 (none for 4); of problem 7 nothing is said."""
    found = re.search(r"Problem (\d+)\?", prefix.prompt)
    assert found is not None
    number = int(found[1])
    if number == 7:
        return "Hard to say."
    error = number % 5
    if "step-by-step" in prefix.prompt:
        return "".join("\\boxed{correct}\n" if n < error else "\\boxed{incorrect}" for n in range(min(4, error + 1)))
    return f"I think \\boxed{{{-1 if error == 4 else error}}}"


FAULTS: tuple[Fault | None, ...] = (
    "429",
    "500",
    "cut",
    "closed",
    "malformed",
    "error",
    "fewer",
    "replay",
    None,
)


def moody(times: int, body: dict[str, Any]) -> Fault | None:
    """Two faults in a row at most, by the request's own seed."""
    return FAULTS[seed_for(body["seed"], times) % len(FAULTS)] if times < 2 else None


def judged(server: ModelServer, out: Path, critic_name: Any = "processbench", **changes: Any) -> dict[str, Any]:
    endpoint = EndpointSettings(**{"backoff": 0.01, "served_model": "m", **changes})
    settings = settings_for(CRITICS[critic_name], server.url, PolicySettings(), endpoint)
    policy = load_endpoint(server.url, settings, endpoint)
    return judge_stage(JudgeConfig(critic=critic_name, draws=2, batch=5), policy, SOLUTIONS, out, quiet=True)


def expected(number: int) -> tuple[Tally, ...]:
    error = 0 if number == 7 else number % 5
    good, bad = Tally(2, 2), Tally(0, 2)
    return (Tally(),) * 4 if number == 7 else ((good,) * error + (bad,) + (Tally(),) * 4)[:4]


def test_a_moody_server_gives_the_labels_of_a_good_one(tmp_path: Path) -> None:
    """Every draw is counted once, abstentions are those of the critic alone, and both files are equal byte for byte."""
    with ModelServer(ScriptedPolicy(critic)) as good:
        judged(good, tmp_path / "good.jsonl")
    with ModelServer(ScriptedPolicy(critic), moody) as server:
        result = judged(server, tmp_path / "moody.jsonl")
    assert [row.tallies for row in read_labels(tmp_path / "moody.jsonl")] == [expected(i) for i in range(12)]
    assert result["abstained"] == {r"no \boxed{}": 2}
    assert (result["not_written"], result["critiques"]) == ({}, 24)
    assert (tmp_path / "moody.jsonl").read_bytes() == (tmp_path / "good.jsonl").read_bytes()
    moody_words, good_words = (tmp_path / f"{name}.critiques.jsonl" for name in ("moody", "good"))
    assert moody_words.read_bytes() == good_words.read_bytes()


def test_the_answer_begins_in_the_assistants_turn(tmp_path: Path) -> None:
    """ThinkPRM's first words are a turn to go on with, over the chat interface."""
    with ModelServer(ScriptedPolicy(critic)) as server:
        judged(server, tmp_path / "labels.jsonl", "thinkprm")
    assert all(
        body["messages"][1] == {"role": "assistant", "content": "\nLet's verify step by step:"} for body in server.log
    )
    assert [row.tallies for row in read_labels(tmp_path / "labels.jsonl")] == [expected(i) for i in range(12)]


def test_a_dead_server_leaves_gaps_that_the_next_call_fills(tmp_path: Path) -> None:
    """Draws that were refused for good are counted, not voted; with the server back only they are asked again."""
    out, refused = tmp_path / "labels.jsonl", {"on": True}

    def faults(times: int, body: dict[str, Any]) -> Fault | None:
        return "500" if refused["on"] and "Problem 3?" in body["messages"][0]["content"] else None

    with ModelServer(ScriptedPolicy(critic), faults) as server:
        result = judged(server, out, tries=1)
        assert sum(result["not_written"].values()) == 2
        assert len(read_labels(out)) == 11
        refused["on"] = False
        asked = len(server.log)
        result = judged(server, out, tries=1)
        assert len(server.log) == asked + 2
    assert result["not_written"] == {}
    assert [row.tallies for row in read_labels(out)] == [expected(i) for i in range(12)]


def test_the_verb_killed_in_the_middle_of_requests_ends_with_the_same_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9: critiques that were recorded are not asked for again, and both files are those of one go."""
    write_solutions(tmp_path / "solutions.jsonl", SOLUTIONS)

    def judging(out: str) -> list[str]:
        flags = ["--draws", "2", "--batch", "3", "--served-model", "m", "--json", "--quiet"]
        files = [str(tmp_path / "solutions.jsonl"), "--out", str(tmp_path / out)]
        return ["judge", *files, "--policy", server.url, *flags]

    def finished(out: str) -> dict[str, Any]:
        with pytest.raises(SystemExit) as end:
            app(judging(out))
        assert end.value.code == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    held = False

    def faults(times: int, body: dict[str, Any]) -> Fault | None:
        return "slow" if held and len(server.log) > 6 else None

    with ModelServer(ScriptedPolicy(critic), faults) as server:
        finished("whole.jsonl")
        once = {body["seed"] for body in server.log}
        assert len(once) == len(server.log) == 24
        server.log.clear()
        held = True
        run = subprocess.Popen([sys.executable, "-m", "gradatim", *judging("labels.jsonl")])
        while len(server.log) <= 6:  # one batch is done, and the next under way
            assert run.poll() is None
            time.sleep(0.002)
        os.kill(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        held = False
        assert finished("labels.jsonl")["batches_resumed"] >= 1
    seeds = [body["seed"] for body in server.log]
    assert set(seeds) == once
    assert 24 <= len(seeds) <= 24 + 6
    for name in ("labels.jsonl", "labels.critiques.jsonl"):
        assert (tmp_path / name).read_bytes() == (tmp_path / name.replace("labels", "whole")).read_bytes()


def test_the_verb_from_file_to_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`gradatim judge` of our solutions and of a labelled data set, whose labels the critic does not see; a forecast first."""
    write_solutions(tmp_path / "solutions.jsonl", SOLUTIONS)
    rows = [{"problem": f"Problem {i}?", "steps": ["a", "b", "c", "d"], "labels": [1, 1, 1, 1]} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def judge(source: str, out: str, *more: str) -> dict[str, Any]:
        with pytest.raises(SystemExit) as end:
            app(["judge", source, "--policy", server.url, "--out", str(tmp_path / out), "--json", "--quiet", *more])
        assert end.value.code == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    with ModelServer(ScriptedPolicy(critic)) as server:
        told = judge(str(tmp_path / "solutions.jsonl"), "labels.jsonl", "--batch", "4", "--forecast", "--pilot", "8")
        assert (told["pilot_solutions"], len(server.log)) == (8, 8)
        found = judge(str(tmp_path / "solutions.jsonl"), "labels.jsonl", "--batch", "4")
        assert (found["labelled"], found["batches_resumed"], len(server.log)) == (12, 2, 12)
        assert told["tokens"]["low"] <= found["tokens"] <= told["tokens"]["high"]
        assert found["endpoint"]["requests"] == 4
        judge(f"plain:{tmp_path / 'rows.jsonl'}", "whole.jsonl")
        assert len(server.log) == 24
    ours, theirs = (load_labelled(str(tmp_path / name)) for name in ("labels.jsonl", "whole.jsonl"))
    assert [labels.tallies for _, labels in ours] == [labels.tallies for _, labels in theirs]
    assert [(labels.error, labels.error_known) for _, labels in ours] == [
        (None if i % 5 == 4 or i == 7 else i % 5, i != 7) for i in range(12)
    ]
    assert all(solution.prefix.steps[0].text == "a\n\n" for solution, _ in theirs)
