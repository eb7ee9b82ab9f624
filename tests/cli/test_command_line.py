"""The installed command: what goes to which stream, exit codes, and no traceback for a fault of the user's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = [
    {"problem": "What is 1 + 1?", "steps": ["One and one", "is two"], "labels": [1, 1]},
    {"problem": "What is 2 + 2?", "steps": ["Two and two", "is five"], "labels": [1, -1]},
]


def gradatim(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gradatim", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(name="rows")
def _rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_json_is_the_only_thing_on_standard_output(rows: Path) -> None:
    """`--json` prints one object there and nothing else."""
    done = gradatim("split", str(rows), "--by", "blank-line", "--json")

    assert done.returncode == 0
    assert isinstance(json.loads(done.stdout), dict)


@pytest.mark.parametrize(
    "arguments",
    [
        ("split", "missing.jsonl"),
        ("choose", "--pool", "missing.jsonl"),
        ("combine", "--pool", "missing.jsonl", "--scores", "missing.jsonl", "--out", "x.jsonl", "--ensemble", "mean"),
        ("explain", "missing.jsonl", "--scores", "missing.jsonl"),
        ("evaluate", "pool", "--pool", "missing.jsonl", "--scores", "missing.jsonl"),
        ("train", "--data", "missing.jsonl", "--out", "x"),
        ("train",),
        ("verify", "gsm8k:missing.jsonl"),
        ("evaluate", "processbench", "--data", "missing.jsonl", "--scores", "missing.jsonl"),
        ("evaluate", "processbench", "--data", "missing.jsonl"),
        ("sample", "lab:nowhere:3", "--out", "x.jsonl"),
    ],
)
def test_a_users_fault_is_one_line_and_exit_code_1(arguments: tuple[str, ...]) -> None:
    """Missing files and settings that contradict each other end with a message, not a traceback."""
    done = gradatim(*arguments)

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("split",), ("train", "--epochs", "many"), ("loop", "--budget", "huge")]
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    """Unknown verbs, missing arguments and values of the wrong type."""
    done = gradatim(*arguments)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "content",
    ["", "{\n", "[]\n", '{"problem": "x"}\n', '{"problem": "x", "steps": []}\n', '{"problem": 3, "steps": ["a"]}\n'],
)
def test_malformed_rows_name_file_and_line(tmp_path: Path, content: str) -> None:
    """Whatever is wrong with a row, the message says where it stands."""
    path = tmp_path / "bad.jsonl"
    path.write_text(content)

    done = gradatim("train", "--data", f"plain:{path}", "--out", str(tmp_path / "model"))

    assert done.returncode == 1
    assert "bad.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_package_does_not_import_torch() -> None:
    """`import gradatim` and the light verbs work without the extra `[model]`."""
    code = (
        "import sys, gradatim, gradatim.choose, gradatim.records, gradatim.evaluate; sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("verb", [("score",), ("split",), ("choose", "--pool")])
def test_an_empty_file_is_an_error_and_not_an_empty_result(tmp_path: Path, verb: tuple[str, ...]) -> None:
    """A file without a row is most likely a mistake: it is named."""
    path = tmp_path / "empty.jsonl"
    path.touch()

    done = gradatim(*verb, str(path))

    assert done.returncode == 1
    assert "empty.jsonl" in done.stderr
