"""The study of learning curves: a scorer that knows the truth, curves that are known, and the run from end to end."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim import runs
from gradatim.core import Prefix, Score
from gradatim.errors import ConfigError
from gradatim.evaluate.first_error import f1
from gradatim.problems import lab
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.progress import Progress
from gradatim.study import pages
from gradatim.study.contenders import picked
from gradatim.study.learning import learning_study
from gradatim.study.learning_report import report
from gradatim.study.material import sampled, written
from gradatim.study.measuring import Grounds, measured
from gradatim.study.settings import LEARNING, LearningConfig

PRM, ORM = picked(["PRM exact", "ORM"])


class Oracle:
    """Scores a valid step .9 and another .2, a whole solution by its worst step."""

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        """See `Scorer`."""
        rows = [tuple(0.9 if step.valid else 0.2 for step in lab.check(prefix)) for prefix in prefixes]
        return [Score(value=min(row), steps=row, by="oracle") for row in rows]


class Blind:
    """Scores everything alike."""

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        """See `Scorer`."""
        return [Score(value=0.5, steps=(0.5,) * len(prefix.steps), by="blind") for prefix in prefixes]


@pytest.fixture(name="grounds", scope="module")
def _grounds(tmp_path_factory: pytest.TempPathFactory) -> Grounds:
    run, policy = runs.Run(tmp_path_factory.mktemp("grounds")), MarkovPolicy()
    return Grounds(
        pool=sampled(run, "pool", "test", 8, 10, policy, quiet=True),
        development=sampled(run, "development", "shape", 6, 4, policy, quiet=True),
        longer=written(run, "longer", "long", 6, 3),
    )


def test_who_knows_the_truth_finds_all_of_it(grounds: Grounds) -> None:
    """A scorer that knows it chooses a sound candidate wherever there is one, and names all first errors, here and in
    longer problems, by a threshold between its two scores."""
    found = measured(Oracle(), PRM, grounds, quiet=True)

    pool = grounds.candidates
    assert found["best"] == [
        pytest.approx(1.0 if any(map(all, truth)) else good.mean())
        for truth, good in zip(pool.truth, pool.good, strict=True)
    ]
    assert 0.2 < found["threshold"] <= 0.9
    assert found["longer"]["said"] == [truth.error for truth in grounds.longer.truth]
    assert found["here"]["said"] == [grounds.pool.truth[index].error for index in grounds.judged]
    assert {grounds.pool.solutions[index].draw for index in grounds.judged} == set(range(8))


def test_who_knows_nothing_chooses_at_random(grounds: Grounds) -> None:
    """Equal scores share evenly: best-of-n is the pool's mean, and no step below one half is named."""
    found = measured(Blind(), PRM, grounds, quiet=True)

    assert found["best"] == pytest.approx(grounds.candidates.good.mean(axis=1).tolist())
    assert set(found["longer"]["at_half"]) == {None}
    assert "here" not in measured(Blind(), ORM, grounds, quiet=True)


def test_longer_problems_are_longer(grounds: Grounds) -> None:
    """Solutions out of distribution have more steps than any that are learned from, and some are sound, some not."""
    steps = [len(one.prefix.steps) for one in grounds.longer.solutions]

    assert min(steps) > max(len(problem_steps(p)) for p in lab.load("train", 20))
    assert {truth.error is None for truth in grounds.longer.truth} == {True, False}
    assert len({one.id for one in grounds.longer.solutions}) == 18


def problem_steps(problem: Any) -> range:
    """As many as the problem needs, the answer included."""
    return range(int(problem.meta["steps"]) + 1)


def test_the_report_of_known_curves(grounds: Grounds, tmp_path: Path) -> None:
    """An oracle at every count beside a blind ORM: the differences, F1 and crossover that follow from that."""
    knows = {**measured(Oracle(), PRM, grounds, quiet=True), "tokens": {"processed": 10}}
    blind = {**measured(Blind(), ORM, grounds, quiet=True), "tokens": {"processed": 20}}
    config = LearningConfig(counts=(10, 20), seeds=2)
    results = {
        (one.name, count, seed): kept
        for one, kept in ((PRM, knows), (ORM, blind))
        for count in config.counts
        for seed in range(2)
    }

    made = report(runs.Run(tmp_path), config, (PRM, ORM), grounds, results)

    tables = {table.title: table for table in made.tables}
    difference = tables["Paired differences at 20 solutions"].rows[0][1]
    expected = np.mean(knows["best"]) - grounds.candidates.good.mean()
    assert difference.value == pytest.approx(expected)  # type: ignore[union-attr]
    crossing = tables["Solutions that an outcome model needs for the same accuracy"]
    assert [row[2] for row in crossing.rows] == ["> 20 [> 20, > 20]"] * 2
    for title in ("First-error F1, problems like those learned from", "First-error F1, longer problems"):
        [row] = tables[title].rows
        assert [cell.value for cell in (*row[1:3], row[4])] == [1.0, 1.0, 1.0]  # type: ignore[union-attr]
        assert row[3] == "1.000 1.000"
    assert f1(1.0, 1.0) == 1.0


def test_outcome_models_alone_have_a_report(grounds: Grounds, tmp_path: Path) -> None:
    """Without tables and curves of first errors, which they do not have."""
    blind = {**measured(Blind(), ORM, grounds, quiet=True), "tokens": {"processed": 20}}
    config = LearningConfig(counts=(10, 20), seeds=1)

    made = report(runs.Run(tmp_path), config, (ORM,), grounds, {(ORM.name, count, 0): blind for count in (10, 20)})
    told = pages.leave(runs.Run(tmp_path), made)

    assert all(table.rows for table in made.tables)
    assert not any("First-error" in title for title in told["tables"])
    assert Path(told["figure"]).exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("counts", ()), ("counts", (300, 100)), ("counts", (105,)), ("seeds", 0), ("contenders", ("PRN",))],
)
def test_settings_that_make_no_curve_are_refused(field: str, value: object) -> None:
    """The message names the field, or the contender that is nobody's."""
    with pytest.raises(ConfigError, match=f"{field}|no contender"):
        replace(LearningConfig(), **{field: value})  # type: ignore[arg-type]


def test_small_counts_are_passed_over_more_often() -> None:
    """Every training sees at least `shown` solutions, and at least `epochs` passes."""
    for config in LEARNING.values():
        for count in config.counts:
            passes = config.passes(count)
            assert passes >= config.epochs
            assert passes * count >= config.shown


def test_a_study_from_end_to_end(tmp_path: Path) -> None:
    """Two contenders learn from 4 solutions; all is kept but the models; again, on whatever device, trains nothing."""
    config = LearningConfig(
        counts=(4,), solutions=2, rollouts=1, epochs=1, shown=1, test_problems=3, candidates=2, other_problems=2,
        contenders=("PRM exact", "ORM"), device="cpu",
    )  # fmt: skip
    result = learning_study(config, tmp_path, quiet=True)

    rows = [row["trained"] for row in result["tables"]["Accuracy of the best of 2, by solutions learned from"]]
    assert rows == ["PRM exact", "ORM", "majority", "random", "oracle"]
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"orm-4-0.json", "prm-exact-4-0.json"}
    assert not list((tmp_path / "models").iterdir())
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["schema"] == 1
    stages = runs.Run(tmp_path).manifest()["stages"]
    assert stages["orm-4-0"]["result"]["rows"]["used"] == 4
    assert learning_study(replace(config, device="auto"), tmp_path, quiet=True)["tables"] == result["tables"]
    assert runs.Run(tmp_path).manifest()["stages"] == stages
