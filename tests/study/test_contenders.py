"""What each contender learns from, by hand."""

from random import Random

import pytest

from gradatim.core import Labels, Prefix, Solution, Tally, Verdict
from gradatim.errors import ConfigError
from gradatim.judges.scripted import ScriptedJudge
from gradatim.problems import lab
from gradatim.problems.lab import students
from gradatim.problems.lab.world import parse
from gradatim.steps import by_line
from gradatim.study.contenders import CONTENDERS, consensus, materials, picked, targets
from gradatim.train.config import TrainConfig
from gradatim.verify.answers import exact_verifier


def _solutions() -> list[Solution]:
    rng, made = Random(2), []
    for problem in lab.load("train", 8):
        for draw in range(3):
            text = "".join(students.write(parse(problem.prompt), students.pick_student(rng), rng))
            prefix = Prefix(problem.id, problem.prompt, by_line(text))
            made.append(Solution(prefix=prefix, author="students", draw=draw, verdict=exact_verifier(problem, text)))
    return made


SOLUTIONS = _solutions()
TRUTH = [lab.first_error(lab.check(one.prefix)) for one in SOLUTIONS]


def labels(solution: Solution, error: int | None) -> Labels:
    steps = len(solution.prefix.steps)
    tallies = tuple(Tally(4 if error is None or k < error else 0, 4) for k in range(steps))
    return Labels(
        solution_id=solution.id, tallies=tallies, error=error, error_known=True, truth="value", source="rollouts",
        by="someone", start=Tally(3, 4),
    )  # fmt: skip


ROLLOUTS = [labels(one, error) for one, error in zip(SOLUTIONS, TRUTH, strict=True)]


def asked(name: str) -> TrainConfig:
    [contender] = picked([name])
    return TrainConfig(
        kind=contender.kind, objective=contender.objective, reduction=contender.reduction, targets=targets(contender)
    )


def test_names_fit_and_files_differ() -> None:
    """Names are at most 17 letters, so that figures show them whole, and no two contenders share a file."""
    assert all(len(one.name) <= 17 for one in CONTENDERS)
    assert len({one.slug for one in CONTENDERS}) == len({one.name for one in CONTENDERS}) == len(CONTENDERS)


def test_contenders_are_picked_by_name() -> None:
    """In their own order; all, if none is named; a name that is nobody's is refused with those that are somebody's."""
    assert [one.name for one in picked(["ORM", "PRM exact"])] == ["PRM exact", "ORM"]
    assert picked([]) == CONTENDERS
    with pytest.raises(ConfigError, match="no contender 'PRN'"):
        picked(["PRN"])


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda one: one.slug)
def test_every_contender_has_something_to_learn_from(contender: object) -> None:
    """The configuration is one that training takes, and the materials hold examples or pairs."""
    name = contender.name  # type: ignore[attr-defined]
    both = consensus(ROLLOUTS, SOLUTIONS, ScriptedJudge())

    made = materials(
        asked(name), picked([name])[0], SOLUTIONS, {"rollouts": ROLLOUTS, "sequential": ROLLOUTS, "consensus": both}
    )

    assert made.examples or made.pairs


def test_exact_labels_speak_up_to_the_first_error() -> None:
    """PRM exact: every step before the first error is evidence for, that step against, and nothing behind it."""
    made = materials(asked("PRM exact"), picked(["PRM exact"])[0], SOLUTIONS, {})

    for example, error in zip(made.examples, TRUTH, strict=True):
        for place, found in enumerate(example.evidence):
            expected = None if error is not None and place > error else (0.0, 1.0) if place == error else (1.0, 0.0)
            assert found == expected


def test_outcome_models_learn_from_verdicts_alone() -> None:
    """ORM: one piece of evidence a solution, for it if its answer is right."""
    made = materials(asked("ORM"), picked(["ORM"])[0], SOLUTIONS, {})

    assert [one.evidence for one in made.examples] == [
        ((1.0, 0.0) if one.verdict is Verdict.CORRECT else (0.0, 1.0),) for one in SOLUTIONS
    ]


def test_consensus_keeps_what_both_name() -> None:
    """With rollouts that are right and a judge that errs: the rows on which it is right, with what is true of them."""
    judge = ScriptedJudge(miss=0.4, false_alarm=0.4)

    both = consensus(ROLLOUTS, SOLUTIONS, judge)

    named = [judge.first_error(one.prefix, error) for one, error in zip(SOLUTIONS, TRUTH, strict=True)]
    same = [one.id for one, error, said in zip(SOLUTIONS, TRUTH, named, strict=True) if said == error]
    assert [row.solution_id for row in both] == same
    assert 0 < len(same) < len(SOLUTIONS)
    made = materials(asked("PRM consensus"), picked(["PRM consensus"])[0], SOLUTIONS, {"consensus": both})
    assert (len(made.examples), made.rows) == (len(same), len(SOLUTIONS))
    assert made.drops["no agreement"] == len(SOLUTIONS) - len(same)
    exact = materials(asked("PRM exact"), picked(["PRM exact"])[0], SOLUTIONS, {})
    kept = [one for one, solution in zip(exact.examples, SOLUTIONS, strict=True) if solution.id in same]
    assert [one.evidence for one in made.examples] == [one.evidence for one in kept]
