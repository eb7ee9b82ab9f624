"""Sampling and labelling over a server that misbehaves: the files are those of one that does not, and nothing is lost or
counted twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from model_server import Fault, ModelServer

from gradatim.core import Continuation, Prefix, Step, seed_for
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.records import read_labels, read_solutions
from gradatim.solutions.endpoint import EndpointPolicy, load_endpoint
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.verify.answers import exact_verifier

PROBLEMS = load("test", 4)


def script(prefix: Prefix, draw: int, seed: int) -> Continuation:
    """Texts of different length that are right, wrong, unreadable or cut off."""
    made = seed_for(seed, prefix.prompt, prefix.text, draw)
    lines = [f"try {made % 7}\n"] * (1 + made % 3)
    ends = ["Answer: 7\n", "Answer: 8\n", "no idea\n", "Answ"]
    text = "".join(lines) + ends[made // 7 % 4]
    return Continuation(text, "length" if text.endswith("Answ") else "stop", len(text.split()))


SCRIPTED = ScriptedPolicy(script)

MIXED: tuple[Fault | None, ...] = (
    *("429", "500", "503", "cut", "closed", "malformed", "html", "error", "fewer", "abort", "replay"),
    *(None, None, "more"),
)


def moody(times: int, body: dict[str, Any]) -> Fault | None:
    """Up to three faults in a row, by the request's own seed; the fourth time all is well."""
    return MIXED[seed_for(body["seed"], times) % len(MIXED)] if times < 3 else None


def policy(server: ModelServer, **changes: Any) -> EndpointPolicy:
    """Patient, quick and of a fixed name."""
    ours = {"backoff": 0.01, "concurrency": 8, "served_model": "m", **changes}
    return load_endpoint(server.url, PolicySettings(max_new_tokens=64), EndpointSettings(**ours))


def stages(folder: Path, asked: EndpointPolicy) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sample and label into a folder."""
    folder.mkdir(exist_ok=True)
    out = folder / "solutions.jsonl"
    sampled = sample_stage(SampleConfig(n=4, batch=8), asked, PROBLEMS, exact_verifier, out, quiet=True)
    labels, config = folder / "labels.jsonl", LabelConfig(k=4, batch=16)
    labelled = label_stage(config, asked, PROBLEMS, read_solutions(out), exact_verifier, labels, quiet=True)
    return sampled, labelled


def test_a_moody_server_gives_the_same_files(tmp_path: Path) -> None:
    """Solutions and labels equal a good server's byte for byte, and each draw was used once."""
    with ModelServer(SCRIPTED) as good:
        clean = stages(tmp_path / "good", policy(good))
    with ModelServer(SCRIPTED, moody) as server:
        asked = policy(server)
        made = stages(tmp_path / "moody", asked)
    for name in ("solutions.jsonl", "labels.jsonl"):
        assert (tmp_path / "moody" / name).read_bytes() == (tmp_path / "good" / name).read_bytes()
    # A surplus choice hides the server's token count; all else is counted the same.
    timed = ("seconds", "path", "tokens")
    assert [{k: v for k, v in result.items() if k not in timed} for result in made] == [
        {k: v for k, v in result.items() if k not in timed} for result in clean
    ]
    assert asked.report()["retries"] > 50
    assert asked.report()["failed"] == 0
    assert len(good.log) == len({body["seed"] for body in good.log}) == clean[0]["solutions"] + clean[1]["rollouts"]


def test_what_failed_is_left_out_counted_and_asked_for_again(tmp_path: Path) -> None:
    """Partial failures leave all other rows in place; the same call again asks for the gaps alone."""
    with ModelServer(SCRIPTED) as good:
        clean, _ = stages(tmp_path / "good", policy(good))
        whole = (tmp_path / "good" / "solutions.jsonl").read_text().splitlines()
    config, out = SampleConfig(n=4, batch=8), tmp_path / "solutions.jsonl"
    with ModelServer(SCRIPTED, lambda times, body: "500" if body["seed"] % 3 == 0 else None) as server:
        result = sample_stage(config, policy(server, tries=2), PROBLEMS, exact_verifier, out, quiet=True)
        broken = {body["seed"] for body in server.log if body["seed"] % 3 == 0}
    assert 0 < len(broken) < 16
    assert result["not_written"] == {"500 (a planted 500) (2 tries)": len(broken)}
    assert result["solutions"] == len(out.read_text().splitlines()) == 16 - len(broken)
    assert set(out.read_text().splitlines()) < set(whole)
    assert ledger_path(out).exists()
    with ModelServer(SCRIPTED) as server:
        result = sample_stage(config, policy(server), PROBLEMS, exact_verifier, out, quiet=True)
        assert {body["seed"] for body in server.log} == broken
        assert len(server.log) == len(broken)
    assert out.read_text().splitlines() == whole
    assert not ledger_path(out).exists()
    assert {**result, "seconds": 0, "path": ""} == {**clean, "seconds": 0, "path": "", "batches_resumed": 2}


def test_a_rollout_that_failed_is_in_no_denominator_and_asked_for_again(tmp_path: Path) -> None:
    """Fewer were tried, none of the missing ones counts as bad; the same call again asks for the gaps alone."""
    with ModelServer(SCRIPTED) as good:
        stages(tmp_path / "good", policy(good))
    whole = tmp_path / "good" / "labels.jsonl"
    solutions = read_solutions(tmp_path / "good" / "solutions.jsonl")
    out, config = tmp_path / "labels.jsonl", LabelConfig(k=4, batch=1000)
    with ModelServer(SCRIPTED, lambda times, body: "400" if body["seed"] % 4 == 0 else None) as server:
        result = label_stage(config, policy(server), PROBLEMS, solutions, exact_verifier, out, quiet=True)
        refused = {body["seed"] for body in server.log if body["seed"] % 4 == 0}
    assert result["not_written"] == {"400 (a planted 400)": len(refused)}
    assert result["rollouts"] == len(server.log) - len(refused) < len(server.log)
    for row, full in zip(read_labels(out), read_labels(whole), strict=True):
        for one, full_one in zip(row.tallies, full.tallies, strict=True):
            assert one.good <= full_one.good
            assert 0 <= one.tried - one.good <= full_one.tried - full_one.good
    with ModelServer(SCRIPTED) as server:
        label_stage(config, policy(server), PROBLEMS, solutions, exact_verifier, out, quiet=True)
        assert {body["seed"] for body in server.log} == refused
        assert len(server.log) == len(refused)
    assert out.read_bytes() == whole.read_bytes()


def test_values_are_the_exact_ones() -> None:
    """The success rate over a moody server is the served policy's exact value, within four standard errors."""
    served, problem = MarkovPolicy(), PROBLEMS[1]
    [[written]] = served.write([problem.start()], draws=range(1))
    steps = tuple(Step(line) for line in written.text.splitlines(keepends=True))
    prefixes = [Prefix(problem.id, problem.prompt, steps[:k]) for k in range(3)]
    k = 150
    with ModelServer(served, moody) as server:
        rows = policy(server, concurrency=16).write(prefixes, draws=range(k))
    for prefix, row in zip(prefixes, rows, strict=True):
        value = served.value(prefix)
        good = sum(exact_verifier(problem, prefix.text + text.text) == "correct" for text in row)
        assert abs(good / k - value) <= 4 * (value * (1 - value) / k) ** 0.5 + 1e-9


def command(policy: str, out: Path) -> list[str]:
    """Arguments of `gradatim sample` over a server."""
    flags = ["--policy", policy, "--served-model", "m", "--backoff", "0.01", "--n", "8", "--batch", "4", "--quiet"]
    return ["sample", "lab:test:4", "--out", str(out), *flags]


def test_killed_at_random_moments_it_ends_with_the_same_file(tmp_path: Path) -> None:
    """kill -9 in the middle of requests: what was recorded is not asked for again, and no draw is lost."""
    rng, out = random.Random(0), tmp_path / "solutions.jsonl"
    allowed = 32

    def faults(times: int, body: dict[str, Any]) -> Fault | None:
        return "slow" if len(server.log) > allowed else None

    with ModelServer(SCRIPTED, faults) as server:
        start = [sys.executable, "-m", "gradatim"]
        done = subprocess.run(
            [*start, *command(server.url, tmp_path / "whole.jsonl"), "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout)["endpoint"]["requests"] == len(server.log) == 32
        server.log.clear()
        for _ in range(3):
            allowed = len(server.log) + rng.randint(1, 7)
            with subprocess.Popen([*start, *command(server.url, out)]) as run:
                while len(server.log) <= allowed:
                    assert run.poll() is None
                    time.sleep(0.01)
                run.kill()
            assert run.returncode == -signal.SIGKILL
        allowed = 100
        done = subprocess.run([*start, *command(server.url, out), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["solutions"] == 32
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    seeds = [body["seed"] for body in server.log]
    assert len(set(seeds)) == 32 < len(seeds) <= 32 + 4 * 3


def test_the_command_says_what_is_missing_and_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    """Failures are in the words for people; a server's settings without a server are an error."""
    from typer.testing import CliRunner

    from gradatim.cli import app
    from gradatim.errors import ConfigError

    with ModelServer(SCRIPTED, lambda times, body: "400" if body["seed"] % 2 else None) as server:
        shown = CliRunner().invoke(app, command(server.url, tmp_path / "some.jsonl"))
    assert shown.exit_code == 0
    assert "not written: 400 (a planted 400)" in shown.output
    assert "fills the gaps" in shown.output
    with pytest.raises(ConfigError, match="no URL"):
        CliRunner().invoke(app, command("lab", tmp_path / "none.jsonl"), catch_exceptions=False)
