"""The verifiers of exact answers and of letters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Problem, Verdict
from gradatim.errors import InputError
from gradatim.verify import MathVerifier, choice_verifier, exact_verifier, state, verifier_for


def asked(gold: str | None) -> Problem:
    return Problem(id="p", prompt="?", answer=gold)


@pytest.mark.parametrize(
    ("gold", "text", "verdict"),
    [
        ("19", "x = 19\nAnswer: 19", Verdict.CORRECT),
        ("19", "Answer: 19.0", Verdict.CORRECT),
        ("1000", "#### 1,000", Verdict.CORRECT),
        ("Paris", r"\boxed{\text{Paris}}", Verdict.CORRECT),
        ("5", "Answer: 15", Verdict.INCORRECT),
        ("15", "Answer: 5", Verdict.INCORRECT),
        ("5", "Answer: 5 or 15", Verdict.INCORRECT),
        ("1/2", "Answer: 0.5", Verdict.INCORRECT),
        ("x", "Answer: X", Verdict.INCORRECT),
        ("0.0000001", "Answer: 0.0000002", Verdict.INCORRECT),
        ("19", "19", Verdict.UNPARSED),
        ("19", "", Verdict.UNPARSED),
        ("19", "Answer:", Verdict.UNPARSED),
    ],
)
def test_exact(gold: str, text: str, verdict: Verdict) -> None:
    """Equal text or equal number, and nothing looser; no answer is not a wrong one."""
    assert exact_verifier(asked(gold), text) is verdict


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_exact_accepts_its_gold(gold: object) -> None:
    """Every number is accepted as its own gold answer."""
    assert exact_verifier(asked(str(gold)), state(str(gold))) is Verdict.CORRECT


@given(st.text("abcXYZ 0123456789+-*/=()^_.,%", min_size=1).filter(str.strip))
def test_exact_accepts_its_text(gold: str) -> None:
    """Every text that can be stated at all is accepted as its own gold answer."""
    verdict = exact_verifier(asked(gold), state(gold))

    assert verdict is (Verdict.CORRECT if gold.strip(" *,.") else verdict)
    assert verdict is not Verdict.INCORRECT


@pytest.mark.parametrize("letter", "ABCDE")
@pytest.mark.parametrize("form", ["{}", "({})", "{}.", "{})", r"\text{{({})}}", "({}) 12 apples", "{}: the Band"])
def test_choice_forms(letter: str, form: str) -> None:
    """A letter is read in the forms in which people write it, as gold and as answer, and is itself only."""
    written = form.format(letter)

    assert choice_verifier(asked(letter), rf"\boxed{{{written}}}") is Verdict.CORRECT
    assert choice_verifier(asked(written), f"The answer is {letter}.") is Verdict.CORRECT
    assert choice_verifier(asked("B" if letter == "A" else "A"), f"Answer: {written}") is Verdict.INCORRECT


@pytest.mark.parametrize(
    "answer",
    ["A or B", "(A) or (B)", "A, B", "(A), (B)", "AB", "A dog", "F", "12", "(A)(B)", "all", "A. or B.", "A) and C"],
)
def test_no_single_choice_is_unparsed(answer: str) -> None:
    """Two letters, or none, are no choice, and no way to win either."""
    assert choice_verifier(asked("A"), f"Answer: {answer}") is Verdict.UNPARSED


@pytest.mark.parametrize("verify", [exact_verifier, choice_verifier, MathVerifier()])
@pytest.mark.parametrize("gold", [None, "", "  "])
def test_missing_gold_is_an_input_error(verify: object, gold: str | None) -> None:
    """Without a gold answer there is no verdict: the problem is named."""
    assert callable(verify)
    with pytest.raises(InputError, match="problem 'p' has no gold answer"):
        verify(asked(gold), "Answer: 5")


def test_gold_that_is_no_letter_is_an_input_error() -> None:
    """A gold answer that is not A to E is the data's fault."""
    with pytest.raises(InputError, match="'12'"):
        choice_verifier(asked("12"), "Answer: A")


def test_verifier_by_name() -> None:
    """Each name gives its verifier."""
    assert verifier_for("exact") is exact_verifier
    assert verifier_for("choice") is choice_verifier
    assert isinstance(verifier_for("math"), MathVerifier)
