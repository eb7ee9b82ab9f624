"""Which solutions are shown: the surest mistakes, by their steps and the threshold, and no more than there is room for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from gradatim.core import Prefix, Solution, Step
from gradatim.evaluate import mistakes
from gradatim.evaluate.asked import Part
from gradatim.evaluate.bench import BenchRow
from gradatim.evaluate.mistakes import cases, worst
from gradatim.evaluate.results import Result
from gradatim.evaluate.said import Said, of_answers, of_candidates, of_first_error, of_marks


@pytest.mark.parametrize(
    ("scores", "error", "named", "kind", "sureness"),
    [
        ((0.9, 0.8), None, None, "right", 0.0),
        ((0.9, 0.1), 1, 1, "found", 0.0),
        ((0.9, 0.8, 0.1), 1, None, "missed", 0.3),  # what comes after the first error is not asked
        ((0.4, 0.2), None, 0, "false alarm", 0.3),
        ((0.4, 0.7, 0.9), 1, 0, "wrong step", 0.2),
        ((0.1, 0.7, 0.9), 1, 0, "wrong step", 0.4),
        ((0.9, math.nan, 0.6), 2, None, "missed", 0.1),
    ],
)
def test_first_errors(
    scores: tuple[float, ...], error: int | None, named: int | None, kind: str, sureness: float
) -> None:
    """Sureness is the largest distance from the threshold of a step on its wrong side, up to the first error."""
    said = of_first_error(scores, error, named, 0.5)

    assert (said.kind, said.mistaken) == (kind, kind not in ("right", "found"))
    assert said.sureness == pytest.approx(sureness)
    assert (said.scores, said.named, said.threshold) == (scores, named, 0.5)


def test_no_decision_is_a_mistake_of_its_own() -> None:
    """A judge that says nothing names no step."""
    said = of_first_error((math.nan, math.nan), 1, 1 << 40, 0.5, decided=False)

    assert (said.kind, said.mistaken, said.named, said.sureness) == ("undecided", True, None, 0.0)


@pytest.mark.parametrize(
    ("scores", "kind", "sureness"),
    [
        ((0.9, 0.1, 0.9, 0.0), "found", 0.0),
        ((0.9, 0.6, 0.9, 0.0), "missed", 0.1),
        ((0.2, 0.1, 0.9, 0.0), "false alarm", 0.3),
        ((0.3, 0.9, 0.9, 0.0), "missed and false alarm", 0.4),
    ],
)
def test_marked_steps(scores: tuple[float, ...], kind: str, sureness: float) -> None:
    """All marked steps count, the unmarked last one does not."""
    said = of_marks(scores, (1, -1, 1, None), 0.5)

    assert said.kind == kind
    assert said.sureness == pytest.approx(sureness)
    assert said.mistaken == (kind != "found")


def test_choices() -> None:
    """A wrong choice needs a right candidate below it; a tie with a right one is none."""
    table: dict[str, tuple[Sequence[float], Sequence[bool]]] = {
        "wrong": ([0.9, 0.4, 0.6], [False, True, True]),
        "tie": ([0.9, 0.9, 0.1], [False, True, False]),
        "hopeless": ([0.9, 0.5, 0.1], [False, False, False]),
        "right": ([math.nan, 0.5, 0.4], [False, True, False]),
    }
    found = {name: of_candidates(values, right, [()] * 3) for name, (values, right) in table.items()}

    assert [one.kind for one in found["wrong"]] == ["wrong choice", "not chosen", "not chosen"]
    assert found["wrong"][0].sureness == pytest.approx(0.3)
    assert not any(one.mistaken for name in ("tie", "hopeless", "right") for one in found[name])
    assert found["right"][1].kind == "right choice"
    assert of_answers([0.2, 0.3, 0.7], 2).sureness == pytest.approx(0.4)
    assert [of_answers(values, 1).kind for values in ([1.0, 0.0], [0.0, 0.0])] == ["right choice", "tie"]


def test_kinds_take_turns() -> None:
    """The surest of each kind, kind after kind; what is no mistake is left out."""
    said = {f"a{k}": Said(kind="a", mistaken=True, sureness=k) for k in range(4)}
    said |= {f"b{k}": Said(kind="b", mistaken=True, sureness=k / 10) for k in range(2)}
    said["c"] = Said(kind="found", mistaken=False, sureness=9.0)

    assert worst(said, 5) == ["a3", "b1", "a2", "b0", "a1"]
    assert worst(said, 0) == []


def _result(model: str, sure: Sequence[float]) -> Result:
    said = {
        f"r{k}": Said(kind="missed" if one else "right", mistaken=one > 0, sureness=one) for k, one in enumerate(sure)
    }
    return Result(
        suite="lab", subset="lab", model=model, source="model", headline="f1", counts={}, measures={}, said=said
    )


def test_each_models_mistakes_with_what_the_others_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solution stands once, with all models; `listed` says whose mistake brought it here; texts stop at the limit."""
    rows = []
    for k in range(4):
        prefix = Prefix(f"p{k}", "q" * 10, (Step("s" * 90),))
        rows.append(
            BenchRow(
                id=f"r{k}",
                prefix=prefix,
                error=0,
                answer_correct=None,
                solution=Solution(prefix=prefix, author="x", draw=k),
            )
        )
    part = Part(suite="lab", data="", subset="lab", rows=tuple(rows))
    results = [_result("one", (0.9, 0.5, 0.1, 0.0)), _result("two", (0.0, 0.2, 0.8, 0.1))]

    found = cases([part], results, 2)
    assert [one["id"] for one in found] == ["r0", "r2", "r1"]
    assert {one["id"]: [model for model, said in one["by"].items() if said["listed"]] for one in found} == {
        "r0": ["one"],
        "r1": ["one", "two"],
        "r2": ["two"],
    }
    assert found[0]["by"]["two"]["kind"] == "right"
    assert found[0]["solution"]["id"] == Solution(prefix=rows[0].prefix, author="x", draw=0).id

    monkeypatch.setattr(mistakes, "MOST_CHARACTERS", 250)
    assert [one["id"] for one in cases([part], results, 2)] == ["r0", "r2"]
    assert cases([part], results, 0) == []


def test_what_is_said_is_json() -> None:
    """NaN is null."""
    assert of_first_error((math.nan, 0.2), 1, 1, 0.5).as_json()["scores"] == [None, 0.2]
