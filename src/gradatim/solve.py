"""The plain use: sample n solutions, score them, give back the best with its score and the runners-up."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradatim.choose import best_of_n, weighted_majority
from gradatim.core import Policy, Prefix, Problem, Score, Scorer, Solution, Splitter
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.progress import progress
from gradatim.search.frontier import score_each
from gradatim.solutions.gaps import check_any
from gradatim.solutions.spans import Span, write_spans
from gradatim.steps import by_line
from gradatim.verify.answers import read_answer

Chooser = Literal["best_of_n", "weighted_majority"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sampled solution and what the scorer thinks of it."""

    solution: Solution
    score: Score

    @property
    def answer(self) -> str | None:
        """The final answer that could be read, None if there is none."""
        return self.solution.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What was chosen for one problem."""

    best: Candidate
    runners_up: tuple[Candidate, ...]
    """All other candidates, the better first; those without a score (no steps, cut off before the first) last."""
    chooser: Chooser
    agreement: float
    """Share of the candidates that have the same answer as the best one; NaN if its answer can't be read."""

    @property
    def answer(self) -> str | None:
        """The best candidate's final answer."""
        return self.best.answer

    def __str__(self) -> str:
        return (
            f"answer {self.answer}  (score {self.best.score.value:.3f}, {self.agreement:.0%} agree)\n{self.best.score}"
        )

    def _repr_html_(self) -> str:
        head = f"<b>{html.escape(str(self.answer))}</b> ({self.agreement:.0%} of {len(self.runners_up) + 1} agree)"
        return f"<div>{head}</div>{self.best.score._repr_html_()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of one problem."""

    problem_id: str
    outcome: Solved | BackendError | InputError
    """What was chosen, or why there is nothing to choose from: no solution could be written (BackendError), or the scorer
    refused all of them (InputError)."""
    not_written: Mapping[str, int]
    """Draws that the policy could not write, by reason."""
    refused: int
    """Solutions that the scorer can't take (too long, not Unicode)."""


def best_of(
    policy: Policy,
    scorer: Scorer,
    problem: Problem | str,
    *,
    n: int = 16,
    seed: int = 0,
    chooser: Chooser = "best_of_n",
    splitter: Splitter = by_line,
    read: Callable[[str], str | None] = read_answer,
) -> Solved:
    """Sample n solutions of a problem, score each, and choose.

    "best_of_n" takes the highest score, "weighted_majority" the answer whose candidates' scores add up to the most, and
    of these the highest. Equal scores go to the lower draw. ConfigError for n < 1; BackendError if the policy wrote nothing
    that has a step to score, InputError if the scorer refused all that it wrote.
    """
    [attempt] = solve([problem], policy, scorer, n=n, seed=seed, chooser=chooser, splitter=splitter, read=read)
    assert isinstance(attempt.outcome, Solved)  # solve() raises where nothing came of any problem
    return attempt.outcome


def solve(
    problems: Sequence[Problem | str],
    policy: Policy,
    scorer: Scorer,
    *,
    n: int = 16,
    seed: int = 0,
    chooser: Chooser = "best_of_n",
    splitter: Splitter = by_line,
    read: Callable[[str], str | None] = read_answer,
    quiet: bool = True,
) -> list[Attempt]:
    """`best_of` for many problems, with progress on standard error unless `quiet`.

    One of which nothing came says why, and the others go on; the first one's error is raised if nothing came of any.
    """
    if n < 1:
        raise ConfigError(f"n={n}: at least one solution must be sampled")
    asked = [p if isinstance(p, Problem) else Problem(id=f"question-{i}", prompt=p) for i, p in enumerate(problems)]
    attempts: list[Attempt] = []
    with progress("solve", len(asked), "problems", quiet=quiet) as shown:
        for problem in asked:
            [written] = write_spans(policy, [Span(problem.start(), range(n))], seed=seed)
            texts = [] if isinstance(written, BackendError) else written
            solutions = [
                Solution(
                    prefix=Prefix(problem.id, problem.prompt, splitter(w.text)),
                    author=policy.name,
                    draw=draw,
                    finish="length" if w.finish == "length" else "stop",
                    answer=read(w.text),
                )
                for draw, w in enumerate(texts)
                if w.finish != "failed"
            ]
            failed = Counter(w.error for w in texts if w.finish == "failed")
            not_written = {str(written): n} if isinstance(written, BackendError) else dict(failed)
            attempts.append(_attempt(problem, solutions, not_written, scorer, chooser))
            shown.advance(1, tokens=sum(w.tokens for w in texts))
    errors = [one.outcome for one in attempts if not isinstance(one.outcome, Solved)]
    if errors and len(errors) == len(attempts):
        raise errors[0]
    return attempts


def _attempt(
    problem: Problem, solutions: Sequence[Solution], not_written: Mapping[str, int], scorer: Scorer, chooser: Chooser
) -> Attempt:
    refused: list[InputError] = []
    outcome: Solved | BackendError | InputError
    try:
        check_any(len(solutions), not_written)
        scores = score_each(scorer, [solution.prefix for solution in solutions])
        refused = [score for score in scores if isinstance(score, InputError)]
        pairs = zip(solutions, scores, strict=True)
        candidates = [Candidate(solution, score) for solution, score in pairs if isinstance(score, Score)]
        outcome = pick(candidates, chooser) if candidates else refused[0]
    except BackendError as error:
        outcome = error
    return Attempt(problem_id=problem.id, outcome=outcome, not_written=not_written, refused=len(refused))


def pick(candidates: Sequence[Candidate], chooser: Chooser) -> Solved:
    """Choose among the candidates of one problem, at least one; BackendError if none of them has a score."""
    values, answers = [c.score.value for c in candidates], [c.answer for c in candidates]
    chosen = best_of_n(values, answers)
    if chosen is None:
        problem = candidates[0].solution.prefix.problem_id
        raise BackendError(f"none of the {len(candidates)} solutions of problem {problem!r} has a step to score")
    if chooser == "weighted_majority":
        chosen = weighted_majority(values, answers) or chosen  # nobody's answer could be read: no votes
    best = candidates[chosen.index]
    same = sum(c.answer == best.answer for c in candidates)
    return Solved(
        best=best,
        runners_up=tuple(sorted((c for c in candidates if c is not best), key=_rank)),
        chooser=chooser,
        agreement=math.nan if best.answer is None else same / len(candidates),
    )


def _rank(candidate: Candidate) -> tuple[float, int]:
    value = candidate.score.value
    return (math.inf if math.isnan(value) else -value, candidate.solution.draw)


def as_json(attempt: Attempt, runners_up: int = 3) -> dict[str, Any]:
    """One problem's outcome as the command prints it; `reason` says why there is no answer."""
    found = attempt.outcome
    chosen = found if isinstance(found, Solved) else None
    return {
        "problem_id": attempt.problem_id,
        "answer": chosen and chosen.answer,
        "value": chosen and chosen.best.score.value,
        "agreement": chosen and chosen.agreement,
        "candidates": len(chosen.runners_up) + 1 if chosen else 0,
        "text": chosen and chosen.best.solution.prefix.text,
        "steps": chosen and chosen.best.score.steps,
        "first_error": chosen and chosen.best.score.first_error(),
        "runners_up": [
            {"draw": c.solution.draw, "answer": c.answer, "value": c.score.value}
            for c in (chosen.runners_up[:runners_up] if chosen else ())
        ],
        "reason": None if chosen else str(found),
        "not_written": dict(attempt.not_written),
        "refused": attempt.refused,
    }
