"""Whatever rules are asked of a labelling: they are refused with a reason, or every solution gets labels that can be learned."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gradatim.core import Problem, Solution
from gradatim.errors import ConfigError
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.records import read_labels, read_solutions
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.train.targets import Evidence, TargetConfig, first_error, step_evidence
from gradatim.verify.answers import exact_verifier

POLICY = MarkovPolicy(Student(misread=0.3))
ASKED = {
    "k": st.sampled_from([1, 4]),
    "batch": st.sampled_from([1, 7, 512]),
    "rule": st.sampled_from(["relative", "any"]),
    "stop": st.sampled_from(["fixed", "first", "sprt", "posterior"]),
    "search": st.sampled_from(["all", "bisection", "informed"]),
    "nominal": st.sampled_from([0.05, 0.3]),
    "bits": st.sampled_from([0.01, 0.2]),
    "cap": st.sampled_from([1, 16]),
    "undecided": st.sampled_from(["mask", "likelier"]),
}


@pytest.fixture(name="written", scope="module")
def _written(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Problem], list[Solution]]:
    path, problems = tmp_path_factory.mktemp("solutions") / "s.jsonl", load("test", 5)
    sample_stage(SampleConfig(n=3), POLICY, problems, exact_verifier, path, quiet=True)
    return problems, read_solutions(path)


@settings(max_examples=40, deadline=None)
@given(asked=st.fixed_dictionaries(ASKED), rule=st.sampled_from(["any", "relative"]))
def test_what_is_asked_is_refused_or_labelled(
    written: tuple[list[Problem], list[Solution]], asked: dict[str, Any], rule: Any
) -> None:
    """A label a solution, tallies within what was allowed; hard targets are right steps and then one wrong one at most."""
    problems, solutions = written
    try:
        config = LabelConfig(**asked)
    except ConfigError:
        event("refused")
        return

    with tempfile.TemporaryDirectory() as folder:
        label_stage(config, POLICY, problems, solutions, exact_verifier, Path(folder) / "labels.jsonl", quiet=True)
        rows = read_labels(Path(folder) / "labels.jsonl")

    event(f"labelled: {config.stop}, {config.search}")
    assert [row.solution_id for row in rows] == [one.id for one in solutions]
    for row, solution in zip(rows, solutions, strict=True):
        steps = len(solution.prefix.steps)
        assert len(row.tallies) == steps
        assert row.error is None or (row.error_known and 0 <= row.error < steps)
        if config.stop == "fixed":
            assert all(tally.tried <= config.k for tally in row.tallies)
        hard = TargetConfig(target="hard", rule=rule)
        if rule == "relative" and not row.start.tried:
            continue  # refused, with a reason: tests/train
        seen = step_evidence(solution, row, hard)
        found = [evidence for evidence in seen if evidence is not None]
        assert all(evidence == Evidence(1, 0) for evidence in found[:-1])
        error = first_error(solution, row, hard)
        if found and found[-1] == Evidence(0, 1):
            assert error is not None
            assert seen[error] == found[-1]
        elif error is not None:
            assert seen[error] is None
        for evidence, tally in zip(step_evidence(solution, row, TargetConfig()), row.tallies, strict=True):
            assert evidence in (None, (tally.good, tally.tried - tally.good))
