"""What the labelling verbs say, and leave behind, when they can't do their work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from model_server import Fault, ModelServer

from gradatim import records
from gradatim.cli import app
from gradatim.core import Continuation, Prefix
from gradatim.errors import BackendError, ConfigError
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.records import read_solutions
from gradatim.solutions.ledger import Ledger, ledger_path
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.verify.answers import exact_verifier

SAMPLE = ("sample", "lab:test:2", "--n", "2")
LABEL = ("label", "lab:test:2", "solutions.jsonl", "--k", "2")
JUDGE = ("judge", "solutions.jsonl")


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Solutions and labels of the lab."""
    folder, policy, problems = tmp_path_factory.mktemp("made"), MarkovPolicy(), load("test", 2)
    solutions, labels = folder / "solutions.jsonl", folder / "labels.jsonl"
    sample_stage(SampleConfig(n=2), policy, problems, exact_verifier, solutions, quiet=True)
    label_stage(LabelConfig(k=2), policy, problems, read_solutions(solutions), exact_verifier, labels, quiet=True)
    return {path.name: path.read_bytes() for path in (solutions, labels)}


@pytest.fixture(autouse=True)
def _here(made: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in made.items():
        Path(name).write_bytes(content)


@pytest.mark.parametrize("verb", [SAMPLE, LABEL, JUDGE])
def test_a_server_that_is_gone_is_an_error_and_no_empty_file(
    verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """And what failed bars nobody: the same output with another server and model is then written."""
    with ModelServer(MarkovPolicy()) as gone:
        pass
    patience = ("--tries", "4", "--backoff", "0", "--concurrency", "4", "--out", "found.jsonl", "--quiet")
    with pytest.raises(BackendError, match=r"nothing could be written: .* no connection"):
        app([*verb, "--policy", gone.url, "--served-model", "other", *patience])
    assert not Path("found.jsonl").exists()
    if verb is not JUDGE:  # this policy is no critic
        with ModelServer(MarkovPolicy()) as server:
            with pytest.raises(SystemExit) as end:
                app([*verb, "--policy", server.url, *patience])
            assert end.value.code == 0
        assert len(Path("found.jsonl").read_text().splitlines()) == 4
        assert not ledger_path("found.jsonl").exists()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("verb", [LABEL, JUDGE])
def test_a_forecast_without_a_server_is_no_forecast_of_nothing(verb: tuple[str, ...]) -> None:
    """A pilot of which nothing could be written does not say that all of it is free."""
    with ModelServer(MarkovPolicy()) as gone:
        pass
    asked = ("--policy", gone.url, "--served-model", "m", "--tries", "1", "--out", "found.jsonl", "--quiet")
    with pytest.raises(BackendError, match="nothing could be written"):
        app([*verb, "--forecast", "--pilot", "2", *asked])


SEARCH = ("search", "lab:test:3", "--n", "1", "--width", "2", "--keep", "1", "--batch", "1")
SOLVE = ("solve", "lab:test:3", "--n", "2")


@pytest.mark.parametrize("verb", [(*SEARCH, "--out", "found"), SEARCH, SOLVE])
def test_nothing_found_without_a_server_is_an_error(verb: tuple[str, ...]) -> None:
    """Nor does it replace what was found before."""
    with ModelServer(MarkovPolicy()) as gone:
        pass
    Path("found").mkdir()
    Path("found/solutions.jsonl").write_text("before")
    asked = ("--policy", gone.url, "--served-model", "m", "--tries", "1", "--backoff", "0", "--quiet")
    with pytest.raises(BackendError, match=r"nothing could be written: .* no connection"):
        app([*verb, *asked])
    assert Path("found/solutions.jsonl").read_text() == "before"


@pytest.mark.parametrize("verb", [(*SEARCH, "--out", "found"), SEARCH, SOLVE])
def test_what_failed_for_some_problems_is_told(verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """People and machines see it; the same command fills the gaps where the work is kept, and only there it says so."""
    [first, *_] = load("test", 1)

    def faults(times: int, body: dict[str, Any]) -> Fault | None:
        return "400" if body["messages"][0]["content"] == first.prompt else None

    with ModelServer(MarkovPolicy(), faults) as server:
        asked = ("--policy", server.url, "--served-model", "m", "--quiet", "--prompt-template", "{prompt}")
        for more in ((), ("--json",)):
            with pytest.raises(SystemExit) as end:
                app([*verb, *asked, *more])
            assert end.value.code == 0
            shown = capsys.readouterr().out
            if not more:
                assert re.search(r"2 not written: \S+ 400 \(a planted 400\)", shown)
                assert "--step-limit may help" not in shown
                assert ("fills the gaps" in shown) == ("--out" in verb)
    found = json.loads(shown)
    assert list(found["not_written"].values()) == [2]
    assert found["endpoint"]["failed"] >= 2
    rows = found["solved" if verb is SOLVE else "problems"]
    assert [row["problem_id"] for row in rows] == ["lab-test-0", "lab-test-1", "lab-test-2"]
    assert [bool(row["not_written"]) for row in rows] == [True, False, False]
    assert rows[0]["answer"] is None
    assert rows[1]["text"]
    if verb is SOLVE:
        assert "a planted 400" in rows[0]["reason"]
        assert found["refused"] == 0


@pytest.mark.parametrize("tokens", [3, 100])
def test_texts_that_were_cut_off_are_told(tokens: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Too low a limit gives labels that look like any others: it is said where it shows, and only then."""

    def script(prefix: Prefix, draw: int, seed: int) -> Continuation:
        return Continuation("a = 1\nAnswer: 7\n", "stop", 6) if tokens > 6 else Continuation("a = 1", "length", tokens)

    with ModelServer(ScriptedPolicy(script)) as server:
        for verb, what in (
            (SAMPLE, "4 of 4 solutions were cut off"),
            (LABEL, "rollouts were cut off or state no answer"),
        ):
            with pytest.raises(SystemExit):
                app([*verb, "--policy", server.url, "--max-new-tokens", str(tokens), "--out", "found.jsonl", "--quiet"])
            assert (what in capsys.readouterr().out) == (tokens == 3)


@pytest.mark.parametrize(
    "verb",
    [
        (*LABEL, "--policy", "lab", "--out", "solutions.jsonl"),
        (*JUDGE, "--policy", "lab", "--out", "solutions.jsonl"),
        ("sample", "solutions.jsonl", "--out", "./solutions.jsonl"),
        ("reformat", "labels.jsonl", "labels.jsonl", "--to", "gradatim"),
        ("consensus", "solutions.jsonl", "labels.jsonl", "--out", "labels.jsonl"),
        ("consensus", "solutions.jsonl", "labels.jsonl", "--out", "both.jsonl", "--disagreements", "labels.jsonl"),
        ("consensus", "labels.jsonl", "other.jsonl", "--out", "both.jsonl", "--disagreements", "solutions.jsonl"),
        ("verify", "problems.jsonl", "--verifier", "exact", "--out", "problems.jsonl"),
        ("score", "solutions.jsonl", "--out", "solutions.jsonl"),
    ],
    ids=lambda verb: verb[0],
)
def test_what_is_read_is_not_replaced(verb: tuple[str, ...]) -> None:
    """An output with an input's name would cost the input."""
    records.write_problems("problems.jsonl", load("test", 2))
    before = {path: path.read_bytes() for path in Path().iterdir()}
    with pytest.raises(ConfigError, match="would replace what is read"):
        app(list(verb))
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_two_results_of_a_verb_are_two_files() -> None:
    """One would replace the other."""
    asked = ("consensus", "labels.jsonl", "more.jsonl", "--out", "both.jsonl", "--disagreements", "./both.jsonl")
    with pytest.raises(ConfigError, match="two results"):
        app(list(asked))


@pytest.mark.parametrize(("verb", "file"), [(SAMPLE, "found.jsonl"), (LABEL, ""), (JUDGE, "found.critiques.jsonl")])
def test_half_a_character_in_an_answer_costs_nothing(
    verb: tuple[str, ...], file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server may cut a character in two; the text is kept with the sign for what can't be read, and counted."""
    with ModelServer(ScriptedPolicy(lambda prefix, draw, seed: "so \ud83d\nAnswer: 7 \\boxed{-1}\n")) as server:
        with pytest.raises(SystemExit) as end:
            app([*verb, "--policy", server.url, "--out", "found.jsonl", "--json", "--quiet"])
        asked = len(server.served)
    assert end.value.code == 0
    assert not ledger_path("found.jsonl").exists()
    assert json.loads(capsys.readouterr().out)["endpoint"]["mended"] == asked > 0
    if file:
        assert "so \ufffd" in Path(file).read_text()


def test_a_full_disk_is_told_and_costs_nothing_that_was_recorded(tmp_path: Path) -> None:
    """SQLite's own error, as it comes when there is no room: what was recorded before can be read."""
    path = tmp_path / "work.ledger"
    with Ledger(path, {"seed": 1}) as ledger:
        ledger.record(0, "kept")
        (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
        ledger._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(BackendError, match=r"work\.ledger can't be written .*full.*; what it held before stays"):
            ledger.record(1, "x" * 100_000)
    with Ledger(path, {"seed": 1}) as ledger:
        assert list(ledger.done()) == [(0, "kept")]


def test_a_folder_that_takes_no_ledger_is_told() -> None:
    """Before anything is asked of the policy."""
    with pytest.raises(ConfigError, match="can't write into /proc"):
        app([*SAMPLE, "--policy", "http://127.0.0.1:9/v1", "--served-model", "m", "--out", "/proc/found.jsonl"])
