"""What labellers agree on, graded by the lab's exact checker and counted by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from gradatim.core import Labels, Prefix, Solution, Step, Tally
from gradatim.errors import ConfigError, InputError
from gradatim.judges.scripted import ScriptedJudge, shared_numbers
from gradatim.labels.consensus import ConsensusConfig, agree, agreement, consensus_stage
from gradatim.labels.datasets import load_labelled
from gradatim.labels.given import Labelled
from gradatim.problems.lab import load
from gradatim.problems.lab.checker import check, exact_labels, first_error
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.records import labels_from, read_rows, solution_from
from gradatim.steps import by_line
from gradatim.train.targets import TargetConfig, step_evidence


def solution(name: int, steps: int = 4) -> Solution:
    prefix = Prefix(f"p{name}", "What?", tuple(Step(f"step {index}\n") for index in range(steps)))
    return Solution(prefix=prefix, author="a", draw=0)


def said(one: Solution, error: int | None, *, known: bool = True, by: str = "x") -> Labels:
    steps = len(one.prefix.steps)
    end = steps if error is None else error
    tallies = [Tally(int(step < end), 1) if step <= end and known else Tally() for step in range(steps)]
    return Labels(
        solution_id=one.id,
        tallies=tuple(tallies),
        error=error if known else None,
        error_known=known,
        truth="validity",
        source="judge",
        by=by,
    )


def labelled(errors: Sequence[int | str | None], by: str) -> list[Labelled]:
    """Solutions 0, 1, ... with these first errors; "?" is unknown."""
    rows = [solution(name) for name in range(len(errors))]
    return [
        (one, said(one, None, known=False, by=by) if error == "?" else said(one, error, by=by))  # type: ignore[arg-type]
        for one, error in zip(rows, errors, strict=True)
    ]


def run(tmp_path: Path, labellers: dict[str, list[Labelled]], **config: object) -> dict[str, object]:
    return consensus_stage(
        ConsensusConfig(**config),  # type: ignore[arg-type]
        labellers,
        tmp_path / "kept.jsonl",
        tmp_path / "apart.jsonl",
    )


def test_all_have_to_agree(tmp_path: Path) -> None:
    """Kept are the solutions with one opinion; the others are written with what each labeller says."""
    a = labelled([None, 1, 2, None, 3, "?"], "a")
    b = labelled([None, 1, 3, 0, "?", "?"], "b")
    result = run(tmp_path, {"a": a, "b": b})
    kept = load_labelled(str(tmp_path / "kept.jsonl"))
    assert [(one.prefix.problem_id, labels.error) for one, labels in kept] == [("p0", None), ("p1", 1)]
    assert kept[0][1].tallies == (Tally(2, 2),) * 4
    assert kept[1][1].tallies == (Tally(2, 2), Tally(0, 2), Tally(), Tally())
    assert all((one.source, one.by, one.error_known) == ("consensus", "a & b", True) for _, one in kept)
    apart = list(read_rows(tmp_path / "apart.jsonl"))
    assert [solution_from(row.inside(row.data["solution"])).prefix.problem_id for row in apart] == [
        *("p2", "p3", "p4", "p5")
    ]
    assert [labels_from(row.inside(one)) for row in apart for one in row.data["labels"]] == [
        labels for pair in zip(a[2:], b[2:], strict=True) for _, labels in pair
    ]
    assert (result["kept"], result["kept_erroneous"], result["kept_correct"], result["disagreements"]) == (2, 1, 1, 4)
    first = result["labellers"][0]  # type: ignore[index]
    assert (first["erroneous"], first["correct"], first["unknown"]) == (3, 2, 1)
    assert first["coverage_erroneous"].value == pytest.approx(1 / 3)
    assert first["coverage_correct"].value == pytest.approx(1 / 2)


def test_k_of_n_keeps_the_dissent_out_of_the_tallies(tmp_path: Path) -> None:
    """Two of three decide; the third's votes are in the other file, not in the mean."""
    labellers = {"a": labelled([2, None], "a"), "b": labelled([2, 1], "b"), "c": labelled([None, 3], "c")}
    result = run(tmp_path, labellers, agree=2)
    ((one, labels),) = load_labelled(str(tmp_path / "kept.jsonl"))
    assert labels.tallies == (Tally(2, 2), Tally(2, 2), Tally(0, 2), Tally())
    assert labels.by == "a & b"
    evidence = step_evidence(one, labels, TargetConfig(target="hard"))
    assert [None if step is None else step.good for step in evidence] == [1, 1, 0, None]
    assert [row.data["kept"] for row in read_rows(tmp_path / "apart.jsonl")] == [True, False]
    assert result["fleiss"] is not None
    assert [(pair["a"], pair["b"]) for pair in result["pairs"]] == [("a", "b"), ("a", "c"), ("b", "c")]  # type: ignore[attr-defined]


@cache
def lab(problems: int = 40) -> list[tuple[Solution, int | None]]:
    """Solutions of the lab with their exact first error."""
    policy, found = MarkovPolicy(Student(misread=0.6)), {}
    for problem in load("test", problems):
        for text in policy.write([problem.start()], draws=range(4))[0]:
            prefix = Prefix(problem.id, problem.prompt, by_line(text.text))
            found[prefix] = Solution(prefix=prefix, author="markov", draw=0)
    return [(one, first_error(check(one.prefix))) for one in found.values()]


def test_independent_judges_are_right_where_they_agree(tmp_path: Path) -> None:
    """Coverage and accuracy by true class are those of the closed form, and the exact labels agree with themselves."""
    truths = lab()
    rates = {"miss": 0.2, "false_alarm": 0.1, "off_by_one": 0.1}
    files = {
        f"judge {seed}": [(one, ScriptedJudge(**rates, seed=seed).label(one, truth)) for one, truth in truths]  # type: ignore[arg-type]
        for seed in (1, 2)
    }
    run(tmp_path, files)
    kept = {one.id: labels.error for one, labels in load_labelled(str(tmp_path / "kept.jsonl"))}
    wrong = [one.id for one, truth in truths if truth is not None]
    right = [one.id for one, truth in truths if truth is None]
    exact = {one.id: truth for one, truth in truths}
    found = sum(name in kept and kept[name] == exact[name] for name in wrong) / len(wrong)
    missed = sum(name in kept and kept[name] is None for name in wrong) / len(wrong)
    assert found == pytest.approx(0.7 * 0.7, abs=4 * (0.25 / len(wrong)) ** 0.5)
    assert missed == pytest.approx(0.2 * 0.2, abs=4 * (0.04 / len(wrong)) ** 0.5)
    clean = sum(name in kept and kept[name] is None for name in right) / len(right)
    assert clean == pytest.approx(0.9 * 0.9, abs=4 * (0.16 / len(right)) ** 0.5)


def test_correlated_judges_agree_on_their_errors(tmp_path: Path) -> None:
    """Judges that err together are kept with their errors: agreement is no evidence where errors have one cause."""
    truths = lab(20)
    judges = [
        ScriptedJudge(miss=0.3, false_alarm=0.2, seed=seed, shared=shared_numbers(0), correlation=1) for seed in (1, 2)
    ]
    files = {judge.name: [(one, judge.label(one, truth)) for one, truth in truths] for judge in judges}
    result = run(tmp_path, files)
    assert result["kept"] == len(truths)
    pair = result["pairs"][0]  # type: ignore[index]
    assert pair["first_error"].value == pytest.approx(1)
    kept = {one.id: labels.error for one, labels in load_labelled(str(tmp_path / "kept.jsonl"))}
    assert sum(kept[one.id] != truth for one, truth in truths) / len(truths) > 0.15


def test_agreement_by_hand() -> None:
    """Shares, kappas and the split table of five solutions, one of them undecided."""
    a, b = labelled([None, 1, 2, None, "?"], "a"), labelled([None, 1, None, 3, 0], "b")
    found = agreement([(one, (first, second)) for (one, first), (_, second) in zip(a, b, strict=True)])
    assert (found["decided"], found["undecided"]) == (4, 1)
    assert found["same"].value == 0.5
    # Four decided: "none" 2/4 by each, index 1 by both once, 2 and 3 by one each: e = 1/4 + 1/16.
    assert found["first_error"].value == pytest.approx((0.5 - 5 / 16) / (1 - 5 / 16))
    # Steps up to the earlier first error: 4 right-right; right, wrong-wrong; 2 right and one apart; 3 right and one apart.
    p, e = 11 / 13, (11 * 11 + 2 * 2) / 13**2
    assert found["steps"].value == pytest.approx((p - e) / (1 - e))
    assert [found[name] for name in ("both_erroneous", "both_correct", "only_a_erroneous", "only_b_erroneous")] == [
        *(1, 1, 1, 1)
    ]


def test_exact_labels_agree_with_themselves() -> None:
    """Consensus of a truth with itself is that truth."""
    for one, truth in lab(5):
        exact = exact_labels(one)
        labels = agree([exact, exact], 2)
        assert labels is not None
        assert labels.error == truth


def test_files_of_different_solutions_are_refused(tmp_path: Path) -> None:
    """No common solution is an error in any case, some only without `common`; then the others are counted."""
    a = labelled([None, 1, 2], "a")
    other = [(one, said(one, None)) for one in (solution(7), solution(8))]
    with pytest.raises(InputError, match=r"0 of 5 solutions are in all.*expected labels of the same solutions"):
        run(tmp_path, {"a": a, "b": other})
    with pytest.raises(InputError, match=r"b: no labels of solution .*2 of 3 .*--common"):
        run(tmp_path, {"a": a, "b": labelled([None, 1], "b")})
    result = run(tmp_path, {"a": a, "b": labelled([None, 1], "b")}, common=True)
    assert (result["solutions"], result["dropped"]) == (2, {"not labelled by all": 1})


def test_settings_and_files_that_make_no_sense(tmp_path: Path) -> None:
    """One labeller, a half that both sides could reach, two labels of one solution; the same labeller twice is noted."""
    a, b = labelled([None, 1], "a"), labelled([None, 1], "b")
    with pytest.raises(ConfigError, match="1 file of labels"):
        run(tmp_path, {"a": a})
    with pytest.raises(ConfigError, match="agree=1 of 2"):
        run(tmp_path, {"a": a, "b": b}, agree=1)
    with pytest.raises(InputError, match="one labeller a file"):
        run(tmp_path, {"a": a, "b": [*b, *a]})
    assert run(tmp_path, {"a": a, "b": b})["notes"] == []
    assert "same labeller" in json.dumps(run(tmp_path, {"a": a, "again": a})["notes"])


def test_what_is_labelled_is_said_by_those_that_agree() -> None:
    """A dissenter's labels of validity make no labels of validity of what two labellers of values agree on."""
    one = solution(0)
    values = [replace(said(one, 2, by=name), truth="value") for name in "ab"]
    dissent = said(one, 1, by="c")
    found = agree([*values, dissent], 2)
    assert found is not None
    assert (found.truth, found.by, found.error) == ("value", "a & b", 2)
    mixed = agree([values[0], dissent, said(one, 2, by="d")], 2)
    assert mixed is not None
    assert mixed.truth == "validity"
