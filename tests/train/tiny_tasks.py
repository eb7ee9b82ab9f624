"""A task that a tiny model learns in a second: two of four words are right, whatever the problem."""

from __future__ import annotations

import random

from gradatim.core import Labels, Prefix, Solution, Step, Tally, Verdict

RIGHT, WRONG = ("Tom", "apples"), ("buys", "Start")


def labelled(problems: int = 12, draws: int = 4, steps: int = 3, seed: int = 0) -> list[tuple[Solution, Labels]]:
    """Solutions of a few problems that share first steps, with a vote for every step, also after the first error."""
    draw_from, made = random.Random(seed), []
    for number in range(problems):
        for draw in range(draws):
            texts = draw_from.choices([*RIGHT, *WRONG], k=steps)
            prefix = Prefix(f"p{number}", f"How many in {number}?", tuple(Step(f"{text}\n\n") for text in texts))
            verdict = Verdict.CORRECT if set(texts) <= set(RIGHT) else Verdict.INCORRECT
            solution = Solution(prefix=prefix, author="task", draw=draw, verdict=verdict)
            tallies = tuple(Tally(int(text in RIGHT), 1) for text in texts)
            labels = Labels(solution_id=solution.id, tallies=tallies, truth="validity", source="exact", by="task")
            made.append((solution, labels))
    return made


def one_step(words: tuple[str, ...]) -> list[Prefix]:
    """One-step solutions of problems that `labelled` does not have."""
    return [Prefix("new", f"How many in {n}?", (Step(f"{word}\n\n"),)) for n in (13, 31) for word in words]
