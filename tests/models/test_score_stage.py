"""`gradatim score`: rows in, scores out in the same order, nothing lost without being counted."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from gradatim import records
from gradatim.choose import ChooseConfig, choose_stage
from gradatim.core import Solution
from gradatim.errors import ConfigError, InputError
from gradatim.models import checkpoint
from gradatim.score.engine import ModelScorer, load
from gradatim.score.stage import ScoreConfig, cost_lines, score_stage
from tiny_models import prefixes, reward_model

PLAIN = [
    {"id": "a", "problem": "How many?", "steps": ["3 + 12 = 15.", "The answer is 15."]},
    {"id": "b", "prompt": "How many?", "completions": ["3 + 12 = 14."]},
    {"problem": "How many?", "steps": ["15"]},
    {"problem": "How many?", "steps": ["15"]},
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_come_back_in_order_with_their_ids(tmp_path: Path) -> None:
    """Each row has its score under its own id (one is made where there is none), as strict JSON."""
    scorer = ModelScorer(reward_model())
    result = score_stage(ScoreConfig(data=write(tmp_path / "in.jsonl", PLAIN)), scorer, quiet=True)

    assert result == json.loads(json.dumps(result, allow_nan=False))
    assert [row["id"] for row in result["scores"]][:2] == ["a", "b"]
    assert len({row["id"] for row in result["scores"]}) == 4
    assert [len(row["steps"]) for row in result["scores"]] == [2, 1, 1, 1]
    assert result["scores"][2]["steps"] == pytest.approx(result["scores"][3]["steps"])
    for row in result["scores"]:
        assert set(row) == {"id", "steps", "value", "reduction", "first_error"}
        assert row["value"] == pytest.approx(min(row["steps"]))
        wrong = [index for index, value in enumerate(row["steps"]) if value < 0.5]
        assert row["first_error"] == (wrong[0] if wrong else None)
    assert result["model"] == "tiny prm"
    assert result["stats"]["tokens_processed"] >= result["stats"]["distinct_tokens"] > 0
    assert result["stats"]["seconds"] > 0
    assert result["rows"] == {"scored": 4, "dropped": {}}


def test_standard_input_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "-" reads the same rows from standard input."""
    scorer = ModelScorer(reward_model())
    from_file = score_stage(ScoreConfig(data=write(tmp_path / "in.jsonl", PLAIN)), scorer, quiet=True)
    text = "".join(json.dumps(row) + "\n" for row in PLAIN)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    assert score_stage(ScoreConfig(), scorer, quiet=True)["scores"] == from_file["scores"]


def test_the_threshold_marks_the_first_error(tmp_path: Path) -> None:
    """Every step is below 1.1 and none below 0; without a threshold the model's own is used."""
    scorer, data = ModelScorer(reward_model()), write(tmp_path / "in.jsonl", PLAIN)
    results = [
        score_stage(ScoreConfig(data=data, threshold=threshold), scorer, quiet=True) for threshold in (1.1, 0.0, None)
    ]

    assert [row["first_error"] for row in results[0]["scores"]] == [0] * 4
    assert [row["first_error"] for row in results[1]["scores"]] == [None] * 4
    assert results[2]["threshold"] == 0.5


def test_own_rows_are_scored_and_written_for_later_stages(tmp_path: Path) -> None:
    """Solutions as we write them, an empty one too; `out` holds rows that read back as the same scores."""
    solutions = [Solution(prefix=prefix, author="tiny", draw=draw) for draw, prefix in enumerate(prefixes())]
    solutions.append(Solution(prefix=prefixes()[0].first(0), author="tiny", draw=99))
    records.write_solutions(tmp_path / "solutions.jsonl", solutions)
    config = ScoreConfig(data=str(tmp_path / "solutions.jsonl"), out=str(tmp_path / "scores.jsonl"))

    result = score_stage(config, ModelScorer(reward_model()), quiet=True)
    assert [row["id"] for row in result["scores"]] == [solution.id for solution in solutions]
    assert result["scores"][-1] == {
        "id": solutions[-1].id, "steps": [], "value": None, "reduction": "min", "first_error": None,
    }  # fmt: skip
    read = dict(records.read_scores(config.out or ""))
    for row in result["scores"][:-1]:
        assert list(read[row["id"]].steps) == row["steps"]
        assert read[row["id"]].by == "tiny prm"


BAD = [
    ({"problem": "Q", "steps": []}, r"in.jsonl:2:.*at least one step"),
    ({"steps": ["a"]}, r"in.jsonl:2:.*problem"),
    ({"problem": "Q", "steps": ["a", 3]}, r"in.jsonl:2:"),
    ({"problem": "Q", "steps": ["a " * 100_000]}, r"in.jsonl:2:.*solution .*at most 512"),
    ({"id": "a", "problem": "Q", "steps": ["a"]}, r"in.jsonl:2:.*again"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_bad_rows_are_errors_or_counted(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    """A row that can't be read or is too long stops with file and line, or with skip_bad is dropped and counted."""
    scorer, data = ModelScorer(reward_model()), write(tmp_path / "in.jsonl", [PLAIN[0], row])

    with pytest.raises(InputError, match=message):
        score_stage(ScoreConfig(data=data), scorer, quiet=True)
    result = score_stage(ScoreConfig(data=data, skip_bad=True), scorer, quiet=True)
    assert [scored["id"] for scored in result["scores"]] == ["a"]
    assert sum(result["rows"]["dropped"].values()) == 1


POOL = [
    {
        "problem_id": problem_id,
        "candidate_index": index,
        **({"problem": {"question": f"How many, {problem_id}?"}} if index == 1 else {}),
        "steps": ["3 + 12 = 15.", f"The answer is {index}."],
        "extracted_answer": str(index),
        "is_correct": index == 1,
        "model_name": "author",
    }
    for index in (1, 2, 3)
    for problem_id in ("p", "q")
]


def test_scores_of_a_public_pool_are_those_of_its_candidates(tmp_path: Path) -> None:
    """Author, index and the prompt, which stands on one row a problem, are read as `choose` reads them."""
    scorer, pool, out = (
        ModelScorer(reward_model()),
        write(tmp_path / "pool.jsonl", POOL),
        str(tmp_path / "scores.jsonl"),
    )
    result = score_stage(ScoreConfig(data=pool, out=out), scorer, quiet=True)
    chosen = choose_stage(ChooseConfig(pool=pool, scores=(out,)), quiet=True)

    assert chosen["problems"] == 2
    full = [{**row, "problem": f"How many, {row['problem_id']}?", "id": str(n)} for n, row in enumerate(POOL)]
    for row in full:
        del row["candidate_index"]
    plain = score_stage(ScoreConfig(data=write(tmp_path / "plain.jsonl", full)), scorer, quiet=True)
    for one, other in zip(result["scores"], plain["scores"], strict=True):
        assert one["steps"] == pytest.approx(other["steps"])


def test_a_candidate_without_a_prompt_is_an_error_or_counted(tmp_path: Path) -> None:
    """Where no row of a problem bears its prompt there is nothing to score it under."""
    scorer, data = ModelScorer(reward_model()), write(tmp_path / "in.jsonl", [*POOL, {**POOL[2], "problem_id": "r"}])

    with pytest.raises(InputError, match=r"in.jsonl:7:.*without a prompt"):
        score_stage(ScoreConfig(data=data), scorer, quiet=True)
    result = score_stage(ScoreConfig(data=data, skip_bad=True), scorer, quiet=True)
    assert result["rows"] == {"scored": 6, "dropped": {"expected the prompt on one candidate of each problem": 1}}


def test_a_pool_has_to_be_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe can be read only once, and a prompt may stand on any row."""
    text = "".join(json.dumps(row) + "\n" for row in POOL)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    with pytest.raises(InputError, match="a pool from a pipe"):
        score_stage(ScoreConfig(), ModelScorer(reward_model()), quiet=True)


def test_the_cost_is_this_call_s(tmp_path: Path) -> None:
    """A scorer that was used before does not put its earlier tokens on this account; what it kept is not paid again."""
    scorer, data = ModelScorer(reward_model()), write(tmp_path / "in.jsonl", PLAIN)
    first, second = (score_stage(ScoreConfig(data=data), scorer, quiet=True)["stats"] for _ in range(2))

    assert first["tokens_processed"] == first["distinct_tokens"] == second["distinct_tokens"] > 0
    assert second["tokens_processed"] == 0
    assert first["padding_tokens"] == second["padding_tokens"] == 0


def test_the_cost_is_told(tmp_path: Path) -> None:
    """Processed, distinct and padding, their ratio, and what was done in another way than usual."""
    scorer = ModelScorer(reward_model("prm", "mistral", sliding_window=8))
    stats = score_stage(ScoreConfig(data=write(tmp_path / "in.jsonl", PLAIN)), scorer, quiet=True)["stats"]
    told = cost_lines(stats)

    for line, name in zip(told, ("tokens_processed", "distinct_tokens", "padding_tokens"), strict=False):
        assert f" {stats[name]:,}" in line
    assert f"{stats['tokens_processed'] / stats['distinct_tokens']:.3f}" in told[1]
    assert told[-1] == f"note: {stats['notes'][0]}"
    assert cost_lines({**stats, "distinct_tokens": 0})[1].endswith(" -")


def test_load_gives_a_scorer_with_another_reduction_on_demand(tmp_path: Path) -> None:
    """`load` scores like the saved model; `reduction` replaces its reduction and nothing else."""
    model = reward_model()
    checkpoint.save(model, tmp_path)
    loaded = load(tmp_path)
    expected = ModelScorer(model, checkpoint=loaded.checkpoint).score(prefixes())

    assert loaded.score(prefixes()) == expected
    last = load(tmp_path, reduction="last").score(prefixes())
    assert [score.value for score in last] == [score.steps[-1] for score in expected]
    with pytest.raises(ConfigError, match="does not fit kind='prm'"):
        load(tmp_path, reduction="outcome")


def test_a_threshold_is_a_number() -> None:
    """NaN is below nothing and above nothing."""
    with pytest.raises(ConfigError, match="threshold=nan"):
        ScoreConfig(threshold=float("nan"))
