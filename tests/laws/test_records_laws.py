"""Laws of records: what is written is read back the same, and the bytes depend on the items alone."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim import records
from gradatim.core import REDUCTIONS, Labels, Pair, Prefix, Problem, Score, Solution, Step, Tally, Verdict
from gradatim.records import KINDS, Row, bare, joined

anything = st.text(max_size=30)
named = anything.filter(lambda text: bool(text.strip()))
steps = st.lists(st.builds(Step, st.text(min_size=1, max_size=30), st.sampled_from(KINDS)), max_size=4).map(tuple)
prefixes = st.builds(Prefix, named, named, steps)
tallies = st.tuples(*[st.integers(0, 9)] * 3).map(lambda c: Tally(c[0], sum(c), c[1]))
rates = st.floats(0, 1)
numbers = st.floats(allow_infinity=False)

problems = st.builds(
    Problem,
    id=named,
    prompt=named,
    answer=st.none() | named,
    source=anything,
    meta=st.dictionaries(anything, anything, max_size=3),
)
solutions = st.builds(
    Solution,
    prefix=prefixes,
    author=anything,
    draw=st.integers(0, 99),
    finish=st.sampled_from(["stop", "length"]),
    verdict=st.none() | st.sampled_from(Verdict),
    answer=st.none() | anything,
)


@st.composite
def labels(draw: st.DrawFn) -> Labels:
    counts = tuple(draw(st.lists(tallies, max_size=4)))
    rating = st.none() | st.sampled_from([-1, 0, 1])
    return Labels(
        solution_id=draw(named),
        tallies=counts,
        error=draw(st.none() | st.integers(0, len(counts) - 1)) if counts else None,
        error_known=draw(st.booleans()),
        truth=draw(st.sampled_from(["validity", "value"])),
        source=draw(st.sampled_from(["rollouts", "human", "judge", "exact", "consensus"])),
        by=draw(anything),
        rule=draw(anything),
        bounds=draw(st.none() | st.tuples(rates, rates)),
        ratings=draw(st.none() | st.tuples(*[rating] * len(counts))),
        start=draw(tallies),
        note=draw(anything),
    )


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    chosen, other = draw(prefixes), draw(steps)
    rejected = Prefix(chosen.problem_id, chosen.prompt, (*chosen.steps, Step("x"), *other))
    return Pair(chosen, rejected, draw(st.floats(allow_nan=False, allow_infinity=False)))


def reread(row: dict[str, Any]) -> Row:
    return Row("memory", 1, json.loads(json.dumps(row)))


@given(problems)
def test_problem(problem: Problem) -> None:
    """A problem comes back from its row with all its fields."""
    again = records.problem_from(reread(records.problem_row(problem)))

    assert again == problem
    assert again.meta == problem.meta


@given(solutions)
def test_solution(solution: Solution) -> None:
    """A solution comes back from its row: kinds, white space and all, even without a step, under the same id."""
    again = records.solution_from(reread(records.solution_row(solution)))

    assert again == solution
    assert again.id == solution.id


@given(labels())
def test_labels(given_labels: Labels) -> None:
    """Labels come back from their row."""
    assert records.labels_from(reread(records.labels_row(given_labels))) == given_labels


@given(solutions, st.data())
def test_labelled(solution: Solution, data: st.DataObject) -> None:
    """A solution with its labels comes back from one row."""
    counts = tuple(data.draw(tallies) for _ in solution.prefix.steps)
    found = Labels(solution_id=solution.id, tallies=counts, truth="value", source="rollouts", by="x")

    assert records.labelled_from(reread(records.labelled_row(solution, found))) == (solution, found)


@given(pairs())
def test_pair(pair: Pair) -> None:
    """A preference pair comes back from its row."""
    assert records.pair_from(reread(records.pair_row(pair))) == pair


@given(st.lists(numbers, max_size=4), numbers, st.sampled_from(REDUCTIONS))
def test_score(steps: list[float], value: float, reduction: Any) -> None:
    """A score comes back through a file's row; NaN is null there and NaN again behind it."""
    score = Score(value=value, steps=tuple(steps), logits=tuple(steps) or None, reduction=reduction, by="model")
    row = records.score_row("id", score)
    text = json.dumps({**row, "value": _null(value), "steps": list(map(_null, steps)), "logits": None})
    identity, again = records.score_from(Row("memory", 1, json.loads(text)))

    assert identity == "id"
    assert str((again.value, again.steps)) == str((value, tuple(steps)))
    assert (again.reduction, again.by) == (reduction, "model")


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value


@given(st.lists(st.text(max_size=20), max_size=6), st.text(max_size=5))
def test_joiner(texts: list[str], joiner: str) -> None:
    """`bare` takes off exactly what `joined` put there, whatever the texts and the joiner are."""
    made = joined(texts, joiner)

    assert bare(Prefix("p", "q", made), joiner) == texts
    assert "".join(step.text for step in made) == joiner.join(texts)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@settings(max_examples=25)
@given(items=st.lists(solutions, max_size=4, unique_by=lambda s: (s.prefix.problem_id, s.draw)))
def test_files(ending: str, items: list[Solution], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Solutions come back from a file, packed or not, and the same items make the same bytes."""
    items = list({item.prefix.problem_id: item for item in items}.values())
    folder = tmp_path_factory.mktemp("files")
    first, second = folder / f"a.jsonl{ending}", folder / f"b.jsonl{ending}"

    assert records.write_solutions(first, items) == records.write_solutions(second, items) == len(items)
    assert records.read_solutions(first) == items
    assert records.digest(first) == records.digest(second)
    assert sorted(path.name for path in folder.iterdir()) == [first.name, second.name]


@pytest.mark.parametrize(
    ("write", "read", "items"),
    [
        (records.write_problems, records.read_problems, [Problem(id="a", prompt="1 + 1?", answer="2")]),
        (
            records.write_labels,
            records.read_labels,
            [Labels(solution_id="s", tallies=(Tally(3, 8, 1),), truth="value", source="rollouts", by="x", rule="k=8")],
        ),
        (
            records.write_scores,
            records.read_scores,
            [("s", Score(value=0.5, steps=(0.5, 0.9), reduction="min", by="m"))],
        ),
        (records.write_pairs, records.read_pairs, [Pair(Prefix("p", "q", (Step("a"),)), Prefix("p", "q"), 0.5)]),
    ],
)
def test_every_kind_of_file(
    write: Callable[..., int], read: Callable[..., list[Any]], items: list[Any], tmp_path: Path
) -> None:
    """Each kind of file is read back as it was written."""
    assert write(tmp_path / "rows.jsonl", items) == len(items)
    assert read(tmp_path / "rows.jsonl") == items


def test_nan_in_files(tmp_path: Path) -> None:
    """In a file NaN stands as null, and is NaN again when read."""
    score = Score(value=math.nan, steps=(0.5, math.nan), reduction="min", by="m")
    records.write_scores(tmp_path / "scores.jsonl", [("s", score)])
    [(_, again)] = records.read_scores(tmp_path / "scores.jsonl")

    assert "NaN" not in (tmp_path / "scores.jsonl").read_text()
    assert math.isnan(again.value)
    assert again.steps[0] == 0.5
    assert math.isnan(again.steps[1])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """A writer that fails in the middle leaves the file as it was and nothing beside it."""
    path = tmp_path / "rows.jsonl"
    records.write_rows(path, [{"a": 1}])

    def rows() -> Any:
        yield {"a": 2}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write_rows(path, rows())
    assert path.read_text() == '{"a": 1}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_text_stays_readable(tmp_path: Path) -> None:
    """Rows hold letters as letters, not as escapes, and a line separator inside a text does not end the row."""
    path = tmp_path / "rows.jsonl.gz"
    records.write_rows(path, [{"text": "x ≤ 3\u2028\u0085 это"}])

    assert "≤" in gzip.decompress(path.read_bytes()).decode()
    assert [row.data for row in records.read_rows(path)] == [{"text": "x ≤ 3\u2028\u0085 это"}]
