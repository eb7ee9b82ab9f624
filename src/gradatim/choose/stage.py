"""`gradatim choose`: a pool and its scores -> the chosen candidates, and what choosing is worth where verdicts are
known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gradatim import records, stats
from gradatim.choose.auto import BYS, By, automatic, by_learned, rules
from gradatim.choose.choosers import Choice, Same
from gradatim.choose.measure import Curve, Method, curves, reduced, usable
from gradatim.choose.mixing import apart, mixed_methods
from gradatim.core import REDUCTIONS, Estimate, Reduction
from gradatim.errors import ConfigError, InputError
from gradatim.problems.pool_scores import PoolScores, read_pool_scores
from gradatim.problems.pools import Pool, PoolProblem, read_pool
from gradatim.progress import progress
from gradatim.score.recorded import Mix, Mixed
from gradatim.score.reduce import WARNINGS
from gradatim.verify.answers import MathVerifier

LEVEL = 0.95
"""Of the intervals."""

_NAME = 60
"""Most characters of a scorer's name in the table; an ensemble's name lists its members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseConfig:
    """What to choose from, by what, and at which n to say what that is worth."""

    pool: str
    """Solutions to choose among: the public pool format, our own rows or plain ones; "-" is standard input."""
    scores: tuple[str, ...] = ()
    """Files of their scores, recorded or our own. Without any, majority chooses."""
    reduction: tuple[Reduction, ...] = ()
    """How step scores become one value, each of those named (default: all). The first one makes the choices; by default
    that is the reduction that the scores were recorded with, or min."""
    chooser: By | None = None
    """What makes the choices: best_of_n, weighted_majority, majority, or learned (a combination of all scorers, fitted on
    the other problems with verdicts). Default: best-of-n, or majority without scores."""
    auto: bool = False
    """Let the other problems with verdicts decide which scorer, reduction and (unless --chooser says it) chooser makes the
    choice for each problem, and report the regret."""
    mix: Mix = field(default_factory=Mix)
    """Ensembles and blends of the scorers, as further rows; the first of them makes the choices."""
    n: tuple[int, ...] = ()
    """Candidates to choose among (default: every n from 1 to the size of the pool; votes above 64 on a grid)."""
    same_answer: Literal["string", "math"] = "string"
    """When two answers are one: the same text, or mathematically equivalent."""
    seed: int = 0
    """Of the bootstrap over problems and of the random subsets for weighted votes."""
    skip_bad: bool = False
    """Drop and count rows that can't be read, candidates that some scorer has no score for, and, at each n, problems
    with fewer than n candidates; otherwise the first two stop the run and such an n has no value."""
    out: str | None = None
    """Also write the choices there, a row a problem."""

    def __post_init__(self) -> None:
        if any(how not in REDUCTIONS for how in self.reduction):
            raise ConfigError(f"reduction={', '.join(self.reduction)}: expected some of {', '.join(REDUCTIONS)}")
        if any(n < 1 for n in self.n):
            raise ConfigError(f"n={', '.join(map(str, self.n))}: expected numbers from 1 on")
        if self.same_answer not in ("string", "math"):
            raise ConfigError(f"same_answer={self.same_answer}: expected string or math")
        if self.reduction and not self.scores:
            raise ConfigError(f"reduction={', '.join(self.reduction)} without scores to reduce: give score files too")
        if self.chooser not in (None, "majority") and not self.scores:
            raise ConfigError(f"chooser={self.chooser} without scores to choose by: give score files too")
        if self.auto and (self.chooser == "learned" or not self.scores):
            raise ConfigError("--auto chooses among score files; the learned chooser is fitted, not chosen")
        if self.mix.asked and self.chooser == "learned":
            raise ConfigError(
                "the learned chooser combines the scorers itself; give it without --ensemble and --outcome"
            )
        if self.mix.asked and not self.scores:
            raise ConfigError("nothing to combine: give the score files of at least two scorers")


def choose_stage(config: ChooseConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Choose a candidate for each problem; returns what `gradatim choose --json` prints. NaN is None there.

    `choices` has one entry a problem, by best-of-n under the first combination or else the first scorer, and the first
    reduction (`chosen_by` says which), or by majority without scores. `auto` and `learned` are there where they were
    asked for: what was chosen or fitted, and how often it is right on the problems with verdicts. Chosen by an ensemble,
    an entry has the members' `disagreement` on it, and `ensembles` says how far they disagree in all. `rows` is there if
    some problems have verdicts, and is about those: the mean over problems, with its 95 % interval from the bootstrap over
    problems (the same resamples for all rows; Wilson's interval where the mean is 0 or 1). A tied choice goes to the lowest
    candidate index (`tied` counts the others); in `rows` ties share evenly. ConfigError, before any work, if `config.out`
    can't be written or would replace what is read.
    """
    records.check_outputs([config.out], [config.pool, *config.scores])
    drops = Counter[str]()
    pool = read_pool(config.pool, skip_bad=config.skip_bad, drops=drops)
    if pool.size > stats.LARGEST:
        expected = f"at most {stats.LARGEST} candidates for a problem"
        raise InputError(f"{pool.size} candidates for one problem", expected=expected, file=config.pool)
    pool, scored = read_pool_scores(pool, config.scores, skip_bad=config.skip_bad, drops=drops)
    methods, notes = _methods(scored, config.reduction)
    made, more = mixed_methods(scored, config.mix, config.reduction)
    methods, notes = [*(method for method, _ in made), *methods], notes + more
    gold = [p for p, problem in enumerate(pool.problems) if problem.has_gold]
    with sameness(config.same_answer) as same:
        chosen, chosen_by, told = _chosen(config, pool, scored, methods, same)
        choices = _rows_of(pool, chosen, made[0][1] if made and not config.auto else None)
        if config.out is not None:
            records.write_rows(config.out, choices)
        result: dict[str, Any] = {"problems": len(pool.problems), "choices": choices, **told}
        if config.mix.ensemble:
            result["ensembles"] = apart(pool, scored, [one for _, one in made], config.mix, config.reduction)
        if gold:
            asked = [pool.problems[p] for p in gold]
            held = [Method(m.scorer, m.reduction, tuple(m.values[p] for p in gold)) for m in methods]
            with progress("choose", len(asked), "problems", quiet=quiet) as shown:
                ns, voting = _ns(config, pool)
                found = curves(asked, held, ns, voting_ns=voting, same=same, seed=config.seed, shown=shown)
            result["rows"] = _rows(found, config)
            notes += _short(asked, ns, config.skip_bad) + _resolution(found)
            if voting != ns:
                notes.append(f"majority and weighted majority at n = 1 to {stats.ALL_UP_TO} and on a grid above")
    counts = _counts(pool, gold, choices)
    asides = {"chosen_by": chosen_by, "level": LEVEL, "same_answer": config.same_answer, "seed": config.seed}
    return {
        **result,
        **asides,
        **counts,
        "drops": dict(drops),
        "notes": [*notes, *_warnings(methods)],
        "out": config.out,
    }


def table(result: dict[str, Any], n: int | None = None) -> list[list[str]]:
    """The rows at one n (default: the largest with values) as a table to print: a heading, then a line a method.

    A scorer's lines are sorted by best-of-n, the better first; the baselines come first. Empty without `rows`.
    """
    rows = [row for row in result.get("rows", ()) if row["value"] is not None and n in (None, row["n"])]
    if not rows:
        return []
    size = max(row["n"] for row in rows)
    at = [row for row in rows if row["n"] == size]
    baselines = [[row["chooser"], "", _shown(row), ""] for row in at if row["scorer"] is None]
    votes = {(r["scorer"], r["reduction"]): r for r in at if r["chooser"] == "weighted_majority"}
    best = sorted((row for row in at if row["chooser"] == "best_of_n"), key=lambda r: (r["scorer"], -r["value"]))
    lines = [
        [
            r["scorer"] if len(r["scorer"]) <= _NAME else f"{r['scorer'][:_NAME]}…",
            r["reduction"],
            _shown(r),
            _shown(votes[key]) if (key := (r["scorer"], r["reduction"])) in votes else "",
        ]
        for r in best
    ]
    return [["scorer", "reduction", f"best of {size}", "weighted majority"], *baselines, *lines]


def _shown(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


@contextmanager
def sameness(how: str) -> Iterator[Same | None]:
    """When two answers are one: None for the same text ("string"), or a check by mathematics that remembers ("math")."""
    if how == "string":
        yield None
        return
    known: dict[tuple[str, str], bool] = {}
    with MathVerifier() as verifier:

        def same(a: str, b: str) -> bool:
            if (a, b) not in known:
                known[a, b] = verifier.equivalent(a, b)
            return known[a, b]

        yield same


def _methods(scored: Sequence[PoolScores], asked: tuple[Reduction, ...]) -> tuple[list[Method], list[str]]:
    methods: list[Method] = []
    notes: list[str] = []
    stepped = any(scores.has_steps for scores in scored)
    for scores in scored:
        # Beside scorers with steps, one without them keeps the values that it has.
        hows, more = usable(scores, asked if scores.has_steps or not stepped else ())
        if not asked and scores.reduction is None:
            hows = ["min", *(how for how in hows if how != "min")]
        methods += [reduced(scores, how) for how in dict.fromkeys(hows)]
        notes += more
    return methods, notes


def _ns(config: ChooseConfig, pool: Pool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The n to report, and those to report votes at."""
    if config.n:
        asked = tuple(sorted(set(config.n)))
        return asked, asked
    return tuple(range(1, pool.size + 1)), tuple(stats.majority_grid(pool.size))


def _chosen(
    config: ChooseConfig, pool: Pool, scored: Sequence[PoolScores], methods: Sequence[Method], same: Same | None
) -> tuple[list[Choice | None], dict[str, str | None], dict[str, Any]]:
    """What is chosen from each problem, by what, and what is to be told of an automatic choice or a fit."""
    if config.chooser == "learned":
        picks, told = by_learned(pool, scored, same, LEVEL, config.seed)
        return picks, {"chooser": "learned", "scorer": None, "reduction": None}, {"learned": told}
    if config.auto:
        choosers = [config.chooser] if config.chooser else [one for one in BYS if one != "learned"]
        taken, told = automatic(pool, methods, choosers, same, LEVEL, config.seed)
        picks = [rule.choices[p] for p, rule in enumerate(taken)]
        return picks, {"chooser": "auto", "scorer": None, "reduction": None}, {"auto": told}
    chooser: By = config.chooser or ("best_of_n" if methods else "majority")
    [rule] = rules(pool, methods[:1], [chooser], same)
    return list(rule.choices), {"chooser": chooser, "scorer": rule.scorer, "reduction": rule.reduction}, {}


def _rows_of(pool: Pool, chosen: Sequence[Choice | None], mix: Mixed | None) -> list[dict[str, Any]]:
    choices = []
    for p, (problem, choice) in enumerate(zip(pool.problems, chosen, strict=True)):
        choices.append(
            {
                "problem_id": problem.id,
                "candidate": None if choice is None else problem.candidates[choice.index].index,
                "answer": None if choice is None else choice.answer,
                "value": None if choice is None else choice.value,
                "tied": 0 if choice is None else choice.tied,
            }
        )
        if mix is not None and mix.disagreement is not None:
            choices[-1]["disagreement"] = None if choice is None else mix.disagreement[p][choice.index]
    return choices


def _rows(found: Sequence[Curve], config: ChooseConfig) -> list[dict[str, Any]]:
    columns = np.concatenate([curve.values for curve in found], axis=1)
    estimates = iter(stats.bootstrap_columns(columns, level=LEVEL, seed=config.seed, skip_nan=config.skip_bad))
    return [_row(curve, k, n, stats.share(next(estimates), LEVEL)) for curve in found for k, n in enumerate(curve.ns)]


def _row(curve: Curve, k: int, n: int, estimate: Estimate) -> dict[str, Any]:
    row = {
        "scorer": curve.scorer,
        "reduction": curve.reduction,
        "chooser": curve.chooser,
        "n": n,
        "value": _number(estimate.value),
        "low": _number(estimate.low),
        "high": _number(estimate.high),
        "problems": estimate.n,
    }
    if curve.mc_error is not None:
        row["mc_error"] = None if math.isnan(estimate.value) else float(curve.mc_error[k])
    return row


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _counts(pool: Pool, gold: Sequence[int], choices: Sequence[dict[str, Any]]) -> dict[str, int]:
    candidates = [one for problem in pool.problems for one in problem.candidates]
    return {
        "candidates": len(candidates),
        "problems_with_gold": len(gold),
        "unread": sum(one.solution.answer is None for one in candidates),
        "problems_unread": sum(all(c.solution.answer is None for c in p.candidates) for p in pool.problems),
        "no_choice": sum(choice["candidate"] is None for choice in choices),
        "chosen_unread": sum(c["candidate"] is not None and c["answer"] is None for c in choices),
    }


def _short(problems: Sequence[PoolProblem], ns: Sequence[int], skip_bad: bool) -> list[str]:
    """A note on the problems that have fewer candidates than some n."""
    least = min(problems, key=lambda problem: len(problem.candidates))
    size = len(least.candidates)
    if size >= max(ns):
        return []
    short = sum(len(problem.candidates) < max(ns) for problem in problems)
    what = "they leave the mean there (see each row's problems)" if skip_bad else "there is no value for such an n"
    return [f"{short} of {len(problems)} problems have fewer than {max(ns)} candidates ({least.id}: {size}); {what}"]


def _resolution(found: Sequence[Curve]) -> list[str]:
    """A note on the Monte-Carlo error of weighted majority."""
    errors = [float(curve.mc_error.max()) for curve in found if curve.mc_error is not None and len(curve.mc_error)]
    if not errors or max(errors) == 0:
        return []
    return [f"weighted majority from {stats.SUBSETS} random subsets: standard error at most {max(errors):.1e}"]


def _warnings(methods: Sequence[Method]) -> list[str]:
    used = dict.fromkeys(method.reduction for method in methods)
    return [WARNINGS[how] for how in used if how in WARNINGS]
