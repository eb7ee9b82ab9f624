"""Solutions of the lab, and a policy that plays a critic whose every answer is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from gradatim.core import Continuation, Prefix, Solution
from gradatim.judges.exams import Critic, Exam
from gradatim.judges.opinions import Opinion
from gradatim.problems.lab import load
from gradatim.problems.lab.checker import check, first_error
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.steps import by_line


@cache
def lab_solutions(problems: int = 8, each: int = 3) -> tuple[Solution, ...]:
    """Sampled solutions, right and wrong, no two with the same steps."""
    policy = MarkovPolicy(Student(misread=0.6))
    found: dict[Prefix, Solution] = {}
    for problem in load("test", problems):
        for draw, text in enumerate(policy.write([problem.start()], draws=range(each))[0]):
            prefix = problem.start()
            for step in by_line(text.text):
                prefix = prefix.then(step)
            found.setdefault(prefix, Solution(prefix=prefix, author=policy.name, draw=draw))
    return tuple(found.values())


def truth(solution: Solution) -> int | None:
    """The exact first error."""
    return first_error(check(solution.prefix))


def answering(
    critic: Critic,
    solutions: tuple[Solution, ...],
    answer: Callable[[Solution, int], str | Continuation],
    asked: list[tuple[str, int]] | None = None,
) -> ScriptedPolicy:
    """A policy that answers the one question that `critic` asks about each solution; `asked` collects (id, draw)."""
    by_prompt: Mapping[str, Solution] = {first(critic, one).prompt: one for one in solutions}

    def script(prefix: Prefix, draw: int, seed: int) -> str | Continuation:
        solution = by_prompt[prefix.prompt]
        if asked is not None:
            asked.append((solution.id, draw))
        return answer(solution, draw)

    return ScriptedPolicy(script, name="scripted critic")


def first(critic: Critic, solution: Solution) -> Prefix:
    """The first thing that a critic is asked about a solution."""
    return next(critic.converse(critic.exam(solution)))[0]


def hear(critic: Critic, exam: Exam, *answers: str | Continuation) -> Opinion:
    """The opinion that comes of these answers, one a question."""
    given = iter(one if isinstance(one, Continuation) else Continuation(one, "stop", 1) for one in answers)
    conversation = critic.converse(exam)
    asked = next(conversation)
    while True:
        try:
            asked = conversation.send([next(given) for _ in asked])
        except StopIteration as end:
            return end.value
