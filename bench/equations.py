"""The equations in a step of a worked solution, and whether they hold: most of a small policy's errors are there."""

from __future__ import annotations

import re
from fractions import Fraction

NUMBER = r"[$€£]?\d+(?:[.,]\d+)*%?"
UNIT = r"(?:\s[a-z]{2,}){0,3}"
EQUATION = re.compile(
    # Not what is only the end of a longer expression, and not what goes on.
    rf"(?<![\w.,)%/*×÷+-])(?<![)/*x×÷+-] )(?<![/*x×÷+-] [$€£])"
    rf"({NUMBER}{UNIT}(?:\s?[-+*/x×]\s?{NUMBER}{UNIT})+\s?=\s?{NUMBER})(?!\s?[-+*/x×÷(]|\d)"
)
"""Sums of products of plain numbers, with units: "3 * 12 apples + 4 apples = 40". No brackets, no unknowns."""


def equations_in(text: str) -> list[str]:
    """The equations of a text, without their units."""
    return [re.sub(r"\s[a-z]{2,}", "", found) for found in EQUATION.findall(text)]


def holds(equation: str) -> bool:
    """Whether both sides are the same, to half a hundredth; a side that is no whole number may have been rounded to one."""
    left, right = map(value, equation.split("="))
    if left is None or right is None:
        return False
    rounded = right.denominator == 1 and left.denominator > 1
    return abs(left - right) <= (1 if rounded else Fraction(1, 200))


def value(expression: str) -> Fraction | None:
    """Of sums of products; None where something is divided by 0."""
    total = Fraction()
    for sign, term in re.findall(r"([-+]?)([^-+]+)", expression):
        product = Fraction(1)
        for operator, number in re.findall(rf"([*/x×]?)\s?({NUMBER})", term):
            factor = Fraction(re.sub(r"[$€£,%]", "", number)) / (100 if number.endswith("%") else 1)
            if operator == "/" and not factor:
                return None
            product = product / factor if operator == "/" else product * factor
        total += -product if sign == "-" else product
    return total
