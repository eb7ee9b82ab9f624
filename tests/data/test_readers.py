"""Readers: problems by the name of their source, plain solutions, recorded scores."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gradatim import records
from gradatim.core import Problem, Verdict
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.problems.sources import load_problems


def file(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class TestProblems:
    """Problems of each source."""

    def test_own(self, tmp_path: Path) -> None:
        """Our own rows come back as they were."""
        problems = [Problem(id=str(n), prompt=f"{n}?", answer=None if n else "0", source="me") for n in range(3)]
        records.write_problems(tmp_path / "rows.jsonl", problems)

        assert load_problems(str(tmp_path / "rows.jsonl")) == problems
        assert load_problems(str(tmp_path / "rows.jsonl"), limit=2) == problems[:2]

    @pytest.mark.parametrize(
        ("fields", "answer"),
        [
            ({"problem": "1+1?", "answer": "2"}, "2"),
            ({"question": "1+1?", "final_answer": "2"}, "2"),
            ({"prompt": "1+1?", "answer": 2}, "2"),
            ({"prompt": "1+1?", "answer": 2.0}, "2"),
            ({"prompt": "1+1?", "answer": 0.5}, "0.5"),
            ({"prompt": "1+1?", "answer": "One and one\n#### 1,002"}, "1002"),
            ({"problem": "1+1?", "solution": "so $\\boxed{\\frac{1}{2}}$."}, "\\frac{1}{2}"),
            ({"prompt": "1+1?", "answer": None}, None),
            ({"prompt": "1+1?", "answer": " "}, None),
            ({"problem": "1+1?", "solution": "no box"}, None),
            ({"prompt": "1+1?"}, None),
        ],
    )
    def test_plain(self, tmp_path: Path, fields: dict[str, Any], answer: str | None) -> None:
        """Plain rows name the prompt and the gold answer in the usual ways; no answer is None."""
        [problem] = load_problems(str(file(tmp_path, fields)))

        assert (problem.prompt, problem.answer, problem.id) == ("1+1?", answer, records.prompt_id("1+1?"))

    def test_gsm8k(self, tmp_path: Path) -> None:
        """GSM8K's gold answer follows the last ####, without commas between thousands."""
        row = {"question": "How many?", "answer": "a #### b\n#### 1,234"}
        first, second = load_problems(f"gsm8k:{file(tmp_path, row, row)}")

        assert (first.id, first.answer, second.id) == ("gsm8k-0", "1234", "gsm8k-1")

    def test_math(self, tmp_path: Path) -> None:
        """MATH's gold answer stands alone or in the solution's last box; an empty one is None."""
        rows = [
            {"problem": "a", "final_answer": "3,5"},
            {"problem": "b", "solution": "\\boxed{1} and \\boxed{2}", "level": "Level 5", "type": "Algebra"},
            {"problem": "c", "answer": "7", "unique_id": "test/7"},
            {"problem": "d", "final_answer": ""},
        ]
        problems = load_problems(f"math:{file(tmp_path, *rows)}")

        assert [(problem.id, problem.answer) for problem in problems] == [
            *(("math-0", "3,5"), ("math-1", "2"), ("test/7", "7"), ("math-3", None)),
        ]
        assert problems[1].meta == {"level": "Level 5", "type": "Algebra"}

    def test_reasoning_gym(self) -> None:
        """A generator gives the same problems for the same seed, with gold answers."""
        pytest.importorskip("reasoning_gym")
        problems = load_problems("reasoning_gym:chain_sum:3:7")

        assert [problem.id for problem in problems] == ["chain_sum-7-0", "chain_sum-7-1", "chain_sum-7-2"]
        assert problems == load_problems("reasoning_gym:chain_sum:3:7")
        assert problems != load_problems("reasoning_gym:chain_sum:3:8")
        assert all(problem.answer for problem in problems)

    @pytest.mark.parametrize(
        ("scheme", "row", "found"),
        [
            ("", {"prompt": "q", "answer": True}, "answer: true"),
            ("", {"prompt": "q", "answer": math.nan}, "answer: NaN"),
            ("", {"prompt": "", "answer": "1"}, "'problem' without text"),
            ("", {"answer": "1"}, "no 'problem' or 'question' or 'prompt'"),
            ("", {"prompt": "q", "answer": "1", "id": False}, "id: false"),
            ("gsm8k:", {"question": "q", "answer": "5"}, 'answer "5"'),
            ("gsm8k:", {"question": "q", "answer": "so\n####  "}, "####"),
            ("gsm8k:", {"question": "q"}, "no 'answer'"),
            ("math:", {"problem": "q"}, "no gold answer"),
        ],
    )
    def test_malformed(self, tmp_path: Path, scheme: str, row: dict[str, Any], found: str) -> None:
        """A row without prompt, or without gold where the source has gold, is an error, or counted."""
        good = {"prompt": "g", "question": "g", "problem": "g", "answer": "1 #### 1"}
        path, drops = file(tmp_path, row, good), Counter[str]()

        with pytest.raises(InputError) as caught:
            load_problems(f"{scheme}{path}")
        assert found in str(caught.value)
        assert str(caught.value).startswith(f"{path}:1: ")
        assert len(load_problems(f"{scheme}{path}", skip_bad=True, drops=drops)) == 1
        assert drops.total() == 1

    def test_same_problem_twice(self, tmp_path: Path) -> None:
        """Two rows of one id, or of one prompt where there are no ids, are an error."""
        with pytest.raises(InputError, match="again"):
            load_problems(str(file(tmp_path, {"prompt": "q", "answer": "1"}, {"prompt": "q", "answer": "2"})))

    @pytest.mark.parametrize(
        ("source", "error", "found"),
        [
            ("gsm8k:", ConfigError, "names no data"),
            ("reasoning_gym:chain_sum:many:7", ConfigError, "'many' where a whole number should be"),
            ("reasoning_gym:chain_sum:3", ConfigError, "'' where a whole number should be"),
            ("reasoning_gym:chain_sum:3:7:2", ConfigError, "expected reasoning_gym:NAME:N:SEED"),
            ("lab:train", ConfigError, "'' where a whole number should be"),
            ("none.jsonl", InputError, "no such file"),
        ],
    )
    def test_sources_that_are_none(self, source: str, error: type[Exception], found: str) -> None:
        """A source that can't be understood says what is wrong with it."""
        with pytest.raises(error, match=found):
            load_problems(source)

    def test_unknown_generator(self) -> None:
        """A generator that reasoning-gym does not have is a fault of the settings."""
        pytest.importorskip("reasoning_gym")
        with pytest.raises(ConfigError, match="no_such_task"):
            load_problems("reasoning_gym:no_such_task:3:7")

    def test_no_problem_at_all(self, tmp_path: Path) -> None:
        """A source without a problem is an error, and so is asking for none."""
        with pytest.raises(InputError, match="no problem that could be used"):
            load_problems(str(file(tmp_path)))
        with pytest.raises(ConfigError, match="limit=0"):
            load_problems(str(file(tmp_path)), limit=0)

    def test_missing_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a source's library is not installed, the error says how to get it."""
        monkeypatch.setitem(__import__("sys").modules, "datasets", None)
        with pytest.raises(BackendError, match=r"pip install 'gradatim\[data\]'"):
            load_problems("hf:openai/gsm8k@main:test")


class TestSolutions:
    """Plain rows of solutions."""

    def test_plain(self, tmp_path: Path) -> None:
        """Bare steps get the joiner; samples of one problem are counted up; what the row says is kept."""
        path = file(
            tmp_path,
            {"problem": "P", "steps": ["a", "b"]},
            {"prompt": "P", "completions": ["a", "b"]},
            {
                "question": "Q",
                "steps": ["a"],
                "id": "q1",
                "draw": 5,
                "author": "m",
                "verdict": "correct",
                "answer": "3",
            },
            {"problem": "P", "steps": ["a", {"text": "looked", "kind": "observation"}]},
        )
        first, second, third, fourth = records.read_solutions(path, joiner="\n")

        assert first.prefix.text == second.prefix.text == "a\nb"
        assert [solution.draw for solution in (first, second, third, fourth)] == [0, 1, 5, 2]
        assert first.id != second.id
        assert (third.prefix.problem_id, third.author, third.verdict, third.answer) == ("q1", "m", Verdict.CORRECT, "3")
        assert first.prefix.problem_id == records.prompt_id("P")
        assert [step.kind for step in fourth.prefix.steps] == ["reasoning", "observation"]
        assert first.joiner == "\n"

    def test_own_without_steps(self, tmp_path: Path) -> None:
        """A solution of nothing, as a policy may write it, is read back from our own rows."""
        row = {"schema": "gradatim.solution/1", "problem_id": "p", "prompt": "q", "steps": [], "finish": "length"}
        [solution] = records.read_solutions(file(tmp_path, row))

        assert solution.prefix.steps == ()
        assert solution.finish == "length"


def test_recorded_scores(tmp_path: Path) -> None:
    """Recorded rows `{id, step_scores}` are read; null is NaN, and the value is the smallest that is a number."""
    path = file(
        tmp_path,
        {"id": "a", "step_scores": [0.9, None, 0.4], "prm_name": "m"},
        {"id": 2, "step_scores": [None]},
        {"solution_id": "c", "value": None, "reduction": "mean"},
    )
    (a, first), (b, second), (c, third) = records.read_scores(path)

    assert (a, b, c) == ("a", "2", "c")
    assert (first.value, first.reduction, first.by) == (0.4, "min", "m")
    assert math.isnan(first.steps[1])
    assert math.isnan(second.value)
    assert (math.isnan(third.value), third.steps, third.reduction) == (True, (), "mean")
