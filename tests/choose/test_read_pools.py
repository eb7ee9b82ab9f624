"""Pools and recorded scores: read, aligned, and refused where they don't fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pool_files import Rows, pool_rows, score_rows, write

from gradatim import records
from gradatim.core import Prefix, Score, Solution, Step, Verdict
from gradatim.errors import InputError
from gradatim.problems.pool_scores import read_pool_scores
from gradatim.problems.pools import read_pool

POOL = pool_rows({"p1": [("1", True), ("2", False), (None, False)], "p2": [("7", True), ("8", False)]})
SCORES = score_rows(POOL, [(0.9, 0.8), (0.7, 0.6), (0.5, 0.4), (0.3, 0.2), (0.1, 0.0)])


def ours(draw: int, answer: str | None, verdict: Verdict | None, kinds: tuple[str, ...] = ("reasoning",)) -> Solution:
    steps = tuple(Step(f"step {k} of {draw}\n", kind) for k, kind in enumerate(kinds))
    return Solution(prefix=Prefix("q", "what?", steps), author="me", draw=draw, verdict=verdict, answer=answer)


def test_a_public_pool_is_read_by_problem_and_index(tmp_path: Path) -> None:
    """Rows in any order become problems in order of appearance, candidates by index, each with the problem's prompt."""
    pool = read_pool(write(tmp_path / "pool.jsonl", POOL[::-1]))

    assert [problem.id for problem in pool.problems] == ["p2", "p1"]
    assert [[one.index for one in problem.candidates] for problem in pool.problems] == [[0, 1], [0, 1, 2]]
    assert pool.size == 3
    first, _, third = pool.problems[1].candidates
    assert first.solution.prefix.prompt == third.solution.prefix.prompt == "what is p1?"
    assert records.bare(third.solution.prefix, third.solution.joiner) == ["first of 2", "so it is None"]
    assert (first.correct, third.correct) == (True, False)
    assert (first.solution.answer, third.solution.answer) == ("1", None)
    assert all(problem.has_gold for problem in pool.problems)


def test_our_solutions_are_a_pool(tmp_path: Path) -> None:
    """A file of our solutions is grouped by problem; an unparsed verdict is not correct; no verdict at all is no
    gold."""
    solutions = [ours(1, None, Verdict.UNPARSED), ours(0, "4", Verdict.CORRECT)]
    records.write_solutions(tmp_path / "solutions.jsonl", solutions)

    [problem] = read_pool(tmp_path / "solutions.jsonl").problems

    assert [one.index for one in problem.candidates] == [0, 1]
    assert [one.correct for one in problem.candidates] == [True, False]

    records.write_solutions(tmp_path / "bare.jsonl", [ours(0, "4", None)])
    assert not read_pool(tmp_path / "bare.jsonl").problems[0].has_gold


def test_plain_rows_are_grouped_by_prompt_and_their_answers_read(tmp_path: Path) -> None:
    """Plain rows with an id each are candidates of the problem they share; a stated answer is read from the text."""
    rows = [
        {"id": "a", "problem": "2+2?", "steps": ["2+2 is 4", "Answer: 4"]},
        {"id": "b", "problem": "2+2?", "steps": ["I guess"]},
        {"id": "c", "problem": "3+3?", "steps": ["x"], "answer": "6"},
    ]
    pool = read_pool(write(tmp_path / "plain.jsonl", rows))

    assert [[one.solution.answer for one in problem.candidates] for problem in pool.problems] == [["4", None], ["6"]]
    assert [[one.index for one in problem.candidates] for problem in pool.problems] == [[0, 1], [0]]
    assert pool.problems[1].id == "c"
    assert "a" in pool.problems[0].candidates[0].keys


def test_plain_rows_with_and_without_a_problem_id_are_of_one_problem(tmp_path: Path) -> None:
    """Where the id is the one that a row without any has, none of the candidates replaces the others."""
    own = records.prompt_id("what?")
    rows: Rows = [
        {"problem_id": own, "problem": "what?", "steps": ["3", "Answer: 3"]},
        {"problem": "what?", "steps": ["4", "Answer: 4"]},
        {"problem_id": own, "problem": "what?", "steps": ["3", "so", "Answer: 3"]},
    ]

    [problem] = read_pool(write(tmp_path / "pool.jsonl", rows)).problems

    assert problem.id == own
    assert [one.solution.answer for one in problem.candidates] == ["3", "4", "3"]


def test_scores_of_plain_rows_find_them_in_the_pool(tmp_path: Path) -> None:
    """One prompt under two problem ids: draws are counted by id, in the pool as where the file is scored."""
    rows: Rows = [
        {"problem_id": name, "problem": "what?", "steps": [f"step {k}", "Answer: 3"]} for k, name in enumerate("abab")
    ]
    file = write(tmp_path / "pool.jsonl", rows)

    pool = read_pool(file)

    keys = {one.solution.id for problem in pool.problems for one in problem.candidates}
    assert keys == {solution.id for solution in records.read_solutions(file)}
    assert len(keys) == 4


def test_scores_find_their_candidates(tmp_path: Path) -> None:
    """Scores in any order and over several files end up at their candidate, one `PoolScores` a scorer."""
    pool = read_pool(write(tmp_path / "pool.jsonl", POOL))
    files = [
        write(tmp_path / "a.jsonl", SCORES[3:][::-1]),
        write(tmp_path / "b.jsonl", SCORES[:3] + score_rows(POOL, [(0.0, 0.5)] * 5, "other")),
    ]

    same, [mine, other] = read_pool_scores(pool, files)

    assert same == pool
    assert [[score.steps for score in problem] for problem in mine.scores] == [
        [(0.9, 0.8), (0.7, 0.6), (0.5, 0.4)],
        [(0.3, 0.2), (0.1, 0.0)],
    ]
    assert (mine.scorer, mine.reduction, mine.has_steps) == ("prm", None, True)
    assert other.scorer == "other"


def test_our_scores_keep_their_reduction(tmp_path: Path) -> None:
    """Score rows of ours are found by solution id; observations have no score, a solution without steps no value."""
    solutions = [ours(0, "4", None, kinds=("reasoning", "observation")), ours(1, None, None, kinds=())]
    records.write_solutions(tmp_path / "solutions.jsonl", solutions)
    scores = [
        Score(value=0.5, steps=(0.5, math.nan), reduction="prod", by="m"),
        Score(value=math.nan, steps=(), reduction="prod", by="m"),
    ]
    records.write_scores(tmp_path / "scores.jsonl", [(s.id, x) for s, x in zip(solutions, scores, strict=True)])

    _, [found] = read_pool_scores(read_pool(tmp_path / "solutions.jsonl"), [tmp_path / "scores.jsonl"])

    assert (found.scorer, found.reduction, found.has_steps) == ("m", "prod", True)
    assert [score.value for score in found.scores[0]] == pytest.approx([0.5, math.nan], nan_ok=True)


def spoilt(index: int, **changes: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, **changes} if k == index else row for k, row in enumerate(rows)]


def other_question(rows: Rows) -> Rows:
    return [*rows[:3], {**rows[3], "problem_id": "p1", "candidate_index": 9}, *rows[4:]]


BAD_POOLS = {
    "steps: []": (2, spoilt(1, steps=[])),
    "without text": (2, spoilt(1, steps=["a", " "])),
    "extracted_answer: 7": (2, spoilt(1, extracted_answer=7)),
    'is_correct: "yes"': (2, spoilt(1, is_correct="yes")),
    "no verdict": (2, spoilt(1, is_correct=None)),
    "no 'problem_id'": (2, spoilt(1, problem_id=None)),
    "no 'candidate_index'": (2, spoilt(1, candidate_index=None)),
    "candidate_index: -1": (2, spoilt(1, candidate_index=-1)),
    'candidate "p1 0" again': (2, spoilt(1, candidate_index=0)),
    "another prompt": (4, other_question),
}


@pytest.mark.parametrize("found", BAD_POOLS)
def test_a_bad_pool_row_is_named_or_counted(tmp_path: Path, found: str) -> None:
    """Every malformed row is an error with file, line and what was found; with skip_bad one drop is counted."""
    line, spoil = BAD_POOLS[found]
    path = write(tmp_path / "pool.jsonl", spoil(POOL))
    drops = Counter[str]()

    with pytest.raises(InputError) as error:
        read_pool(path)
    pool = read_pool(path, skip_bad=True, drops=drops)

    assert f"pool.jsonl:{line}: " in str(error.value)
    assert found in str(error.value)
    assert drops.total() == 1
    assert sum(len(problem.candidates) for problem in pool.problems) == 4


BAD_SCORES = {
    "1 step scores for the 2 steps of candidate 1": spoilt(1, step_scores=[0.5], n_steps=1),
    "2 step scores and n_steps 3": spoilt(1, n_steps=3),
    "no number as the score of step 0": spoilt(1, step_scores=[None, 0.5]),
    "step_scores[1]": spoilt(1, step_scores=[0.5, "high"]),
    "is_correct true, where the pool says otherwise": spoilt(1, is_correct=True),
    "candidate 7 of problem 'p1', which is not in the pool": spoilt(1, candidate_index=7),
    "a second score of candidate 0 of problem 'p1' by 'prm'": spoilt(1, candidate_index=0, is_correct=True),
    "no number as the value": spoilt(1, value=None),
}


@pytest.mark.parametrize("found", BAD_SCORES)
def test_a_bad_score_row_is_named_or_leaves_its_candidate_out(tmp_path: Path, found: str) -> None:
    """A score that can't be its candidate's is an error at its line; with skip_bad the candidate leaves the pool,
    counted."""
    pool = read_pool(write(tmp_path / "pool.jsonl", POOL))
    path = write(tmp_path / "scores.jsonl", BAD_SCORES[found](SCORES))
    drops = Counter[str]()

    with pytest.raises(InputError) as error:
        read_pool_scores(pool, [path])
    rest, [scores] = read_pool_scores(pool, [path], skip_bad=True, drops=drops)

    assert "scores.jsonl:2: " in str(error.value)
    assert found in str(error.value)
    assert [len(problem.candidates) for problem in rest.problems] == [2, 2]
    assert [len(problem) for problem in scores.scores] == [2, 2]
    assert drops["expected a score for every candidate by every scorer"] == 1
    assert drops.total() == 2


def test_a_candidate_without_a_score_is_an_error(tmp_path: Path) -> None:
    """A missing score names the candidate and its line; with skip_bad all scorers lose that candidate."""
    pool = read_pool(write(tmp_path / "pool.jsonl", POOL))
    path = write(tmp_path / "scores.jsonl", SCORES[:3] + score_rows(POOL, [(0.5, 0.5)] * 5, "other"))

    with pytest.raises(InputError, match=r"pool.jsonl:4: no score by 'prm' for candidate 0 of problem 'p2'.*2 missing"):
        read_pool_scores(pool, [path])
    rest, both = read_pool_scores(pool, [path], skip_bad=True)

    assert [problem.id for problem in rest.problems] == ["p1"]
    assert [[len(problem) for problem in scores.scores] for scores in both] == [[3], [3]]


def test_scores_of_another_pool_are_refused(tmp_path: Path) -> None:
    """If nothing fits, that is an error also when bad rows are skipped; so is an empty file."""
    pool = read_pool(write(tmp_path / "pool.jsonl", POOL))
    foreign = write(tmp_path / "foreign.jsonl", [{**row, "problem_id": "x"} for row in SCORES])

    with pytest.raises(InputError, match="no scores of the pool"):
        read_pool_scores(pool, [foreign], skip_bad=True)
    with pytest.raises(InputError, match="no candidates"):
        read_pool(write(tmp_path / "empty.jsonl", []))


def test_one_scorer_is_of_one_kind(tmp_path: Path) -> None:
    """Values reduced in two ways under one name are an error: nobody could say what was compared."""
    solutions = [ours(draw, "4", None) for draw in range(2)]
    records.write_solutions(tmp_path / "solutions.jsonl", solutions)
    scores = [Score(value=0.5, steps=(0.5,), reduction="min", by="m"), Score(value=0.5, steps=(0.5,), by="m")]
    records.write_scores(tmp_path / "scores.jsonl", [(s.id, x) for s, x in zip(solutions, scores, strict=True)])

    with pytest.raises(InputError, match=r"scores.jsonl:2: a score by 'm' of another kind"):
        read_pool_scores(read_pool(tmp_path / "solutions.jsonl"), [tmp_path / "scores.jsonl"])
