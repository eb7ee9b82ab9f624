"""`gradatim explain`: scored solutions -> how they rank, what is wrong where, and whether the scorer can be trusted
with it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gradatim import records
from gradatim.core import REDUCTIONS, Reduction, Score
from gradatim.errors import ConfigError, InputError
from gradatim.problems.pool_scores import PoolScores, read_pool_scores
from gradatim.problems.pools import Pool, PoolProblem, read_pool
from gradatim.score.combine import revalued
from gradatim.score.explain import START, explain, ranked
from gradatim.score.reduce import STEP_REDUCTIONS, bias
from gradatim.view.picture import write_picture


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainConfig:
    """`gradatim explain`: which solutions, and when a step is called wrong."""

    data: str
    """The solutions that were scored: our own rows, plain ones, or the public pool format."""
    scores: tuple[str, ...]
    """Files of their scores, recorded or our own."""
    scorer: str | None = None
    """The scorer to explain, where the files hold several."""
    reduction: Reduction | None = None
    """How step scores become the value to rank by; what was recorded, or min, where none is given."""
    threshold: float = 0.5
    """First error by threshold: the first step that scores below."""
    share: float = 0.5
    """First error by relative drop: the first step below this share of the one before."""
    start: float = START
    """What the first step is compared with: 1 for the validity of steps; for a value the rate at which the problem is
    solved."""
    problem: str | None = None
    """Show only the problem of this id."""
    candidate: int | None = None
    """Show only the candidates of this number, with their steps."""
    top: int = 3
    """How many solutions of a problem are shown, the best first; all are ranked in the JSON."""
    picture: str | None = None
    """Also draw the first solution that is shown, as an SVG file."""
    skip_bad: bool = False
    """Drop and count rows that can't be read, and solutions without a score."""

    def __post_init__(self) -> None:
        if self.reduction is not None and self.reduction not in REDUCTIONS:
            raise ConfigError(f"reduction={self.reduction}: expected one of {', '.join(REDUCTIONS)}")
        if self.top < 1:
            raise ConfigError(f"top={self.top}: expected a number from 1 on")
        for name in ("threshold", "share", "start"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name}={getattr(self, name)} is not a number")


def explain_stage(config: ExplainConfig) -> dict[str, Any]:
    """Explain recorded scores; returns what `gradatim explain --json` prints. NaN is None there; indices are 0-based.

    `problems` has every asked problem with its solutions from best to worst. `diagnostics` is about all solutions of the
    file, also those that were not asked for: the share whose lowest step score is the last one's, the same by chance
    (the mean of 1 / steps), and the correlation of the value with the number of steps, in all and among correct ones.
    ConfigError, before any work, if the picture can't be written or would replace what is read.
    """
    if config.picture is not None:
        records.check_output(config.picture, [config.data, *config.scores], rows=False)
    drops = Counter[str]()
    pool = read_pool(config.data, skip_bad=config.skip_bad, drops=drops)
    pool, scored = read_pool_scores(pool, config.scores, skip_bad=config.skip_bad, drops=drops)
    scores = _asked(config, scored)
    how = _reduction(config, scores)
    explained = [
        _explained(problem, [replace(revalued(one, how), prefix=None) for one in found], config)
        for problem, found in zip(pool.problems, scores.scores, strict=True)
        if config.problem in (None, problem.id)
    ]
    explained = [one for one in explained if one["solutions"]]
    if not explained:
        raise InputError("no such solution", expected="a problem and candidate of the file", file=config.data)
    if config.picture is not None:
        _draw(config.picture, explained[0], pool, scores, how, config.threshold)
    return {
        "scorer": scores.scorer,
        "reduction": how,
        "rules": {"threshold": config.threshold, "share": config.share, "start": config.start},
        "problems": explained,
        "diagnostics": _diagnostics(pool, scores, how),
        "drops": dict(drops),
        "picture": config.picture,
    }


def told(result: dict[str, Any], top: int) -> str:
    """The result in words: for each problem its best solutions, then the diagnostics. Steps are counted from 1."""
    lines = [f"{result['scorer']}, ranked by {result['reduction']}"]
    for problem in result["problems"]:
        lines += ["", f"{problem['problem_id']}: {problem['of']} solutions"]
        for one in problem["solutions"][:top]:
            lines += _told(one, alone=len(problem["solutions"]) == 1)
    return "\n".join([*lines, "", *_doubts(result["diagnostics"])])


def _asked(config: ExplainConfig, scored: Sequence[PoolScores]) -> PoolScores:
    names = ", ".join(scores.scorer for scores in scored)
    found = [scores for scores in scored if config.scorer in (None, scores.scorer)]
    if len(found) != 1:
        wanted = "--scorer to say which" if config.scorer is None else f"no scorer {config.scorer!r}"
        raise ConfigError(f"the files hold scores by {names}; {wanted}")
    return found[0]


def _reduction(config: ExplainConfig, scores: PoolScores) -> Reduction:
    if config.reduction is None:
        return scores.reduction or "min"
    if config.reduction != scores.reduction and not (scores.has_steps and config.reduction in STEP_REDUCTIONS):
        raise ConfigError(f"{scores.scorer!r} has no value by {config.reduction}: it has only {scores.reduction}")
    return config.reduction


def _explained(problem: PoolProblem, scores: Sequence[Score], config: ExplainConfig) -> dict[str, Any]:
    solutions = []
    for place in ranked(scores):
        candidate = problem.candidates[place.index]
        if config.candidate not in (None, candidate.index):
            continue
        found = explain(place.score, config.threshold, config.share, config.start)
        solutions.append(
            {
                "place": place.place,
                "candidate": candidate.index,
                "id": records.row_id(candidate.row, "id") or candidate.solution.id,
                "answer": candidate.solution.answer,
                "correct": candidate.correct,
                "value": _number(place.score.value),
                "steps": [_number(value) for value in place.score.steps],
                **asdict(found),
                "texts": [step.text for step in candidate.solution.prefix.steps],
            }
        )
    return {"problem_id": problem.id, "of": len(scores), "solutions": solutions}


def _draw(path: str, shown: dict[str, Any], pool: Pool, scores: PoolScores, how: Reduction, threshold: float) -> None:
    p = next(p for p, problem in enumerate(pool.problems) if problem.id == shown["problem_id"])
    wanted = shown["solutions"][0]["candidate"]
    c = next(c for c, one in enumerate(pool.problems[p].candidates) if one.index == wanted)
    score = replace(revalued(scores.scores[p][c], how), prefix=pool.problems[p].candidates[c].solution.prefix)
    if not score.steps:
        raise ConfigError(f"{scores.scorer!r} has no step scores to draw; leave --picture out")
    write_picture(score, path, threshold=threshold)


def _diagnostics(pool: Pool, scores: PoolScores, how: Reduction) -> dict[str, Any]:
    if not scores.has_steps or how not in STEP_REDUCTIONS:
        return {}
    steps = [one.steps for problem in scores.scores for one in problem]
    correct = [candidate.correct for problem in pool.problems for candidate in problem.candidates]
    return {name: _number(value) for name, value in asdict(bias(steps, how, correct)).items()}


def _told(one: dict[str, Any], *, alone: bool) -> list[str]:
    verdict = {True: "correct", False: "not correct", None: "not verified"}[one["correct"]]
    value = "-" if one["value"] is None else f"{one['value']:.3f}"
    head = f"  {one['place']}. candidate {one['candidate']}  {value}  answer {one['answer']} ({verdict})"
    found = [
        f"{name} step {one[key] + 1}"
        for key, name in (
            ("weakest", "weakest"),
            ("below", "below threshold"),
            ("drop", "drop at"),
            ("change", "change at"),
        )
        if one[key] is not None
    ]
    lines = [f"{head}  {', '.join(found)}".rstrip()]
    shown = ["    -" if value is None else f"{value:.3f}" for value in one["steps"]]
    if not alone:
        return [*lines, f"     [{' '.join(shown)}]"] if shown else lines
    texts = zip(shown, one["texts"], strict=True) if shown else []
    marked = ("✗" if k == one["below"] else " " for k in range(len(shown)))
    return [*lines, *(f"   {mark} {score}  {text.strip()}" for mark, (score, text) in zip(marked, texts, strict=True))]


def _doubts(found: dict[str, Any]) -> list[str]:
    """The diagnostics as lines; nothing where there are none."""
    if not found:
        return []

    def shown(name: str) -> str:
        return "unknown" if found[name] is None else f"{found[name]:.3f}"

    return [
        f"over {found['solutions']} solutions:",
        f"  lowest score at the last step: {shown('lowest_is_last')} (by chance {shown('lowest_is_last_by_chance')})",
        f"  correlation of the value with the number of steps: {shown('value_with_length')}, "
        f"among correct solutions {shown('value_with_length_if_correct')}",
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
