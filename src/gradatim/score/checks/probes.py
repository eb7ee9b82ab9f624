"""Solutions that the doctor asks about: ordinary ones that share beginnings, awkward ones, and ones of known worth."""

from __future__ import annotations

from random import Random

from gradatim.core import Prefix, Step

_PROMPT = "Tom has {} apples and buys {} more. How many apples does he have?"


def _solution(name: str, prompt: str, *texts: str) -> Prefix:
    return Prefix(name, prompt, tuple(map(Step, texts)))


def _ordinary() -> tuple[Prefix, ...]:
    made: list[Prefix] = []
    for a, b in ((3, 12), (40, 7)):
        prompt, first = _PROMPT.format(a, b), f"Tom starts with {a} apples.\n"
        seconds = (f"Then {a} + {b} = {a + b}.\n", f"He buys {b} more, so {a} - {b} = {a - b}.\n", "It follows.\n\n")
        for count, second in enumerate(seconds):
            more = ("We check the sum again.\n", f"The answer is {a + b}.")[: 2 - count % 3]
            made.append(_solution(f"apples-{a}", prompt, first, second, *more))
        made.append(_solution(f"apples-{a}", prompt, first))
        made.append(_solution(f"apples-{a}", prompt, "We add.\n", f"{a} + {b} = {a + b}\n", f"So {a + b}."))
    return tuple(made)


ORDINARY = _ordinary()
"""Solutions of two problems; those of one problem share their first step, or branch at once."""


AWKWARD: dict[str, str] = {
    "blank lines": "First we add.\n\n\n\nThen we stop.\n\n",
    "full stop before blank line": "So x = 3.\n\n",
    "full stop before line end": "So x = 3.\n",
    "carriage returns": "We add.\r\nWe stop.\r\n",
    "LaTeX": "\\[\\frac{a}{b} = \\boxed{5}\\] and $x^2 \\le 4$.\n",
    "Unicode": "√2 ≈ 1.414… 漢字 ж 🙂 e\u0301 \u202eabc\n",
    "code": "```python\nfor i in range(3):\n    print(i)\n```\n",
    "white space around": "  \t x = 1  \t \n",
    "nothing but white space": " \n",
    "empty": "",
    "one character": "x",
    "long": "We add one and one and get two. " * 20,
}
"""A name -> a step's text that tokenisers merge, strip or split in ways of their own."""


def awkward() -> list[tuple[str, Prefix]]:
    """Each awkward text first, in the middle and last in a solution; then all at once, a repeated step, an observation."""
    made = []
    for name, text in AWKWARD.items():
        for texts in ((text, "Next.\n"), ("Before.\n", text, "Next.\n"), ("Before.\n", text)):
            made.append((name, _solution("awkward", _PROMPT.format(1, 2), *texts)))
    made.append(("all of them", _solution("awkward", _PROMPT.format(1, 2), *AWKWARD.values())))
    made.append(("a repeated step", _solution("awkward", _PROMPT.format(1, 2), *["We add.\n"] * 3)))
    seen = (Step("Search.\n"), Step("seen: 3\n", "observation"), Step("So 3.\n"), Step("end\n", "observation"))
    made.append(("observations", Prefix("awkward", _PROMPT.format(1, 2), seen)))
    return made


QUADRUPLES = 32
"""How many pairs of problems `crossed` makes."""

_TASKS = (
    ("Tom has {a} apples and buys {b} more. How many apples does he have?", "{a} + {b} = {c}.\n"),
    ("What is the sum of {a} and {b}?", "We add {a} and {b} and get {c}.\n"),
    ("A train goes {a} km in the morning and {b} km later. How far is that in all?", "Together it is {a} + {b} = {c} km.\n"),
    ("Ann reads {a} pages today and {b} pages tomorrow. How many pages are read?", "{a} + {b} = {c}, so {c} pages.\n"),
)  # fmt: skip


def crossed() -> list[tuple[Prefix, Prefix, Prefix, Prefix]]:
    """Two problems, each with its own solution (right), then each with the other's (wrong).

    Every prompt and every solution stands on both sides, so a scorer that likes some texts better than others, whatever
    the problem, gains nothing: only whether solution and problem belong together differs.
    """
    draws, made = Random("crossed"), []
    for number in range(QUADRUPLES):
        prompt, step = _TASKS[number % len(_TASKS)]
        a, b, c, d = draws.sample(range(2, 60), 4)
        prompts = [prompt.format(a=x, b=y) for x, y in ((a, b), (c, d))]
        steps = [step.format(a=x, b=y, c=x + y) for x, y in ((a, b), (c, d))]
        right, other, wrong, crossing = (
            _solution(f"crossed-{number}", prompts[i], steps[j], f"The answer is {sum(((a, b), (c, d))[j])}.")
            for i, j in ((0, 0), (1, 1), (0, 1), (1, 0))
        )
        made.append((right, other, wrong, crossing))
    return made
