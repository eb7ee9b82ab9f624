"""Calibration as a stage: what is measured is held out, prefixes count once, and everything is told."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_files import Written, simulated

from gradatim.core import Prefix, Score, Tally
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate import steps as measured
from gradatim.evaluate.calibrating import CalibrateConfig, calibrate_stage, cross_fitted, fitted
from gradatim.evaluate.first_error_sets import ConformalConfig
from gradatim.evaluate.items import LabelledSource, read_labelled, step_items
from gradatim.score.calibrate import read_calibration
from gradatim.score.stage import Stats
from gradatim.stats import fold_of


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals from few resamples: these tests look at the numbers themselves."""
    monkeypatch.setattr(measured, "DRAWS", 20)


def calibrate(files: dict[str, str], **changes: Any) -> dict[str, Any]:
    result = calibrate_stage(CalibrateConfig(**{"best_of": (4,), **files, **changes}), quiet=True)
    json.dumps(result["after"]["ece"])
    return result


def test_scores_that_are_too_sure_are_calibrated_on_other_problems(tmp_path: Path) -> None:
    """Log-odds doubled: every map that has it finds the temperature 2, and the error falls to what noise leaves."""
    files = simulated(300, 0, temperature=2.0).write(tmp_path)
    result = calibrate(files, method="temperature", out=str(tmp_path / "map.json"), report=str(tmp_path / "page"))

    assert result["before"]["ece"]["value"] > 0.05
    assert result["after"]["ece"]["value"] < 0.03
    assert result["after"]["brier"]["value"] < result["before"]["brier"]["value"]
    assert read_calibration(tmp_path / "map.json").numbers["temperature"][0] == pytest.approx(2, rel=0.15)
    assert "checker" in result["target"]
    assert "gradatim calibrate --scores" in (tmp_path / "page" / "report.html").read_text()
    [tail] = result["before"]["tails"]
    assert tail["items"] == math.ceil(result["items"] / 4)
    assert tail["too_sure_by"]["value"] > 0


def test_a_fold_is_mapped_by_what_the_others_say(tmp_path: Path) -> None:
    """Item by item: the map of the other folds' problems, fitted by hand."""
    made = simulated(30, 1, temperature=2.0, each=2)
    source = LabelledSource(**made.write(tmp_path))
    rows = read_labelled(source, None, _drops(), quiet=True)
    items = step_items(rows, "good")
    after = cross_fitted(items, "platt")

    place = np.array(fold_of(items.problems))
    problem = items.problems[0]
    others = [
        row for row in rows if fold_of(items.problems)[items.problems.index(row.solution.prefix.problem_id)] != place[0]
    ]
    mine = fitted(step_items(others, "good"), "platt", "probability")
    chosen = np.array(items.problems) == problem
    assert after[chosen] == pytest.approx(mine(items.scores[chosen]))


def test_a_shared_prefix_counts_once_with_all_its_evidence(tmp_path: Path) -> None:
    """Two solutions that share the first step: one item for it, with two votes; steps after a first error are left out."""
    made = Written()
    made.add("p", ["a", "b", "c"], [0.9, 0.2, 0.5], [Tally(1, 1), Tally(0, 1), Tally(1, 1)])
    made.add("p", ["a", "d"], [0.9, 0.8], [Tally(1, 1), Tally(1, 1)])
    made.add("q", ["a"], [0.7], [Tally(1, 1)])
    items = step_items(read_labelled(LabelledSource(**made.write(tmp_path)), None, _drops(), quiet=True), "good")

    found = sorted(zip(items.problems, items.steps.tolist(), items.scores, items.good, items.bad, strict=True))
    assert found == [("p", 0, 0.9, 2, 0), ("p", 1, 0.2, 0, 1), ("p", 1, 0.8, 1, 0), ("q", 0, 0.7, 1, 0)]


def test_a_label_that_many_solutions_repeat_counts_once(tmp_path: Path) -> None:
    """Forty solutions of each problem share a good first step, and all have a second step of their own, of which half are
    good. All scores are alike: the map says the share of good *steps*, not the share of good labels."""
    made = Written()
    rng = np.random.default_rng(0)
    for problem in range(20):
        for solution in range(40):
            score = float(rng.uniform(0.45, 0.55))
            good = Tally(int(rng.random() < 0.3 + 4 * (score - 0.45)), 1)
            made.add(f"p{problem}", ["a", f"b{solution}"], [0.5, score], [Tally(1, 1), good])
    result = calibrate(made.write(tmp_path), method="platt")

    assert result["items"] == 20 * 41
    assert result["before"]["ece"]["value"] > 0.03
    assert result["after"]["ece"]["value"] < 0.03


def test_values_are_rates_of_counts_and_go_on_after_an_error(tmp_path: Path) -> None:
    """Labels of value: good and tried as they are, V named with its policy, no mask; rates of stopped tests are refused."""
    value = {"truth": "value", "source": "rollouts", "by": "some policy"}
    made = Written()
    made.add("p", ["a", "b"], [0.9, 0.5], [Tally(0, 8), Tally(2, 8)], **value)
    items = step_items(read_labelled(LabelledSource(**made.write(tmp_path)), None, _drops(), quiet=True), "good")

    assert items.good.tolist() == [0, 2]
    assert items.against(items.scores).right.tolist() == [0, 0.25]
    assert items.target == "V, the rate of right answers from here, by rollouts (some policy)"
    made.add("q", ["a"], [0.9], [Tally(1, 2)], optional_stopping=True, **value)
    with pytest.raises(InputError, match="a test stopped"):
        calibrate(made.write(tmp_path))


def test_a_calibration_is_measured_as_it_is_on_other_solutions(tmp_path: Path) -> None:
    """Fitted where log-odds are doubled, measured where they are right: it makes them too timid, and both targets are
    told where they differ."""
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, temperature in ((first, 2.0), (second, 1.0)):
        folder.mkdir()
        made = simulated(300, 3, temperature=temperature)
        if folder == second:
            made.items = [(s, _by(labels, "other")) for s, labels in made.items]
        made.write(folder)
    files = [{"labels": str(one / "labelled.jsonl"), "scores": str(one / "scores.jsonl")} for one in (first, second)]
    calibrate(files[0], method="beta", out=str(first / "map.json"))
    result = calibrate(files[1], measure=str(first / "map.json"))

    assert result["after"]["ece"]["value"] > result["before"]["ece"]["value"] + 0.03
    assert [note.partition(":")[0] for note in result["notes"][1:]] == ["fitted for", "measured on"]
    assert result["notes"][0].endswith("only the name was compared")


def test_nothing_is_dropped_in_silence(tmp_path: Path) -> None:
    """A labelled solution without a score is an error, or counted; a score without labels is counted."""
    made = simulated(20, 4)
    missing, made.scores = made.scores[0], made.scores[1:]
    made.scores.append(("nobody", missing[1]))
    files = made.write(tmp_path)

    with pytest.raises(InputError, match=r"no score of solution .* \(1 missing\)"):
        calibrate(files)
    result = calibrate(files, skip_bad=True)
    assert result["drops"] == {"labels without a score": 1, "scores without labels": 1}
    assert result["problems"] == 19


class Half:
    """A model that gives each step a score by its text alone."""

    name, checkpoint, threshold, stats = "half", "", 0.5, Stats()

    def refused(self, prefixes: list[Prefix]) -> list[InputError | None]:
        return [InputError("too long", expected="at most 3") if one.problem_id == "p0" else None for one in prefixes]

    def score(self, prefixes: list[Prefix], *, shown: object = None) -> list[Score]:
        steps = [tuple(0.2 + 0.1 * int(step.text[-2]) for step in one.steps) for one in prefixes]
        return [Score(value=min(row), steps=row, reduction="min", by=self.name) for row in steps]


def test_a_model_scores_what_it_can_take_and_its_scores_are_kept(tmp_path: Path) -> None:
    """What it refuses is an error, or counted; the kept scores give the same result again."""
    made = Written()
    for p in range(40):
        marks = [Tally(int(p % 4 > 0), 1), Tally(1, 1), Tally(1, 1)]
        made.add(f"p{p}", [f"{p} {t}\n" for t in range(3)], [0.5] * 3, marks)
    labels = made.write(tmp_path)["labels"]
    kept = str(tmp_path / "kept.jsonl")
    config = CalibrateConfig(model="half", labels=labels, keep_scores=kept, method="isotonic", skip_bad=True, folds=2)

    with pytest.raises(InputError, match="too long"):
        calibrate_stage(CalibrateConfig(model="half", labels=labels), Half(), quiet=True)  # type: ignore[arg-type]
    result = calibrate_stage(config, Half(), quiet=True)  # type: ignore[arg-type]
    again = calibrate({"labels": labels, "scores": kept}, method="isotonic", skip_bad=True, folds=2)
    assert result["drops"] == {"expected at most 3": 1}
    assert again["after"]["ece"] == result["after"]["ece"]


def test_what_contradicts_itself_is_refused() -> None:
    """One source of truth, one source of scores; a given map is not fitted again."""
    with pytest.raises(ConfigError, match="--labels or --pool"):
        CalibrateConfig(scores="a", labels="b", pool="c")
    with pytest.raises(ConfigError, match="--model or --scores"):
        CalibrateConfig(labels="b")
    with pytest.raises(ConfigError, match="nothing new"):
        CalibrateConfig(labels="b", scores="a", measure="m", out="o")
    with pytest.raises(ConfigError, match="at least 2 folds"):
        CalibrateConfig(labels="b", scores="a", folds=1)
    with pytest.raises(ConfigError, match="a pool is taken whole"):
        CalibrateConfig(pool="b", scores="a", neutral="bad")
    with pytest.raises(ConfigError, match="takes one as it is"):
        CalibrateConfig(labels="b", scores="a", measure="m", method="isotonic")
    with pytest.raises(ConfigError, match="are there already"):
        CalibrateConfig(labels="b", scores="a", keep_scores="k")


def test_scores_by_two_models_are_refused(tmp_path: Path) -> None:
    """Also where each solution has one by either, of which the last would be taken."""
    made = Written()
    for p in range(6):
        made.add(f"p{p}", [f"{p}\n"], [0.5], [Tally(p % 2, 1)])
    files = made.write(tmp_path)
    rows = Path(files["scores"]).read_text()
    Path(files["scores"]).write_text(rows.replace('"by": "', '"by": "other-') + rows)

    with pytest.raises(InputError, match=r"scores by other-.*, ") as caught:
        calibrate(files, folds=2)
    assert "one model" in str(caught.value)


def _drops() -> Any:
    from collections import Counter

    return Counter()


def _by(labels: Any, name: str) -> Any:
    from dataclasses import replace

    return replace(labels, by=name)


def test_one_problem_has_no_interval() -> None:
    """Nothing can be resampled: the calibration error is told, and no certainty about it."""
    of_one = measured.Steps(np.array([0.5, 0.5, 0.5]), np.array([1.0, 1.0, 1.0]), ("p", "p", "p"))
    found = measured.calibration_error(of_one)

    assert found.value == pytest.approx(0.5)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    two = measured.calibration_error(replace(of_one, problems=("p", "p", "q")))
    assert two.low <= two.value <= two.high


def test_scores_that_are_no_probabilities_have_no_reliability_diagram(tmp_path: Path) -> None:
    """On the log-odds scale: only the scores after calibration are drawn, and the page says why there is no error before."""
    made = simulated(40, 6)
    for scores, drawn in ((made.scores, 2), ([(name, _odds(score)) for name, score in made.scores], 1)):
        made.scores = scores
        calibrate(made.write(tmp_path), method="platt", report=str(tmp_path / "page"))
        numbers = json.loads((tmp_path / "page" / "report.json").read_text())

        assert len(numbers["reliability"]) == drawn
        assert all(0 <= one["score"] <= 1 for chart in numbers["reliability"] for one in chart["bins"])
    assert numbers["reliability"][0]["title"].endswith("after")
    assert "nan" not in numbers["summary"]
    assert "outside 0 to 1" in numbers["summary"]


def _odds(score: Score) -> Score:
    steps = tuple(math.log(step / (1 - step)) for step in score.steps)
    return Score(value=min(steps), steps=steps, reduction="min", by=score.by)


@pytest.mark.parametrize("problems", [0, -3])
def test_at_least_one_problem_is_asked_for(problems: int) -> None:
    """A negative number would leave out the last problems."""
    with pytest.raises(ConfigError, match=f"problems={problems}: expected at least 1"):
        CalibrateConfig(labels="a", scores="b", problems=problems)
    with pytest.raises(ConfigError, match=f"problems={problems}: expected at least 1"):
        ConformalConfig(labels="a", scores="b", problems=problems)
