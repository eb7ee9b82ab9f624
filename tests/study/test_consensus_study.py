"""The study of consensus: agreement by enumeration, judges' shares by their closed form, the whole run on few problems."""

import math
from pathlib import Path
from random import Random

import pytest

from gradatim import records
from gradatim.core import Prefix, Solution
from gradatim.evaluate.first_error import Judged
from gradatim.judges.scripted import ScriptedJudge
from gradatim.problems import lab
from gradatim.problems.lab import students
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.world import parse
from gradatim.steps import by_line
from gradatim.study.against import Said, kept
from gradatim.study.consensus import Rule, agreed, by_rate, choose, consensus_study, judged, together
from gradatim.study.material import Part
from gradatim.study.settings import ConsensusConfig


def _part(solutions: int) -> Part:
    """Solutions by students, one a problem, that all differ."""
    rng, made = Random(1), []
    problems = lab.load("train", solutions)
    for problem in problems:
        text = "".join(students.write(parse(problem.prompt), students.pick_student(rng), rng))
        made.append(Solution(prefix=Prefix(problem.id, problem.prompt, by_line(text)), author="students", draw=0))
    part = Part("part", problems, Path("nowhere"))
    part.__dict__["solutions"] = made  # what a file would hold
    return part


def test_independent_judges_keep_what_their_rates_say() -> None:
    """Of 250 solutions, within four standard errors: two judges agree on an erroneous one with .7 ** 2 + .2 ** 2 + (both
    one off, on the same side) and are right in .7 ** 2; on a sound one with .9 ** 2 + (the same false alarm)."""
    part, config = _part(250), ConsensusConfig()

    rows = agreed(Rule("2 judges", None, 2, 2), part, {}, judged(config, part, [], 0.0))

    errors = [row for row in rows if row.truth.error is not None]
    sound = [row for row in rows if row.truth.error is None]
    right = sum(row.kept and row.error == row.truth.error for row in errors) / len(errors)
    missed = sum(row.kept and row.error is None for row in errors) / len(errors)
    quiet = sum(row.kept and row.error is None for row in sound) / len(sound)
    for seen, chance, n in ((right, 0.49, len(errors)), (missed, 0.04, len(errors)), (quiet, 0.81, len(sound))):
        assert abs(seen - chance) < 4 * math.sqrt(chance * (1 - chance) / n)


def test_judges_that_err_where_counting_does_are_of_no_help() -> None:
    """At correlation 1 three judges are one: what all say is what the first says, and its rates are what they were."""
    part, config = _part(60), ConsensusConfig()
    blind = ScriptedJudge(miss=1.0)
    blind_labels = [blind.label(one, truth.error) for one, truth in zip(part.solutions, part.truth, strict=True)]

    rules = together(config, part, {"Monte-Carlo": blind_labels, "no mending": blind_labels})[1.0]

    assert rules["3 judges"] == rules["2 of 3 judges"] == rules["1 judge"]
    missed = [row.error is None for row in rules["1 judge"] if row.truth.error is not None]
    assert abs(sum(missed) / len(missed) - config.miss) < 0.15


def test_the_rule_is_chosen_by_what_it_keeps_among_those_that_are_right_enough() -> None:
    """Enough F1 first, then the class of which less is kept; none, if none is right enough."""

    def rows(found: bool, here: bool) -> list[Said]:
        truth = [Judged(problem=str(k), scores=(math.nan,) * 3, error=1 if k % 2 else None) for k in range(6)]
        return [Said(truth=one, error=one.error if found else 0, kept=here or one.problem in "01") for one in truth]

    offered = {"few": rows(True, False), "all": rows(True, True), "wrong": rows(False, True)}
    assert choose(offered, 0.9) == "all"
    assert choose({"few": offered["few"], "wrong": offered["wrong"]}, 0.9) == "few"
    assert choose({"wrong": offered["wrong"]}, 0.9) is None


def test_a_small_study_from_end_to_end(tmp_path: Path) -> None:
    """Files, tables and figure are there; Monte-Carlo by exact values is what a plain count gives; nothing runs twice."""
    config = ConsensusConfig(problems=4, solutions=3, rollouts=2)
    result = consensus_study(config, tmp_path / "run", quiet=True)

    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "report.json", "report.html", "figure.svg", "manifest.json", "test.jsonl", "labels-test-k.jsonl",
    }  # fmt: skip
    rows = {row["rule"]: row for row in result["tables"]["Monte-Carlo alone"]}
    policy = MarkovPolicy(students.Student(misread=0.75, repair=0.3))
    counted = []
    for solution in records.read_solutions(tmp_path / "run" / "test.jsonl"):
        truth = lab.first_error(lab.check(solution.prefix))
        values = [policy.value(solution.prefix.first(k)) for k in range(len(solution.prefix.steps) + 1)]
        error = next((k for k, value in enumerate(values[1:]) if value < values[0] / 2), None)
        one = Judged(problem=solution.prefix.problem_id, scores=(math.nan,) * (len(values) - 1), error=truth)
        counted.append(Said(truth=one, error=error, kept=True))
    assert rows["k = ∞"]["F1 of what is kept"]["value"] == pytest.approx(kept(counted).found.f1.value, nan_ok=True)
    labels = {row.solution_id: row for row in records.read_labels(tmp_path / "run" / "labels-test-k.jsonl")}
    part = Part("test", lab.load("test", 4), tmp_path / "run" / "test.jsonl")
    half = by_rate([labels[one.id] for one in part.solutions], part, bar=0.5)
    assert [row.error for row in half] == [labels[one.id].error for one in part.solutions]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.jsonl")}
    assert consensus_study(config, tmp_path / "run", quiet=True)["tables"] == result["tables"]
    assert {path: path.stat().st_mtime_ns for path in before if "problems" not in path.name} == {
        path: time for path, time in before.items() if "problems" not in path.name
    }
