"""Labelled data sets: each form is read as what it says, and what we write is read back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gradatim import records
from gradatim.core import Labels, Pair, Prefix, Solution, Step, Tally, Verdict
from gradatim.errors import InputError
from gradatim.labels.datasets import load_labelled, write_labelled, write_plain, write_trl
from gradatim.labels.pairs import load_pairs, write_trl_pairs
from gradatim.steps import by_line

GOOD, BAD, NONE = Tally(1, 1), Tally(0, 1), Tally()


def file(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(solution: Solution) -> list[str]:
    return records.bare(solution.prefix, solution.joiner)


def completion(text: str, rating: int | None) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": False}


def original(*steps: dict[str, Any], reason: str = "solution") -> dict[str, Any]:
    """A line of PRM800K as it was published."""
    return {
        "labeler": "someone",
        "question": {"problem": "What is 2 + 3?", "ground_truth_answer": "5"},
        "label": {"steps": list(steps), "total_time": 1, "finish_reason": reason},
    }


def published(chosen: int | None, *completions: dict[str, Any], human: str | None = None) -> dict[str, Any]:
    written = None if human is None else {"text": human, "rating": None, "source": "human", "flagged": False}
    return {"completions": list(completions), "human_completion": written, "chosen_completion": chosen}


class TestPRM800K:
    """PRM800K in its three forms."""

    def test_original(self, tmp_path: Path) -> None:
        """The original gives the labeller's way and one way for each alternative, ratings as they are."""
        row = original(
            published(0, completion("a", 1), completion("b", -1)),
            published(None, completion("c", -1), human="d"),
            published(1, completion("e", 0), completion("f", 0)),
        )
        found = load_labelled(f"prm800k:{file(tmp_path, row)}")

        assert [(texts(solution), labels.ratings) for solution, labels in found] == [
            (["b"], (-1,)),
            (["a", "c"], (1, -1)),
            (["a", "d", "e"], (1, None, 0)),
            (["a", "d", "f"], (1, None, 0)),
        ]
        assert [(labels.error, labels.error_known) for _, labels in found] == [
            *((0, True), (1, True), (None, False), (None, False)),
        ]
        assert {labels.by for _, labels in found} == {"someone"}
        assert len({solution.id for solution, _ in found}) == 4
        assert {solution.prefix.prompt for solution, _ in found} == {"What is 2 + 3?"}

    def test_original_that_stops_at_an_error(self, tmp_path: Path) -> None:
        """Where the labeller chose nothing, the beginning that all alternatives share is no solution of its own."""
        row = original(
            published(0, completion("a", 0)),
            published(None, completion("b", -1), completion("c", -1)),
            reason="found_error",
        )
        found = load_labelled(f"prm800k:{file(tmp_path, row)}")

        assert [texts(solution) for solution, _ in found] == [["a", "b"], ["a", "c"]]
        assert found[0][1].tallies == (NONE, BAD)
        assert found[0][1].error_known

    def test_original_that_gives_up(self, tmp_path: Path) -> None:
        """A last step without any completion ends the solution before it."""
        row = original(published(0, completion("a", 1)), {"completions": None}, reason="give_up")
        [(solution, labels)] = load_labelled(f"prm800k:{file(tmp_path, row)}")

        assert texts(solution) == ["a"]
        assert labels.ratings == (1,)

    def test_trajectories(self, tmp_path: Path) -> None:
        """Rebuilt trajectories keep every rating, those behind the first error too; null is not rated."""
        row = {"problem": "P", "steps": ["a", "b", "c", "d"], "ratings": [1.0, -1.0, None, 0.0]}
        [(solution, labels)] = load_labelled(f"prm800k:{file(tmp_path, row)}")

        assert labels.ratings == (1, -1, None, 0)
        assert labels.tallies == (GOOD, BAD, NONE, NONE)
        assert (labels.error, labels.error_known) == (1, True)
        assert (labels.truth, labels.source) == ("validity", "human")
        assert solution.prefix.text == "a\n\nb\n\nc\n\nd"
        assert solution.joiner == "\n\n"
        assert labels.solution_id == solution.id

    @pytest.mark.parametrize(
        ("ratings", "error", "known"),
        [
            ([1, 1], None, True),
            ([1, 0], None, True),
            ([1, None], None, False),
            ([None, -1], 1, False),
            ([0, -1], 1, True),
            ([-1, None], 0, True),
        ],
    )
    def test_first_error(self, tmp_path: Path, ratings: list[Any], error: int | None, known: bool) -> None:
        """The first error is the first -1; it is known if every step before it (without one: every step) is rated."""
        path = file(tmp_path, {"problem": "P", "steps": ["a", "b"], "ratings": ratings})
        [(_, labels)] = load_labelled(f"prm800k:{path}")

        assert (labels.error, labels.error_known) == (error, known)

    def test_prefix_rows(self, tmp_path: Path) -> None:
        """Prefix rows carry ratings, or true and false; of the latter no raw rating is known, and the rule says so."""
        path = file(
            tmp_path,
            {"prompt": "P", "completions": ["a", "b"], "labels": [True, False]},
            {"prompt": "P", "completions": ["a", "c"], "labels": [1, 0]},
        )
        (first, yes_no), (second, rated) = load_labelled(f"prm800k:{path}")

        assert (yes_no.tallies, yes_no.ratings, yes_no.error) == ((GOOD, BAD), None, 1)
        assert "neutral" in yes_no.rule
        assert (rated.tallies, rated.ratings, rated.error) == ((GOOD, NONE), (1, 0), None)
        assert first.prefix.problem_id == second.prefix.problem_id
        assert (first.draw, second.draw) == (0, 1)


def shepherd(text: str, signs: str) -> dict[str, str]:
    label = text
    for sign in signs:
        label = label.replace("ки", sign, 1)
    return {"input": text, "label": label, "task": "GSM8K"}


class TestMathShepherd:
    """Math-Shepherd: two texts, one with tags and one with signs."""

    def test_row(self, tmp_path: Path) -> None:
        """The problem ends at "Step 1:", each tag ends a step, + and - are counts of rollouts about its value."""
        text = "Is 2 + 2 - 1 = 3? Step 1: 2+2 = 4 ки\nStep 2: 4-1 = 3 ки\nStep 3: The answer is: 2 ки"
        [(solution, labels)] = load_labelled(f"math-shepherd:{file(tmp_path, shepherd(text, '++-'))}")

        assert solution.prefix.prompt == "Is 2 + 2 - 1 = 3?"
        assert texts(solution) == ["Step 1: 2+2 = 4", "Step 2: 4-1 = 3", "Step 3: The answer is: 2"]
        assert labels.tallies == (GOOD, GOOD, BAD)
        assert (labels.error, labels.error_known) == (2, True)
        assert (labels.truth, labels.source, labels.ratings) == ("value", "rollouts", None)

    @pytest.mark.parametrize(
        ("row", "found"),
        [
            (shepherd("Q Step 1: a", ""), "an input without a tag"),
            (shepherd("Q Step 1: a ки b", "+"), "behind the last tag"),
            (shepherd("Q ки Step 1: a ки", "++"), "0 times 'Step 1:'"),
            (shepherd("Q Step 1: a Step 1: b ки", "+"), "2 times 'Step 1:'"),
            (shepherd("Q Step 1: a ки", "?"), 'label "?"'),
            (shepherd("Q Step 1: a ки", ""), "label"),
            (shepherd("Step 1: a ки", "+"), "'problem' without text"),
            (shepherd("Q Step 1: a ки ки", "+-"), "steps[1] without text"),
            ({"input": "Q Step 1: a ки", "label": "Q Step 1: b +"}, "differs from the input before tag 0"),
            ({"input": "Q Step 1: a ки", "label": "Q"}, "differs"),
            ({"input": "Q Step 1: a ки"}, "no 'label'"),
        ],
    )
    def test_malformed(self, tmp_path: Path, row: dict[str, str], found: str) -> None:
        """A row where texts, tags and signs do not fit is an error that says why."""
        path = file(tmp_path, row)

        with pytest.raises(InputError) as caught:
            load_labelled(f"math-shepherd:{path}")
        assert found in str(caught.value)
        assert str(caught.value).startswith(f"{path}:1: ")


def bench(label: Any, **fields: Any) -> dict[str, Any]:
    row = {"id": "gsm8k-7", "generator": "model", "problem": "P", "steps": ["a", "b", "c"], "label": label}
    return {**row, "final_answer_correct": False, **fields}


class TestProcessBench:
    """ProcessBench: the 0-based first wrong step."""

    @pytest.mark.parametrize(
        ("label", "error", "tallies"),
        [
            (-1, None, (GOOD, GOOD, GOOD)),
            (0, 0, (BAD, NONE, NONE)),
            (2, 2, (GOOD, GOOD, BAD)),
            (1.0, 1, (GOOD, BAD, NONE)),
        ],
    )
    def test_labels(self, tmp_path: Path, label: Any, error: int | None, tallies: tuple[Tally, ...]) -> None:
        """Steps before the error are good, those behind it not labelled; the error is known."""
        [(solution, labels)] = load_labelled(f"processbench:{file(tmp_path, bench(label))}")

        assert (labels.error, labels.error_known, labels.tallies) == (error, True, tallies)
        assert (solution.prefix.problem_id, solution.author, solution.verdict) == (
            "gsm8k-7",
            "model",
            Verdict.INCORRECT,
        )

    @pytest.mark.parametrize(
        ("row", "found"),
        [
            (bench(3), "label: 3 for 3 steps"),
            (bench(-2), "label: -2"),
            (bench(True), "label: true"),
            (bench("1"), 'label: "1"'),
            (bench(None), "label: null"),
            (bench(0.5), "label: 0.5"),
            (bench(float("nan")), "label: NaN"),
            (bench(0, steps=[]), "steps: []"),
            (bench(0, final_answer_correct="yes"), 'final_answer_correct: "yes"'),
        ],
    )
    def test_malformed(self, tmp_path: Path, row: dict[str, Any], found: str) -> None:
        """A label that is no 0-based step or -1 is an error; one just past the end asks whether it counts from 1."""
        with pytest.raises(InputError) as caught:
            load_labelled(f"processbench:{file(tmp_path, row)}")
        assert found in str(caught.value)
        assert ("count from 1" in str(caught.value)) == (row["label"] == 3)

    def test_same_row_in_two_files(self, tmp_path: Path) -> None:
        """At the same line of two files of one folder it is still the same row; the error names both."""
        for name in ("a.jsonl", "b.jsonl"):
            file(tmp_path, bench(1), name=name)
        with pytest.raises(InputError, match=r"b\.jsonl:1: .*again \(first in .*a\.jsonl:1\)"):
            load_labelled(f"processbench:{tmp_path}")

    def test_same_row_twice(self, tmp_path: Path) -> None:
        """An id that comes twice is an error that names both lines."""
        with pytest.raises(InputError, match=r":2: row \"gsm8k-7\" again \(first in line 1\)"):
            load_labelled(f"processbench:{file(tmp_path, bench(0), bench(0))}")


class TestPlainAndTRL:
    """Plain rows and TRL's rows."""

    def test_plain(self, tmp_path: Path) -> None:
        """Plain labels are ratings; the row may name its problem, author and labeller."""
        row = {"problem": "P", "steps": ["a", "b", "c", "d"], "labels": [1, 0, None, -1], "id": 7, "by": "me"}
        [(solution, labels)] = load_labelled(f"plain:{file(tmp_path, row)}", joiner="\n")

        assert (labels.ratings, labels.error, labels.error_known, labels.by) == ((1, 0, None, -1), 3, False, "me")
        assert (solution.prefix.problem_id, solution.prefix.text) == ("7", "a\nb\nc\nd")

    def test_trl(self, tmp_path: Path) -> None:
        """TRL's labels are true and false, or 1 and 0 as TRL casts them."""
        rows = [{"prompt": "P", "completions": ["a", "b"], "labels": labels} for labels in ([True, False], [1, 0])]
        found = load_labelled(f"trl:{file(tmp_path, *rows)}")

        assert [labels.tallies for _, labels in found] == [(GOOD, BAD), (GOOD, BAD)]
        assert [labels.ratings for _, labels in found] == [None, None]

    @pytest.mark.parametrize(
        ("form", "labels", "found"),
        [
            ("plain", [1, True], "labels [1, true]"),
            ("plain", [1, 2], "rating 2"),
            ("plain", [1, "good"], 'rating "good"'),
            ("plain", [1, float("nan")], "rating NaN"),
            ("plain", [1, 0.5], "rating 0.5"),
            ("plain", [1], "1 labels for 2 steps"),
            ("plain", [1, 1, 1], "3 labels for 2 steps"),
            ("plain", "++", 'labels: "++"'),
            ("plain", None, "no 'labels'"),
            ("trl", [True, 1], "labels [true, 1]"),
            ("trl", [1, -1], "labels [1, -1]"),
            ("trl", [1.0, 0.0], "labels [1.0, 0.0]"),
            ("trl", [True, None], "labels [true, null]"),
            ("trl", [True], "1 labels for 2 steps"),
            ("prm800k", [1, True], "rating true"),
        ],
    )
    def test_unknown_labels(self, tmp_path: Path, form: str, labels: Any, found: str) -> None:
        """Labels of another kind, or another number, are errors in each form."""
        path = file(tmp_path, {"prompt": "P", "completions": ["a", "b"], "labels": labels})

        with pytest.raises(InputError) as caught:
            load_labelled(f"{form}:{path}")
        assert found in str(caught.value)

    def test_zeros_that_mean_wrong(self, tmp_path: Path) -> None:
        """A plain file of many 0 and no -1 is refused: its 0 would be taken for neutral."""
        rows = [{"problem": "P", "steps": ["a", "b"], "labels": [1, 0]}] * 20

        with pytest.raises(InputError, match=r"20 labels 0 and none -1 in 20 rows.*trl:PATH"):
            load_labelled(f"plain:{file(tmp_path, *rows)}")
        assert len(load_labelled(f"plain:{file(tmp_path, *rows[:19])}")) == 19


@pytest.mark.parametrize(
    ("row", "form"),
    [
        (original(published(0, completion("a", 1))), "prm800k"),
        ({"problem": "P", "steps": ["a"], "ratings": [1]}, "prm800k"),
        (shepherd("Q Step 1: a ки", "-"), "math-shepherd"),
        (bench(1), "processbench"),
        ({"problem": "P", "steps": ["a"], "labels": [-1]}, "plain"),
        ({"prompt": "P", "completions": ["a"], "labels": [-1]}, "plain"),
        ({"prompt": "P", "completions": ["a"], "labels": [False]}, "trl"),
    ],
)
def test_forms_are_told_apart(tmp_path: Path, row: dict[str, Any], form: str) -> None:
    """A bare path is read in the form that its first row has."""
    path = file(tmp_path, row)

    assert load_labelled(str(path)) == load_labelled(f"{form}:{path}")


def sample() -> tuple[Solution, Labels]:
    steps = (Step("think\n"), Step("look\n", "query"), Step("see", "observation"))
    solution = Solution(prefix=Prefix("p", "q", steps), author="a", draw=3)
    counts = (Tally(3, 8, 1), Tally(8, 8), Tally())
    return solution, Labels(solution_id=solution.id, tallies=counts, truth="value", source="rollouts", by="mc")


class TestOwnFiles:
    """Our own files of labels."""

    def test_labelled_rows(self, tmp_path: Path) -> None:
        """Labelled rows of our own lose nothing."""
        write_labelled(tmp_path / "labelled.jsonl.zst", [sample()])

        assert load_labelled(str(tmp_path / "labelled.jsonl.zst")) == [sample()]

    @pytest.mark.parametrize("name", ["solutions.jsonl", "solutions.jsonl.gz"])
    def test_run_folder(self, tmp_path: Path, name: str) -> None:
        """Labels find their solutions in the file beside them, by folder or by file."""
        solution, labels = sample()
        records.write_solutions(tmp_path / name, [solution])
        records.write_labels(tmp_path / "labels.jsonl", [labels])

        assert load_labelled(str(tmp_path)) == load_labelled(str(tmp_path / "labels.jsonl")) == [sample()]

    def test_labels_that_do_not_belong(self, tmp_path: Path) -> None:
        """Labels of an unknown solution, or with another number of tallies, are errors; so are missing solutions."""
        solution, labels = sample()
        records.write_labels(tmp_path / "labels.jsonl", [labels])
        with pytest.raises(InputError, match=r"without solutions\.jsonl beside them"):
            load_labelled(str(tmp_path))

        records.write_solutions(tmp_path / "solutions.jsonl", [])
        with pytest.raises(InputError, match=f"labels of {solution.id}"):
            load_labelled(str(tmp_path))

        records.write_solutions(tmp_path / "solutions.jsonl", [solution])
        row = {**records.labels_row(labels), "tallies": [[1, 1, 0]]}
        records.write_rows(tmp_path / "labels.jsonl", [row])
        with pytest.raises(InputError, match="1 tallies for the 3 steps"):
            load_labelled(str(tmp_path))

    def test_other_files_of_ours(self, tmp_path: Path) -> None:
        """A file of solutions is told from labels, with what to do."""
        records.write_solutions(tmp_path / "solutions.jsonl", [sample()[0]])

        with pytest.raises(InputError, match=r"rows of gradatim\.solution.*label the solutions first"):
            load_labelled(str(tmp_path / "solutions.jsonl"))


class TestWriting:
    """Writers of foreign rows."""

    def test_trl_round_trip(self, tmp_path: Path) -> None:
        """TRL's rows are read and written as they are, steps with any white space."""
        rows = [{"prompt": "P", "completions": [" a ", "b\n\n", "c"], "labels": [True, False, True]}]
        write_trl(tmp_path / "again.jsonl", load_labelled(f"trl:{file(tmp_path, *rows)}"))

        assert [row.data for row in records.read_rows(tmp_path / "again.jsonl")] == rows

    def test_trl_has_no_unrated_steps(self, tmp_path: Path) -> None:
        """A solution is cut before its first unrated or neutral step, and counted."""
        rows = [{"problem": "P", "steps": ["a", "b", "c"], "ratings": marks} for marks in ([1, None, -1], [0, 1, 1])]
        drops: Counter[str] = Counter()
        count = write_trl(tmp_path / "trl.jsonl", load_labelled(f"prm800k:{file(tmp_path, *rows)}"), drops=drops)

        assert count == 1
        assert [row.data["completions"] for row in records.read_rows(tmp_path / "trl.jsonl")] == [["a"]]
        assert sorted(drops.values()) == [1, 1]

    def test_plain_round_trip(self, tmp_path: Path) -> None:
        """Plain rows keep raw ratings, unrated ones too."""
        path = file(tmp_path, {"problem": "P", "steps": ["a", "b", "c"], "ratings": [1, None, 0]})
        found = load_labelled(f"prm800k:{path}")
        write_plain(tmp_path / "plain.jsonl", found)

        [(solution, labels)] = load_labelled(f"plain:{tmp_path / 'plain.jsonl'}")
        assert labels.ratings == (1, None, 0)
        assert solution == found[0][0]

    @pytest.mark.parametrize("write", [write_plain, write_trl])
    def test_counts_are_not_rounded(self, tmp_path: Path, write: Any) -> None:
        """3 good of 8 is neither yes nor no: a form that can't hold it refuses, and leaves no file."""
        with pytest.raises(InputError, match="3 good of 8"):
            write(tmp_path / "rows.jsonl", [sample()])
        assert list(tmp_path.iterdir()) == []


class TestPairs:
    """Preference pairs."""

    def test_trl(self, tmp_path: Path) -> None:
        """TRL's preference rows, texts or one turn of messages, split into steps without loss."""
        turn = {
            "prompt": [{"role": "user", "content": "P"}],
            "chosen": [{"role": "assistant", "content": "a\nb"}],
            "rejected": [{"role": "assistant", "content": "c"}],
        }
        text = {"prompt": "P", "chosen": "a\nb", "rejected": "c", "margin": 2}
        first, second = load_pairs(file(tmp_path, turn, text), splitter=by_line)

        assert [step.text for step in first.chosen.steps] == ["a\n", "b"]
        assert (first.chosen, first.rejected) == (second.chosen, second.rejected)
        assert (first.margin, second.margin) == (0.0, 2.0)

    def test_round_trips(self, tmp_path: Path) -> None:
        """Pairs come back from our rows with their steps, and from TRL's with their texts."""
        pair = Pair(Prefix("p", "q", (Step("a"), Step("b"))), Prefix("p", "q", (Step("c"),)), 0.5)
        records.write_pairs(tmp_path / "own.jsonl", [pair])
        write_trl_pairs(tmp_path / "trl.jsonl", [pair])
        [again] = load_pairs(tmp_path / "trl.jsonl")

        assert load_pairs(tmp_path / "own.jsonl") == [pair]
        assert (again.chosen.text, again.rejected.text, again.margin) == ("ab", "c", 0.5)

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            ({"rejected": "a"}, "chosen and rejected are the same"),
            ({"chosen": ""}, "'chosen' without text"),
            ({"chosen": None}, "no 'chosen'"),
            ({"prompt": 3}, "prompt: 3"),
            ({"margin": "big"}, 'margin: "big"'),
            ({"margin": float("nan")}, "margin: null"),
            ({"chosen": [{"role": "user", "content": "x"}] * 2}, "chosen: [{"),
        ],
    )
    def test_malformed(self, tmp_path: Path, change: dict[str, Any], found: str) -> None:
        """Sides that are the same, missing or no text are errors."""
        path = file(tmp_path, {"prompt": "P", "chosen": "a", "rejected": "b", **change})

        with pytest.raises(InputError) as caught:
            load_pairs(path)
        assert found in str(caught.value)
