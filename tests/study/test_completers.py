"""The study of completers: measures against plain counts, and the whole run in tier A on few problems."""

import math
from itertools import product
from pathlib import Path

import pytest

from gradatim import runs
from gradatim.core import Labels
from gradatim.errors import ConfigError
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.study.completers import completers, completers_study, measured
from gradatim.study.material import Part, labelled, sampled
from gradatim.study.mixture import Mixture
from gradatim.study.settings import CompletersConfig


@pytest.fixture(name="few", scope="module")
def _few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Part, list[Labels]]:
    run = runs.Run(tmp_path_factory.mktemp("few"))
    part = sampled(run, "solutions", "test", 5, 4, MarkovPolicy(), quiet=True)
    return part, labelled(run, "one", {"k4": LabelConfig(k=4)}, MarkovPolicy(slips=(0.2,)), part, quiet=True)["k4"]


def test_the_area_under_the_curve_is_that_of_all_pairs(few: tuple[Part, list[Labels]]) -> None:
    """The AUROC of the rates is the share of (right, wrong) pairs of tested steps in order, counted pair by pair; the
    last step, whose tally is the answer itself, is in none."""
    part, labels = few
    found = measured("one", part, [labels])

    right, wrong = [], []
    for truth, row in zip(part.truth, labels, strict=True):
        for place, tally in enumerate(row.tallies[:-1]):
            if truth.error is None or place <= truth.error:
                (wrong if place == truth.error else right).append(tally.rate)
    pairs = [(a > b) + (a == b) / 2 for a, b in product(right, wrong)]
    assert found.auroc[0].value == pytest.approx(sum(pairs) / len(pairs))


def test_ability_is_the_mean_rate_from_the_start(few: tuple[Part, list[Labels]]) -> None:
    """A completer that is not the author has its own rollouts from each bare problem; a problem weighs one."""
    part, labels = few
    starts = {solution.prefix.problem_id: row.start for solution, row in zip(part.solutions, labels, strict=True)}

    found = measured("one", part, [labels])

    assert all(start.tried == 4 for start in starts.values())
    assert found.ability.value == pytest.approx(sum(start.rate for start in starts.values()) / len(starts))


def test_labels_by_several_rules_share_their_draws(tmp_path: Path) -> None:
    """The first 4 of 8 rollouts are the 4 rollouts: a step with no success among 8 has none among 4."""
    run = runs.Run(tmp_path)
    part = sampled(run, "solutions", "test", 3, 3, MarkovPolicy(), quiet=True)
    rules = {"k4": LabelConfig(k=4), "k8": LabelConfig(k=8)}

    labels = labelled(run, "one", rules, MarkovPolicy(slips=(0.2,)), part, quiet=True)

    for few, many in zip(labels["k4"], labels["k8"], strict=True):
        for some, more in zip(few.tallies[:-1], many.tallies[:-1], strict=True):
            assert some.good <= more.good <= some.good + 4
    told = run.manifest()["stages"]["label-one"]["result"]
    assert 0 < told["k4"]["rollouts"] * 2 == told["k8"]["rollouts"]


def test_completers_of_tier_a_are_as_able_as_they_are_called() -> None:
    """By exact values on 30 problems: careful above author above careless, and the two that are mixed for their
    diversity are about equally able."""
    from gradatim.problems.lab.world import load

    starts = [problem.start() for problem in load("train", 30)]
    able = {
        name: sum(map(policy.value, starts)) / len(starts)
        for name, policy in completers("a").items()
        if isinstance(policy, MarkovPolicy)
    }
    mixed = [policy for policy in completers("a").values() if isinstance(policy, Mixture)]

    assert able["careful"] > able["author"] > able["careless"]
    assert abs(able["misreader"] - able["slipper"]) < 0.1
    assert len(mixed) == 2


@pytest.mark.parametrize("rollouts", [(), (3,), (0, 2)])
def test_rollouts_that_two_can_not_share_are_refused(rollouts: tuple[int, ...]) -> None:
    """A mixture of two has as many rollouts as its parts have alone only if they are even."""
    with pytest.raises(ConfigError, match="even numbers"):
        CompletersConfig(rollouts=rollouts)


def test_a_small_study_from_end_to_end(tmp_path: Path) -> None:
    """All completers are in all tables with finite numbers; other settings in the same folder are refused."""
    config = CompletersConfig(problems=3, solutions=2, rollouts=(2,))
    result = completers_study(config, tmp_path, quiet=True)

    names = list(completers("a"))
    table = result["tables"]["Labels by 2 rollouts a step"]
    assert [row["completer"] for row in table] == names
    assert all(math.isfinite(row["solves"]["value"]) for row in table)
    assert (tmp_path / "report.json").exists()
    assert (tmp_path / "figure.svg").exists()
    with pytest.raises(ConfigError, match="was finished differently"):
        completers_study(CompletersConfig(problems=3, solutions=2, rollouts=(4,)), tmp_path, quiet=True)
