"""Recorded scores, combined: in `gradatim choose`, and written as a score file by `gradatim combine`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pool_files import Rows, pool_rows, score_rows, write

from gradatim import records
from gradatim.choose import ChooseConfig, choose_stage
from gradatim.errors import ConfigError
from gradatim.score.recorded import CombineConfig, Mix, combine_stage

POOL = pool_rows({"p1": [("1", True), ("2", False), ("3", False)], "p2": [("7", False), ("8", True), ("9", False)]})
A = [(0.9, 0.3), (0.8, 0.8), (0.1, 0.2), (0.9, 0.9), (0.5, 0.6), (0.1, 0.1)]
B = [(0.9, 0.9), (0.2, 0.1), (0.3, 0.2), (0.1, 0.1), (0.6, 0.4), (0.3, 0.2)]


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> tuple[str, str, str]:
    return (
        write(tmp_path / "pool.jsonl", POOL),
        write(tmp_path / "a.jsonl", score_rows(POOL, A, "a")),
        write(tmp_path / "b.jsonl", score_rows(POOL, B, "b")),
    )


def choose(files: tuple[str, ...], mix: Mix, **settings: Any) -> dict[str, Any]:
    result = choose_stage(ChooseConfig(pool=files[0], scores=files[1:], mix=mix, **settings), quiet=True)
    json.dumps(result, allow_nan=False)
    return result


def outcomes(values: list[float]) -> Rows:
    """Rows of ours by an outcome model, for the public rows of the pool."""
    keys = [(row["problem_id"], row["candidate_index"]) for row in POOL]
    return [
        {"problem_id": p, "candidate_index": c, "prm_name": "o", "value": v, "reduction": "outcome"}
        for (p, c), v in zip(keys, values, strict=True)
    ]


def test_an_ensemble_chooses_what_no_member_would(files: tuple[str, str, str]) -> None:
    """By value the mean of the smallest scores decides; members that pick different answers are counted."""
    result = choose(files, Mix(ensemble=("mean",)), reduction=("min",), n=(3,))

    assert result["chosen_by"] == {"chooser": "best_of_n", "scorer": "mean(a, b)", "reduction": "min"}
    assert [(c["candidate"], c["value"]) for c in result["choices"]] == [
        (0, pytest.approx((0.3 + 0.9) / 2)),
        (0, pytest.approx((0.9 + 0.1) / 2)),
    ]
    assert [c["disagreement"] for c in result["choices"]] == pytest.approx([0.3, 0.4])
    [apart] = result["ensembles"]
    smallest = [(0.3, 0.9), (0.8, 0.1), (0.1, 0.2), (0.9, 0.1), (0.5, 0.4), (0.1, 0.2)]
    assert apart["mean_deviation"] == pytest.approx(sum(abs(x - y) / 2 for x, y in smallest) / 6)
    assert apart["split_problems"] == 1.0
    at = {(row["scorer"], row["chooser"]): row["value"] for row in result["rows"]}
    assert at["mean(a, b)", "best_of_n"] == 0.5
    assert at["a", "best_of_n"] == 0.0


@pytest.mark.parametrize(
    ("how", "over", "expected"),
    [
        ("worst", "values", [0.3, 0.1, 0.1, 0.1, 0.4, 0.1]),
        (
            "penalised",
            "values",
            [0.6 - 0.09 * 2, 0.45 - 0.1225 * 2, 0.15 - 0.0025 * 2, 0.5 - 0.32, 0.45 - 0.005, 0.145],
        ),
        ("rank", "values", [4 / 6, 3 / 6, 2 / 6, 3 / 6, 4 / 6, 2 / 6]),
        ("mean", "steps", [0.6, 0.45, 0.2, 0.5, 0.5, 0.15]),
    ],
)
def test_every_rule_by_hand(files: tuple[str, str, str], how: Any, over: Any, expected: list[float]) -> None:
    """The combined values of each candidate, written out; ranks are within a problem."""
    out = Path(files[0]).parent / "combined.jsonl"
    mix = Mix(ensemble=(how,), over=over, penalty=2.0)

    result = combine_stage(CombineConfig(pool=files[0], scores=files[1:], out=str(out), mix=mix))

    assert result["scores"] == 6
    assert [score.value for _, score in records.read_scores(out)] == pytest.approx(expected)


@pytest.mark.parametrize("over", ["values", "steps"])
def test_a_written_combination_is_a_score_file_like_any_other(files: tuple[str, str, str], over: Any) -> None:
    """`choose` makes of it what it makes of the ensemble itself."""
    out = str(Path(files[0]).parent / "combined.jsonl")
    mix = Mix(ensemble=("mean",), over=over)
    combine_stage(CombineConfig(pool=files[0], scores=files[1:], out=out, mix=mix))

    direct = choose(files, mix, reduction=("min",))
    again = choose((files[0], out), Mix(), reduction=("min",))

    plain = [{name: value for name, value in one.items() if name != "disagreement"} for one in direct["choices"]]
    assert again["choices"] == plain
    assert again["chosen_by"] == direct["chosen_by"]


def test_a_blend_of_recorded_scores(files: tuple[str, str, str], tmp_path: Path) -> None:
    """Each process scorer with the outcome's values, under mean and min; other reductions have no blend."""
    o = write(tmp_path / "o.jsonl", outcomes([0.0, 0.9, 0.2, 0.4, 0.3, 0.1]))

    result = choose((*files, o), Mix(outcome="o", alpha=0.5), n=(3,))

    assert result["chosen_by"] == {"chooser": "best_of_n", "scorer": "0.5 * o + 0.5 * min a", "reduction": "min"}
    assert result["choices"][0]["value"] == pytest.approx(0.5 * 0.9 + 0.5 * 0.8)
    assert "ensembles" not in result
    names = {row["scorer"] for row in result["rows"] if row["scorer"] and "*" in row["scorer"]}
    assert names == {f"0.5 * o + 0.5 * {how} {by}" for how in ("min", "mean") for by in "ab"}


def calibrated_rows(scorer: str, values: list[float], steps: list[tuple[float, float]]) -> Rows:
    """Rows of ours whose values were calibrated to answers, beside steps that were not: reduction "outcome"."""
    told = {"reduction": "outcome", "calibrated": "platt@0: answers", "prm_name": scorer}
    keys = [(row["problem_id"], row["candidate_index"]) for row in POOL]
    return [
        {"problem_id": p, "candidate_index": c, "value": value, "step_scores": list(pair), **told}
        for (p, c), value, pair in zip(keys, values, steps, strict=True)
    ]


CALIBRATED = [0.2, 0.9, 0.1, 0.3, 0.8, 0.2]
LOGITS = [(-3.0, 5.0), (9.0, -9.0), (0.0, 2.0), (1.0, 1.0), (-2.0, 0.0), (4.0, 4.0)]


def test_calibrated_values_are_what_an_ensemble_combines(files: tuple[str, str, str], tmp_path: Path) -> None:
    """Not the smallest of steps that were never calibrated; the note says so, no scale is complained of, and what comes out
    calls itself calibrated by nobody."""
    c = write(tmp_path / "c.jsonl", calibrated_rows("c", CALIBRATED, LOGITS))
    mix, out = Mix(ensemble=("mean",)), str(tmp_path / "out.jsonl")
    smallest = [min(pair) for pair in A]
    expected = [(x + y) / 2 for x, y in zip(smallest, CALIBRATED, strict=True)]

    result = combine_stage(CombineConfig(pool=files[0], scores=(files[1], c), out=out, mix=mix))

    written = [score for _, score in records.read_scores(out)]
    assert [score.value for score in written] == pytest.approx(expected)
    assert {(score.calibrated, score.reduction, score.steps) for score in written} == {("", "outcome", ())}
    assert result["notes"] == ["c: its own values (calibrated or blended) are combined, not its steps"]

    chosen = choose((files[0], files[1], c), mix, n=(3,))
    assert [one["candidate"] for one in chosen["choices"]] == [1, 1]
    assert [one["value"] for one in chosen["choices"]] == pytest.approx([expected[1], expected[4]])
    assert chosen["ensembles"][0]["split_problems"] == 0.5
    assert result["notes"][0] in chosen["notes"]
    assert not any("not between 0 and 1" in note for note in chosen["notes"])


def test_a_reduction_that_is_asked_for_is_taken_and_said(files: tuple[str, str, str], tmp_path: Path) -> None:
    """--reduction min takes the smallest step of a calibrated scorer like of any other, as `choose` does of one alone."""
    c = write(tmp_path / "c.jsonl", calibrated_rows("c", CALIBRATED, LOGITS))
    mix, out = Mix(ensemble=("mean",)), str(tmp_path / "out.jsonl")

    result = combine_stage(CombineConfig(pool=files[0], scores=(files[1], c), out=out, mix=mix, reduction="min"))

    found = [score.value for _, score in records.read_scores(out)]
    assert found == pytest.approx([(min(x) + min(y)) / 2 for x, y in zip(A, LOGITS, strict=True)])
    assert result["notes"] == ["c: combined by its steps; its own values (calibrated or blended) are not used"]
    chosen = choose((files[0], files[1], c), mix, reduction=("min",), n=(3,))
    assert [one["value"] for one in chosen["choices"]] == pytest.approx([max(found[:3]), max(found[3:])])
    assert any("not between 0 and 1: c" in note for note in chosen["notes"])


def test_values_that_are_all_calibrated_make_one_ensemble(files: tuple[str, str, str], tmp_path: Path) -> None:
    """No reduction of steps has anything to do with it, so that it is one method, not one for each reduction."""
    scores = [write(tmp_path / f"{by}.jsonl", calibrated_rows(by, CALIBRATED, LOGITS)) for by in "cd"]
    result = choose((files[0], *scores), Mix(ensemble=("mean",)), n=(3,))

    assert result["chosen_by"] == {"chooser": "best_of_n", "scorer": "mean(c, d)", "reduction": "outcome"}
    assert [one["value"] for one in result["choices"]] == pytest.approx([0.9, 0.8])
    assert [one["mean_deviation"] for one in result["ensembles"]] == [0.0]


def test_scorers_on_different_scales_are_named(files: tuple[str, str, str], tmp_path: Path) -> None:
    """A logit beside probabilities is noted, unless ranks are combined."""
    o = write(tmp_path / "o.jsonl", outcomes([-3.0, 9.0, 0.2, 0.4, 0.3, 0.1]))

    for how, noted in (("mean", True), ("rank", False)):
        result = choose((files[0], files[1], o), Mix(ensemble=(how,)), reduction=("min",))  # type: ignore[arg-type]
        assert any("not between 0 and 1: o" in note for note in result["notes"]) is noted


def test_no_product_of_negative_combined_steps(files: tuple[str, str, str]) -> None:
    """A penalty can push steps below 0; the reductions that can't take them are left out, and that is said."""
    result = choose(files, Mix(ensemble=("penalised",), over="steps", penalty=10.0), n=(3,))

    found = {row["reduction"] for row in result["rows"] if row["scorer"] == "penalised 10 of steps(a, b)"}
    assert found == {"min", "mean", "last", "max", "softmin", "weighted", "sum"}
    assert sum("some combined step scores are negative" in note for note in result["notes"]) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ensemble": ("median",)}, "expected some of mean"),
        ({"over": "texts"}, "expected one of values"),
        ({"penalty": -1.0}, "from 0 on"),
        ({"alpha": 2.0}, "from 0 to 1"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    """Out of range is said before a file is opened."""
    with pytest.raises(ConfigError, match=message):
        Mix(**settings)


def test_what_is_missing_is_named(files: tuple[str, str, str]) -> None:
    """One scorer is no ensemble; an outcome must exist, have values, and be asked with mean or min."""
    with pytest.raises(ConfigError, match="at least two"):
        choose(files[:2], Mix(ensemble=("mean",)))
    with pytest.raises(ConfigError, match="expected one of a, b"):
        choose(files, Mix(outcome="c"))
    with pytest.raises(ConfigError, match="step scores only"):
        choose(files, Mix(outcome="a"))
    with pytest.raises(ConfigError, match="nothing to combine"):
        choose(files[:1], Mix(ensemble=("mean",)))
    with pytest.raises(ConfigError, match="nothing to combine by"):
        CombineConfig(pool="p", scores=("a", "b"), out="c")
