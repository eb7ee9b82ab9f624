"""PRMBench, MR-Ben and BIG-Bench-Mistake are read as what they say, every form is written, and what is lost is counted."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim import records
from gradatim.core import Labels, Prefix, Solution, Step, Tally, Verdict
from gradatim.errors import ConfigError, InputError
from gradatim.labels.datasets import load_labelled
from gradatim.labels.given import Labelled
from gradatim.labels.reformat import ReformatConfig, reformat_stage
from gradatim.labels.writing import FORMS, Form, write_form

GOOD, BAD, NONE = Tally(1, 1), Tally(0, 1), Tally()
DATA = Path(os.environ.get("GRADATIM_DATA", Path(__file__).parents[2] / "../shared/data"))


def file(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(solution: Solution) -> list[str]:
    return records.bare(solution.prefix, solution.joiner)


def planted(*error_steps: Any, **fields: Any) -> dict[str, Any]:
    """A row of PRMBench."""
    row = {
        "original_question": "What is 1 + 2 + 3?",
        "modified_question": "What is 1 + 2 + 3?",
        "original_process": ["1 + 2 = 3.", "3 + 3 = 6."],
        "modified_process": ["1 + 2 = 3.", "3 + 3 = 7.", "7 - 1 = 7.", "So 7."],
        "error_steps": list(error_steps),
        "idx": "p1_0",
        "question": "What is 1 + 2 + 3?",
        "classification": "confidence",
    }
    return {**row, **fields}


class TestPRMBench:
    """PRMBench: error_steps count from 1, into the modified process."""

    def test_row(self, tmp_path: Path) -> None:
        """All wrong steps are marked, those behind the first one too; the original is a right solution; the class is kept."""
        modified, original = load_labelled(f"prmbench:{file(tmp_path, planted(2, 3))}")

        assert texts(modified[0]) == ["1 + 2 = 3.", "3 + 3 = 7.", "7 - 1 = 7.", "So 7."]
        assert modified[1].tallies == (GOOD, BAD, BAD, GOOD)
        assert (modified[1].error, modified[1].error_known, modified[1].ratings) == (1, True, None)
        assert (modified[0].author, original[0].author) == ("prmbench:confidence", "prmbench:correct")
        assert (texts(original[0]), original[1].tallies, original[1].error) == (
            ["1 + 2 = 3.", "3 + 3 = 6."],
            (GOOD, GOOD),
            None,
        )

    def test_originals_are_given_once(self, tmp_path: Path) -> None:
        """The same original stands in the files of all classes; a folder of them has it once."""
        for kind in ("circular", "confidence"):
            file(tmp_path, planted(1, classification=kind), name=f"{kind}.jsonl")

        found = load_labelled(f"prmbench:{tmp_path}")

        assert [solution.author.partition(":")[2] for solution, _ in found] == ["circular", "correct", "confidence"]

    @pytest.mark.parametrize(("misfits", "errors", "count"), [("drop", [], 1), ("keep", [1], 0)], ids=["drop", "keep"])
    def test_past_the_end(self, tmp_path: Path, misfits: Any, errors: list[int], count: int) -> None:
        """A step past the end drops the row, counted; kept on request, without that step."""
        drops: Counter[str] = Counter()
        rows = [planted(2, 5), planted(1, idx="p1_1", original_question="Another?", modified_question="Another?")]
        found = load_labelled(f"prmbench:{file(tmp_path, *rows)}", misfits=misfits, drops=drops)

        marked = [labels.error for solution, labels in found if solution.prefix.prompt.startswith("What")]
        assert [error for error in marked if error is not None] == errors
        assert dict(drops) == ({"expected error_steps within modified_process": 1} if count else {})

    def test_past_the_end_is_an_error_on_request(self, tmp_path: Path) -> None:
        """With misfits=error the row is named."""
        path = file(tmp_path, planted(5))
        with pytest.raises(InputError, match=r"rows\.jsonl:1: error_steps \[5\] of 4 steps"):
            load_labelled(f"prmbench:{path}", misfits="error")

    @pytest.mark.parametrize("steps", [[0], [0, 1], [-1], [True], ["2"], [1.5]])
    def test_indices_from_0_are_refused(self, tmp_path: Path, steps: list[Any]) -> None:
        """A 0 means that the file counts from 0: never read as if it did not, whatever is done about misfits."""
        with pytest.raises(InputError, match="add 1 to each"):
            load_labelled(f"prmbench:{file(tmp_path, planted(*steps))}", misfits="drop")

    def test_a_step_without_text(self, tmp_path: Path) -> None:
        """A blank step can't be scored: the row is dropped and counted."""
        drops: Counter[str] = Counter()
        rows = [planted(1), planted(1, modified_process=["a", " "])]

        assert len(load_labelled(f"prmbench:{file(tmp_path, *rows)}", drops=drops)) == 2
        assert drops.total() == 1


def graded(steps: Any, error: str, **fields: Any) -> dict[str, Any]:
    """A row of MR-Ben."""
    row = {
        "Question_UUID": "u1",
        "Subject": "college_math",
        "Question": "Which?",
        "Options": "A: 1 \nB: 2",
        "Sampled_Model": "Claude2",
        "Model_Solution_Steps": steps,
        "Model_Solution_Correctness": "correct" if error == "N/A" else "incorrect",
        "Model_Solution_First_Error_Step": error,
    }
    return {**row, **fields}


CODE = "def f(x):\n    # double it\n    y = x\n\n    return y\n"


class TestMRBen:
    """MR-Ben: the first error is the number in a step's name."""

    def test_named_steps(self, tmp_path: Path) -> None:
        """Items without a name go on with the step before; the closing solution is a step; "2" is "Step 2"."""
        steps = ["Step 1: Look at A:", "A is 1.", "Step 2: Look at B:", "B is 3.", "Solution: B"]
        [(solution, labels)] = load_labelled(f"mr-ben:{file(tmp_path, graded(steps, '2'))}")

        assert texts(solution) == ["Step 1: Look at A:\nA is 1.", "Step 2: Look at B:\nB is 3.", "Solution: B"]
        assert (labels.tallies, labels.error, labels.error_known) == ((GOOD, BAD, NONE), 1, True)
        assert solution.prefix.prompt == "Which?\nA: 1 \nB: 2"
        assert (solution.author, solution.prefix.problem_id, solution.verdict) == ("Claude2", "u1", None)

    def test_steps_without_names(self, tmp_path: Path) -> None:
        """Where no step has a name, the number is its place from 1 on."""
        [(_, labels)] = load_labelled(f"mr-ben:{file(tmp_path, graded(['a', 'b', 'c'], '3'))}")
        assert labels.error == 2

    def test_correct(self, tmp_path: Path) -> None:
        """A correct solution has no error, and says so."""
        [(_, labels)] = load_labelled(f"mr-ben:{file(tmp_path, graded(['Step 1: a', 'Step 2: b'], 'N/A'))}")
        assert (labels.error, labels.error_known, labels.tallies) == (None, True, (GOOD, GOOD))

    def test_code(self, tmp_path: Path) -> None:
        """In code the error is a line: lines are the steps, blank ones belong to the line before, and nothing is lost."""
        row = graded(CODE, "    y = x", Options=None)
        [(solution, labels)] = load_labelled(f"mr-ben:{file(tmp_path, row)}")

        assert texts(solution) == ["def f(x):", "    # double it", "    y = x\n", "    return y"]
        assert solution.prefix.text == CODE.strip("\n")
        assert (labels.error, solution.prefix.prompt) == (2, "Which?")

    @pytest.mark.parametrize(
        "row",
        [
            graded(["Step 1: a", "Step 2: b"], "3"),
            graded(["Step 1: a", "Step 1: b"], "1"),
            graded(["Step 1: a"], "somewhere"),
            graded(["Step 1: a"], "1", Model_Solution_Correctness="correct"),
            graded(["Step 1: a"], "N/A", Model_Solution_Correctness="incorrect"),
            graded(CODE, ""),
            graded("x = 1\nx = 1\n", "x = 1"),
        ],
    )
    def test_an_error_that_is_no_step(self, tmp_path: Path, row: dict[str, Any]) -> None:
        """Names of no step, or of several, and gradings that contradict themselves are dropped and counted."""
        drops: Counter[str] = Counter()
        found = load_labelled(f"mr-ben:{file(tmp_path, row, graded(['a'], 'N/A', Question_UUID='u2'))}", drops=drops)

        assert (len(found), drops.total()) == (1, 1)
        with pytest.raises(InputError, match="expected Model_Solution_First_Error_Step"):
            load_labelled(f"mr-ben:{tmp_path / 'rows.jsonl'}", misfits="error")

    def test_published_json(self, tmp_path: Path) -> None:
        """The published files are one object of question ids with lists of rows."""
        rows = {"u1": [graded(["a"], "1"), graded(["b"], "N/A", Sampled_Model="GPT3.5")]}
        path = tmp_path / "math.json"
        path.write_text(json.dumps(rows))

        assert [labels.error for _, labels in load_labelled(f"mr-ben:{path}")] == [0, None]
        assert len(load_labelled(str(path))) == 2
        path.write_text('{"u1": 3}')
        with pytest.raises(InputError, match="a list of objects"):
            load_labelled(f"mr-ben:{path}")


def mistaken(index: Any, **fields: Any) -> dict[str, Any]:
    """A row of BIG-Bench-Mistake."""
    row = {"input": "(1 + 1) =", "steps": ["a", "b", "c"], "target": "2", "answer": "2", "mistake_index": index}
    return {**row, **fields}


class TestBigBenchMistake:
    """BIG-Bench-Mistake: mistake_index counts from 0, null is none."""

    @pytest.mark.parametrize(
        ("index", "tallies"),
        [(None, (GOOD, GOOD, GOOD)), (0, (BAD, NONE, NONE)), (2, (GOOD, GOOD, BAD)), (1.0, (GOOD, BAD, NONE))],
    )
    def test_row(self, tmp_path: Path, index: Any, tallies: tuple[Tally, ...]) -> None:
        """Steps behind a mistake are not labelled; the answer's verdict is its own matter."""
        [(solution, labels)] = load_labelled(f"bigbench-mistake:{file(tmp_path, mistaken(index))}")

        assert (labels.tallies, labels.error) == (tallies, None if index is None else int(index))
        assert (solution.verdict, solution.answer) == (Verdict.CORRECT, "2")

    def test_verdicts(self, tmp_path: Path) -> None:
        """The answer against the target as texts; unknown where one is missing."""
        rows = [mistaken(0, answer="3"), mistaken(0, answer=" 2 "), mistaken(0, target=None)]
        found = load_labelled(f"bigbench-mistake:{file(tmp_path, *rows)}")

        assert [solution.verdict for solution, _ in found] == [Verdict.INCORRECT, Verdict.CORRECT, None]

    @pytest.mark.parametrize("index", [-1, True, "1", 0.5])
    def test_malformed(self, tmp_path: Path, index: Any) -> None:
        """-1 is ProcessBench's way to say none, not this one's."""
        with pytest.raises(InputError, match="mistake_index"):
            load_labelled(f"bigbench-mistake:{file(tmp_path, mistaken(index))}")

    def test_past_the_end(self, tmp_path: Path) -> None:
        """Dropped and counted; "keep" is not for one error a row."""
        drops: Counter[str] = Counter()
        path = file(tmp_path, mistaken(3), mistaken(2))

        assert len(load_labelled(f"bigbench-mistake:{path}", drops=drops)) == drops.total() == 1
        with pytest.raises(ConfigError, match="misfits=keep is for PRMBench"):
            load_labelled(f"bigbench-mistake:{path}", misfits="keep")


@pytest.mark.parametrize(
    ("row", "form"),
    [(planted(1), "prmbench"), (graded(["a"], "1"), "mr-ben"), (mistaken(None), "bigbench-mistake")],
)
def test_forms_are_told_apart(tmp_path: Path, row: dict[str, Any], form: str) -> None:
    """A bare path is read in the form that its first row has."""
    path = file(tmp_path, row)
    assert load_labelled(str(path)) == load_labelled(f"{form}:{path}")


# Writing

STEP = st.text("ab cd\n12", min_size=1, max_size=6).filter(str.strip).map(str.strip)


@st.composite
def labelled(draw: st.DrawFn, marks: tuple[int | None, ...] = (1, -1)) -> Labelled:
    """A solution with a rating for each step."""
    steps = draw(st.lists(STEP, min_size=1, max_size=4))
    ratings = tuple(draw(st.sampled_from(marks)) for _ in steps)
    prompt = draw(st.sampled_from(["P?", "Q?"]))
    prefix = Prefix(records.prompt_id(prompt), prompt, records.joined(steps))
    solution = Solution(prefix=prefix, author="me", draw=0, joiner="\n\n")
    error = ratings.index(-1) if -1 in ratings else None
    known = None not in (ratings if error is None else ratings[:error])
    tallies = tuple({1: GOOD, -1: BAD}.get(one or 0, NONE) for one in ratings)
    return solution, Labels(
        solution_id=solution.id,
        tallies=tallies,
        error=error,
        error_known=known,
        truth="validity",
        source="human",
        by="me",
        ratings=ratings,
    )


def read_back(path: Path, form: Form) -> list[Labelled]:
    return load_labelled({"gradatim": "", "prm800k-prefix": "prm800k:"}.get(form, f"{form}:") + str(path))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(item=labelled())
def test_every_form_is_read_back(tmp_path_factory: pytest.TempPathFactory, form: Form, item: Labelled) -> None:
    """Of a solution with a label on every step each form keeps the steps, and the first error or all labels."""
    path = tmp_path_factory.mktemp("forms") / "rows.jsonl"
    assert write_form(path, [item], form) == 1
    solution, labels = read_back(path, form)[0]

    found = texts(solution)
    if form in ("math-shepherd", "mr-ben"):  # the forms whose steps have names
        found = [text.removeprefix(f"Step {number}: ") for number, text in enumerate(found, 1)]
    assert found == texts(item[0])
    assert solution.prefix.prompt == item[0].prefix.prompt
    assert (labels.error, labels.error_known) == (item[1].error, True)
    if form in ("plain", "trl", "prm800k", "prm800k-prefix", "math-shepherd", "prmbench", "gradatim"):
        assert labels.tallies == item[1].tallies


@pytest.mark.parametrize("form", ["plain", "prm800k", "prm800k-prefix", "gradatim"])
@settings(max_examples=20)
@given(item=labelled(marks=(1, 0, -1, None)))
def test_ratings_survive(tmp_path_factory: pytest.TempPathFactory, form: Form, item: Labelled) -> None:
    """Neutral and missing ratings come back as they are from the forms that have them."""
    path = tmp_path_factory.mktemp("ratings") / "rows.jsonl"
    write_form(path, [item], form)

    [(_, labels)] = read_back(path, form)
    assert labels.ratings == item[1].ratings


@pytest.mark.parametrize(
    ("neutral", "trl", "bench"),
    [("skip", [True], -1), ("good", [True, True, True], -1), ("bad", [True, False, True], 1)],
)
def test_neutral_is_a_choice(tmp_path: Path, neutral: Any, trl: list[bool], bench: int) -> None:
    """1, 0, 1 in a form without a neutral label: no label (the solution is cut there), a good step, or a wrong one."""
    path = file(tmp_path, {"problem": "P", "steps": ["a", "b", "c"], "ratings": [1, 0, 1]})
    items = load_labelled(f"prm800k:{path}")
    write_form(tmp_path / "trl.jsonl", items, "trl", neutral=neutral)
    write_form(tmp_path / "bench.jsonl", items, "processbench", neutral=neutral)

    assert next(records.read_rows(tmp_path / "trl.jsonl")).data["labels"] == trl
    assert next(records.read_rows(tmp_path / "bench.jsonl")).data["label"] == bench


def test_what_a_form_cannot_hold_is_counted(tmp_path: Path) -> None:
    """Unknown first errors, labels behind one, steps without a label, texts with the form's own marks."""
    path = file(
        tmp_path,
        {"problem": "P", "steps": ["a", "b"], "ratings": [None, -1]},
        {"problem": "P", "steps": ["a", "c"], "ratings": [-1, 1]},
        {"problem": "P ки", "steps": ["a"], "ratings": [1]},
    )
    items = load_labelled(f"prm800k:{path}")
    lost = {}
    for form in ("processbench", "prmbench", "math-shepherd"):
        drops: Counter[str] = Counter()
        count = write_form(tmp_path / "out.jsonl", items, form, drops=drops)  # type: ignore[arg-type]
        lost[form] = (count, dict(drops))

    assert lost["processbench"] == (2, {"the first error is not known": 1, "labels behind the first error": 1})
    assert lost["prmbench"] == (2, {"a step without a label": 1})
    assert lost["math-shepherd"] == (1, {"no label on the first step": 1, "the form's own marks in the text": 1})


def test_processbench_ids_are_unique(tmp_path: Path) -> None:
    """Two solutions of one problem get two ids, as the form has one a row."""
    rows = [{"problem": "P", "steps": [text], "labels": [1], "id": "p"} for text in "ab"]
    write_form(tmp_path / "out.jsonl", load_labelled(f"plain:{file(tmp_path, *rows)}"), "processbench")

    assert [row.data["id"] for row in records.read_rows(tmp_path / "out.jsonl")] == ["p", "p#1"]


def test_reformat_says_what_happened(tmp_path: Path) -> None:
    """`gradatim reformat` counts what it read, wrote and lost on both sides."""
    path = file(tmp_path, planted(2, 3), planted(9, idx="p1_1"))
    out = tmp_path / "out.jsonl.gz"
    result = reformat_stage(ReformatConfig(data=f"prmbench:{path}", out=str(out), to="processbench"))

    assert (result["solutions"], result["rows"]) == (2, 2)
    assert list(result["read_drops"].values()) == [1]
    assert result["write_drops"] == {"labels behind the first error": 1}
    with gzip.open(out, "rt") as lines:
        assert [json.loads(line)["label"] for line in lines] == [1, -1]
    with pytest.raises(ConfigError, match="to=csv"):
        ReformatConfig(data="x", out="y", to="csv")  # type: ignore[arg-type]


@pytest.mark.skipif(not (DATA / "prmbench").exists(), reason="needs GRADATIM_DATA")
@pytest.mark.parametrize(
    ("source", "solutions", "dropped"),
    [
        ("prmbench:prmbench", None, 58),
        ("bigbench-mistake:bigbench_mistake", 300, 0),
        ("processbench:processbench", 200, 0),
    ],
)
def test_all_rows_of_the_real_files(tmp_path: Path, source: str, solutions: int | None, dropped: int) -> None:
    """Every row is read or counted, and comes back from a file of the same form with the same labels."""
    form, _, name = source.partition(":")
    drops: Counter[str] = Counter()
    items = load_labelled(f"{form}:{DATA / name}", drops=drops)
    write_form(tmp_path / "again.jsonl", items, form)  # type: ignore[arg-type]
    again = load_labelled(f"{form}:{tmp_path / 'again.jsonl'}")

    def gist(found: list[Labelled]) -> Counter[Any]:
        return Counter((one.prefix.prompt, one.prefix.text, labels.tallies, labels.error) for one, labels in found)

    assert drops.total() == dropped
    if solutions is not None:
        assert len(items) == solutions
    else:
        assert sum(solution.author != "prmbench:correct" for solution, _ in items) == 3203 - dropped
    assert gist(items) == gist(again)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "prm800k").exists(), reason="needs GRADATIM_DATA")
def test_all_rows_of_prm800k(tmp_path: Path) -> None:
    """The counts that come with the data, and a part of it through both of the published forms and back."""
    items = load_labelled(f"prm800k:{DATA / 'prm800k' / 'phase1_train.jsonl.gz'}")
    later = [labels for _, labels in items if labels.error is not None and labels.error + 1 < len(labels.tallies)]

    assert len(items) == 32_049
    assert len({solution.prefix.problem_id for solution, _ in items}) == 900
    assert sum(len(labels.tallies) for _, labels in items) == 523_621
    assert len(later) == 33
    for form in ("prm800k", "prm800k-prefix"):
        write_form(tmp_path / "rows.jsonl", items[:500], form)  # type: ignore[arg-type]
        again = load_labelled(f"prm800k:{tmp_path / 'rows.jsonl'}")
        assert [(one.prefix, labels.ratings) for one, labels in again] == [
            (one.prefix, labels.ratings) for one, labels in items[:500]
        ]


ERROR_FORMS: tuple[Form, ...] = ("processbench", "mr-ben", "bigbench-mistake")


def found_by(tallies: tuple[Tally, ...], error: int | None, known: bool = True, **fields: Any) -> Labelled:
    """A solution of as many steps as there are tallies, as a labeller that is no person labels it."""
    prefix = Prefix("p", "P?", records.joined([f"step {index}" for index in range(len(tallies))]))
    one = Solution(prefix=prefix, author="me", draw=0, joiner="\n\n")
    made: dict[str, Any] = {"truth": "value", "source": "rollouts", "by": "policy", **fields}
    return one, Labels(solution_id=one.id, tallies=tallies, error=error, error_known=known, **made)


@pytest.mark.parametrize("form", ERROR_FORMS)
@pytest.mark.parametrize(
    ("tallies", "error"),
    [
        ((Tally(5, 8), Tally(1, 8), Tally(0, 8), Tally(0, 1)), 2),  # counts, which are no yes or no
        ((Tally(2, 2), Tally(0, 1), Tally(3, 9), Tally(0, 9)), 3),  # one failure is not yet an error
        ((Tally(2, 2), Tally(0, 1), Tally(1, 1)), None),
    ],
)
def test_the_first_error_is_the_labellers_own(
    tmp_path: Path, form: Form, tallies: tuple[Tally, ...], error: int | None
) -> None:
    """Where no person rated the steps, what a form says of the first error is what the labeller found."""
    write_form(tmp_path / "rows.jsonl", [found_by(tallies, error)], form)
    [(_, labels)] = read_back(tmp_path / "rows.jsonl", form)
    assert (labels.error, labels.error_known) == (error, True)


@pytest.mark.parametrize("form", ERROR_FORMS)
def test_a_first_error_that_the_labeller_does_not_know_is_not_written(tmp_path: Path, form: Form) -> None:
    """However plain the counts look."""
    drops: Counter[str] = Counter()
    items = [found_by((Tally(1, 1), Tally(0, 1)), None, known=False)]
    assert write_form(tmp_path / "rows.jsonl", items, form, drops=drops) == 0
    assert drops == {"the first error is not known": 1}


@pytest.mark.parametrize("form", FORMS)
def test_solutions_without_steps(tmp_path: Path, form: Form) -> None:
    """Our own form holds them; from the others they are left out, counted, and what is written can be read back."""
    one, labels = found_by((Tally(1, 1),), None)
    bare = replace(one, prefix=Prefix("p", "P?", (Step("\n"),)), draw=1)
    blank = bare, replace(labels, solution_id=bare.id)
    whole = found_by((Tally(1, 1), Tally(0, 1)), 1)
    drops: Counter[str] = Counter()
    count = write_form(tmp_path / "rows.jsonl", [found_by((), None), blank, whole], form, drops=drops)
    lost = {} if form == "gradatim" else {"no steps": 1, "a step without text": 1}
    assert (count, drops) == (3 - len(lost), lost)
    assert len(read_back(tmp_path / "rows.jsonl", form)) == count


def test_a_run_is_not_replaced_by_what_is_made_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the labels that a folder stands for, nor the solutions that lie beside labels; other files of it are."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    one, labels = found_by((Tally(1, 1), Tally(0, 1)), 1)
    records.write_solutions("run/solutions.jsonl", [one])
    records.write_labels("run/labels.jsonl", [labels])
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    for data in ("run", "run/labels.jsonl", "plain:run"):
        for out in before:
            with pytest.raises(ConfigError, match="would replace what is read"):
                reformat_stage(ReformatConfig(data=data, out=str(out), to="plain"))
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before
    for _ in range(2):
        assert reformat_stage(ReformatConfig(data="run", out="run/plain.jsonl", to="plain"))["rows"] == 1


def test_a_joiner_that_spells_a_line_end(tmp_path: Path) -> None:
    r"""`--joiner '\n'` in a shell is a backslash and an n, which no file's steps were joined with."""
    with pytest.raises(ConfigError, match=r"joiner='\\\\n' holds a backslash and an n"):
        ReformatConfig(data="x", out="y", to="plain", joiner="\\n")
    ReformatConfig(data="x", out="y", to="plain", joiner="\n")
