r"""Answers are read by their marks, the last one counts, and what only looks different becomes the same text."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.verify.reading import normal, number, read_answer, state


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}} is it", r"\frac{1}{2}"),
        (r"\boxed{1}, no: \boxed{2}", "2"),
        (r"\boxed{x = \boxed{7}}", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed 5", "5"),
        (r"\fbox{12}", "12"),
        (r"\boxed{ 5. }", "5"),
        ("\\boxed{a\nb}", "a\nb"),
        (r"Answer: 3. But \boxed{4} it is. The answer is 5", "4"),
        ("6 * 7 = 42\n#### 42", "42"),
        ("#### 1,000\nThe answer is: 1,000", "1,000"),
        ("#### Step 1: add\n5 + 5 = 10\n#### 10\n", "10"),
        ("#### Paris", "Paris"),
        ("#### $x=3$\nmore", "x=3"),
        ("x is 3 + 4: a = 3, b = 4, x = 7\nAnswer: 7", "7"),
        ("**Answer:** 5", "5"),
        ("**Final answer: $5$**", "5"),
        ("### Final Answer:\n\n$$\\frac12$$\n", r"\frac12"),
        ("That is it. Answer: 8", "8"),
        ("So the answer is 5.", "5"),
        ("Therefore, the final answer is $3.5$. I hope so.", "3.5"),
        ("The answer is 3.5.", "3.5"),
        ("The answer is: \\(x\\).", "x"),
        ("The answer is 4. No: the answer is 6.", "6"),
        ("Final Answer: The final answer is $7$. I hope it is correct.", "7"),
        ("the correct answer is (B).", "(B)"),
    ],
)
def test_marks_are_read(text: str, answer: str) -> None:
    """What a mark holds is the answer, without the signs around it."""
    assert read_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "42",
        "x = 42",
        "So there are 42 apples.",
        r"\boxed{}",
        r"\boxed{ }",
        r"\boxed{5",
        r"\boxed{3}, or rather \boxed{4",
        r"\boxed{3} then \boxed{}",
        r"\boxed{\{1, 2\}",
        r"\boxed",
        "Answer:",
        "Answer: 5\nAnswer: ",
        "the answer is",
        "#### Step 1: add\n5 + 5 = 10",
        "#### 4. Solve for $S$:\n$S = 8$",
        "my answer: none of these marks",
    ],
)
def test_nothing_else_counts(text: str) -> None:
    """Bare numbers, headings, empty marks and boxes that never close are no answers, nor is what stood before them."""
    assert read_answer(text) is None


@given(st.text(st.characters(exclude_characters="\\{}"), min_size=1))
def test_state_is_read_back(answer: str) -> None:
    """What is stated is read, up to the signs around it."""
    read = read_answer(state(answer))

    assert read is None or normal(read) == normal(answer)
    if answer.strip().isalnum():
        assert read == answer.strip()


@given(st.text("ab1 .,$*\\(){}[]#:\n", max_size=60))
def test_reading_never_fails(text: str) -> None:
    """Any text is read or not read; nothing raises."""
    answer = read_answer(text)

    assert answer is None or (answer.strip() == answer and answer)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        ("1,000", "1,000."),
        (r"10,\!000", "10,000"),
        (r"10{,}000", "10,000"),
        (r"\left( 1, \dfrac{1}{2} \right)", r"(1,\frac{1}{2})"),
        (r"\text{Monday}", "Monday"),
        (r"\text{(E)},", "(E)"),
        ("$5$", "5"),
        (r"\$5", "5"),
        (r"20\%", "20%"),
        ("５", "5"),
        ("٥", "5"),
        ("−5", "-5"),
        ("x²", "x^{2}"),
        ("½", r"\frac{1}{2}"),
        ("√2", r"\sqrt{2}"),
        ("no  solution", "no solution"),
    ],
)
def test_same_after_normalisation(one: str, other: str) -> None:
    """What differs only in how it is set is the same text."""
    assert normal(one) == normal(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5", "15"),
        ("x", "X"),
        ("x²", "x2"),
        ("1½", "11/2"),
        ("1, 234", "1234"),
        ("5 15", "515"),
        ("-5", "5"),
        ("1.5", "15"),
    ],
)
def test_different_after_normalisation(one: str, other: str) -> None:
    """What means something else stays different."""
    assert normal(one) != normal(other)
    assert number(one) != number(other) or number(one) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", "5"),
        ("1,234.50", "1234.5"),
        ("-$3", None),
        ("$3", "3"),
        ("2e5", "200000"),
        (".5", "0.5"),
        ("+7", "7"),
        ("1,23", None),
        ("1, 234", None),
        ("5%", None),
        ("x", None),
        ("", None),
        ("1/2", None),
        ("1e999999999999", None),
    ],
)
def test_plain_numbers(text: str, value: str | None) -> None:
    """A plain number has its exact value; nothing else has one."""
    assert number(text) == (None if value is None else Decimal(value))


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 15_000,
        r"\boxed{" + "{" * 50_000 + "}" * 50_000 + "}",
        "Answer:" + " " * 100_000,
        "the answer is " * 8_000,
        "#### " * 20_000,
        "#### " + "*, " * 33_000,
        "#" * 100_000,
        r"\text{" * 15_000 + "}" * 15_000,
        "√(" * 50_000,
        "9" * 100_000,
        "\n" * 100_000 + "Answer: 5",
    ],
)
def test_long_texts_take_no_time(text: str) -> None:
    """100,000 characters of the worst kind are read and normalised in well under the seconds that a bad pattern takes."""
    started = time.process_time()
    read_answer(text)
    normal(text)
    number(text)

    assert time.process_time() - started < 2.0
