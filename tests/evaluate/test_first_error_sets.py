"""Sets of places for the first error: what they hold, that they keep their promise, and that they travel in files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from labelled_files import Written, simulated

from gradatim.core import Score, Tally
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.first_error_sets import ConformalConfig, SetRule, conformal_stage, read_rule, strangeness


def conformal(files: dict[str, str], **changes: Any) -> dict[str, Any]:
    return conformal_stage(ConformalConfig(**{"resplits": 40, **files, **changes}), quiet=True)


def rule(threshold: float, **changes: Any) -> SetRule:
    limits = {"error": threshold, "none": threshold}
    plain: dict[str, Any] = {"thresholds": limits, "miss": 0.1, "by_class": False, "target": "t", "problems": 9}
    return SetRule(**{"scorer": "prm", "calibrated": "", **plain, **changes})


def scored(*steps: float) -> Score:
    return Score(value=min(steps), steps=steps, reduction="min", by="prm")


def test_how_strange_a_place_is_by_hand() -> None:
    """.8, .5: first error at the first step .2, at the second .8 x .5, nowhere .8 x .5; as shares of the likeliest."""
    assert strangeness([0.8, 0.5]) == pytest.approx([1 - 0.2 / 0.4, 0, 0])
    assert strangeness([0.8, math.nan, 0.5]) == pytest.approx([0.5, math.inf, 0, 0])
    assert strangeness([]) == pytest.approx([0])
    with pytest.raises(InputError, match="calibrate"):
        strangeness([1.2])


def test_a_set_holds_the_likeliest_place_and_grows_with_the_threshold() -> None:
    """At 0 the likeliest only, at 1 every scored step and "nowhere" (None); an observation never."""
    score = scored(0.9, math.nan, 0.4)

    assert rule(0.0).places(score) == (2,)
    assert rule(0.5).places(score) == (2, None)
    assert rule(math.inf).places(score) == (0, 2, None)
    with pytest.raises(ConfigError, match="not calibrated"):
        rule(0.5, calibrated="by a map").places(score)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("by_class", [False, True])
def test_the_promise_is_kept_however_wrong_the_scores_are(tmp_path: Path, temperature: float, by_class: bool) -> None:
    """Calibrated or far too sure, several solutions a problem: the mean coverage is what was promised, within each class
    too where that was asked."""
    files = simulated(250, 0, temperature=temperature, each=2).write(tmp_path)
    result = conformal(files, miss=0.2, by_class=by_class)

    spare = 0.015 + 3 * result["coverage"]["monte_carlo"]
    assert 0.8 - spare < result["coverage"]["value"] < 0.8 + 1 / 126 + spare
    for kind in ("error", "none") if by_class else ():
        assert result[f"coverage_{kind}"]["value"] > 0.8 - spare
    assert 1 <= result["size"]["value"] <= 6


def test_better_scores_make_smaller_sets(tmp_path: Path) -> None:
    """Scores that know the errors, against scores that know nothing."""
    knowing, blind = Written(), Written()
    for p in range(60):
        valid = [True, p % 3 != 0, True]
        marks = [Tally(int(good), 1) for good in valid]
        knowing.add(f"p{p}", ["a", "b", "c"], [0.95 if good else 0.1 for good in valid], marks)
        blind.add(f"p{p}", ["a", "b", "c"], [0.7, 0.7, 0.7], marks)
    sizes = []
    for name, made in (("knowing", knowing), ("blind", blind)):
        (tmp_path / name).mkdir()
        sizes.append(conformal(made.write(tmp_path / name), miss=0.1)["size"]["value"])

    assert sizes[0] == pytest.approx(1)
    assert sizes[1] > 1.5


def test_too_few_problems_promise_by_naming_every_place(tmp_path: Path) -> None:
    """With three problems nothing rules a place out at 10 %, and the threshold is infinite (null in JSON)."""
    result = conformal(simulated(3, 1).write(tmp_path), miss=0.1, resplits=5)

    assert result["thresholds"] == {"error": None, "none": None}
    assert result["coverage"]["value"] == 1.0


def test_a_rule_is_written_and_applied_to_other_scores(tmp_path: Path) -> None:
    """The sets of the file are those of the rule; they say whether there may be no error."""
    files = simulated(60, 2).write(tmp_path)
    told = conformal(files, miss=0.3, out=str(tmp_path / "rule.json"))
    kept = read_rule(tmp_path / "rule.json")
    result = conformal({"scores": files["scores"]}, rule=str(tmp_path / "rule.json"), out=str(tmp_path / "sets.jsonl"))

    first = json.loads((tmp_path / "sets.jsonl").read_text().splitlines()[0])
    score = simulated(60, 2).scores[0][1]
    places = kept.places(score)
    assert kept.thresholds == told["thresholds"]
    assert first == result["sets"][0]
    assert first["steps"] == [place for place in places if place is not None]
    assert first["none"] is (None in places)
    (tmp_path / "rule.json").write_text('{"schema": "gradatim.first_error_sets/1", "thresholds": {"error": 0.5}}')
    with pytest.raises(InputError, match="thresholds of error, none"):
        read_rule(tmp_path / "rule.json")


@pytest.mark.parametrize("skipped", [False, True])
def test_no_scores_are_no_empty_result(tmp_path: Path, skipped: bool) -> None:
    """A rule applied to a file without a row, or without one that can be read."""
    conformal(simulated(10, 2).write(tmp_path), miss=0.3, out=str(tmp_path / "rule.json"))
    (tmp_path / "empty.jsonl").write_text("{}\n" if skipped else "")
    asked = {"scores": str(tmp_path / "empty.jsonl"), "rule": str(tmp_path / "rule.json")}

    with pytest.raises(InputError, match=r"empty\.jsonl: no score"):
        conformal(asked, skip_bad=skipped, out=str(tmp_path / "sets.jsonl"))
    assert not (tmp_path / "sets.jsonl").exists()


def test_solutions_that_say_nothing_of_the_first_error_are_counted(tmp_path: Path) -> None:
    """Unknown first errors, and first errors at steps without a score."""
    made = simulated(30, 3)
    made.add("x", ["a"], [0.5], [Tally()], error_known=False)
    made.add("y", ["a", "b"], [math.nan, 0.5], [Tally(0, 1), Tally(1, 1)])
    result = conformal(made.write(tmp_path))

    assert result["drops"] == {"first error not known": 1, "no score of the first error": 1}
    assert result["problems"] == 30


def test_what_contradicts_itself_is_refused() -> None:
    """Setting and applying at once, or a share that is none."""
    with pytest.raises(ConfigError, match="--labels, to set a rule"):
        ConformalConfig(scores="a", labels="b", rule="c")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        ConformalConfig(scores="a", labels="b", miss=1.0)
    with pytest.raises(ConfigError, match="recorded scores"):
        ConformalConfig(model="lab", rule="c")
