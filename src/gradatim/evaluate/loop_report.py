"""What a loop in the lab found: accuracy against n, the gap closed, first errors against exact truth, sound choices.

All intervals are 95 % by bootstrap over test problems, under the same draws for every method, so differences are paired;
an accuracy of exactly 0 or 1 has Wilson's interval.
Results of several trainings are averaged problem by problem first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Estimate, Reduction, Score
from gradatim.errors import InputError
from gradatim.evaluate.first_error import Judged, predict
from gradatim.evaluate.lab import Chosen, Quality, against_truth, judged, validity
from gradatim.evaluate.lab_pool import JUDGED_DRAWS, Pool
from gradatim.runs import invocation
from gradatim.score.reduce import reduce
from gradatim.stats import (
    best_of_curve,
    bootstrap,
    paired_bootstrap,
    pass_curve,
    ratio_bootstrap,
    share,
    weighted_majority_curve,
)
from gradatim.view.parts import Case, Cell, Curve, Reliability, Report, Series, Table

Floats = NDArray[np.float64]
CASES = (
    "First error found",
    "First error missed",
    "First error misplaced",
    "False alarm",
    "Right answer, wrong step",
    "Sound, and seen as sound",
)
"""Kinds of solutions that the report shows, two of each."""
OTHER_REDUCTIONS: tuple[Reduction, ...] = ("min", "prod", "mean", "gmean", "last")


@dataclass(frozen=True, slots=True)
class Ranking:
    """One model's scores of a pool, in the pool's order."""

    kind: Literal["prm", "orm"]
    seed: int
    scores: list[list[Score]]

    @classmethod
    def of(cls, kind: Literal["prm", "orm"], seed: int, pool: Pool, scored: Sequence[tuple[str, Score]]) -> Ranking:
        """Match scores to candidates; InputError if one has none."""
        by_id = dict(scored)
        missing = [s.id for row in pool.solutions for s in row if s.id not in by_id]
        if missing:
            raise InputError(
                f"{len(missing)} candidates without a score, first {missing[0]}", fix="score the pool again"
            )
        return cls(kind, seed, [[by_id[s.id] for s in row] for row in pool.solutions])

    def values(self, reduction: Reduction | None = None) -> Floats:
        """(problems, candidates); a candidate that can't be scored ranks below all others."""
        table = [
            [s.value if reduction is None or not s.steps else reduce(s.steps, reduction) for s in row]
            for row in self.scores
        ]
        filled: Floats = np.nan_to_num(np.array(table, dtype=np.float64), nan=-1.0)
        return filled


def loop_report(
    pool: Pool, rankings: Sequence[Ranking], config: Mapping[str, Any], manifest: Mapping[str, Any]
) -> tuple[Report, dict[str, Any], list[dict[str, Any]]]:
    """(the report, its headline numbers as JSON, one row a problem with what each method chose)."""
    curves = _curves(pool, rankings)
    prms = [ranking for ranking in rankings if ranking.kind == "prm"]
    quality = _quality(pool, prms)
    choices = [_choice_row(pool, rankings, index) for index in range(len(pool.problems))]
    headline, differences = _headline(pool, curves), _differences(curves)
    sound = _soundness(pool, rankings)
    last = pool.ns[-1]
    report = Report(
        title="The loop in the lab",
        summary=_summary(curves, last),
        command=invocation("gradatim loop"),
        facts=_facts(pool, config, manifest),
        tables=(headline, differences, _quality_table(quality), sound, _shape(pool, curves), _reductions(pool, prms)),
        curves=(_picture(curves, pool.ns),),
        reliability=(
            Reliability(
                title="PRM step scores against exact truth",
                bins=quality.bins,
                note="Steps up to the first error. The model learned Monte-Carlo labels, the truth is each step's validity.",
            ),
        ),
        cases=tuple(_cases(pool, prms[0])),
    )
    tables = {
        table.title: [dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows]
        for table in report.tables
    }
    return report, tables, choices


def _plain(cell: Cell) -> Any:
    return {"value": cell.value, "low": cell.low, "high": cell.high} if isinstance(cell, Estimate) else cell


def _curves(pool: Pool, rankings: Sequence[Ranking]) -> dict[str, Floats]:
    """For each method (problems, ns): the expected correctness of its choice among n."""
    ns, curves = pool.ns, {}
    for kind in ("prm", "orm"):
        own = [ranking.values() for ranking in rankings if ranking.kind == kind]
        curves[f"best of n, {kind.upper()}"] = np.mean([best_of_curve(v, pool.good, ns) for v in own], axis=0)
    prm_values = [r.values() for r in rankings if r.kind == "prm"]
    weighted = []
    for index in range(len(pool.problems)):
        codes, right = pool.coded(index)
        votes = np.clip(np.stack([values[index] for values in prm_values]), 0.0, None)
        weighted.append(weighted_majority_curve(votes, codes, right, ns)[0].mean(axis=0))
    curves["weighted majority, PRM"] = np.array(weighted)
    curves["majority"] = pool.majority(ns)
    curves["oracle (pass@n)"] = pass_curve(pool.good, ns)
    curves["random"] = np.broadcast_to(pool.good.mean(axis=1, keepdims=True), (len(pool.good), len(ns))).copy()
    return curves


def accuracy(right: Floats) -> Estimate:
    """The mean correctness over problems, with its interval."""
    return share(bootstrap(right))


def _headline(pool: Pool, curves: Mapping[str, Floats]) -> Table:
    majority, oracle = curves["majority"][:, -1], curves["oracle (pass@n)"][:, -1]
    rows: list[tuple[Cell, ...]] = []
    for name, curve in curves.items():
        closed = ratio_bootstrap(curve[:, -1] - majority, oracle - majority)
        rows.append((name, accuracy(curve[:, -1]), closed if name not in ("majority", "random") else None))
    return Table(
        title=f"Accuracy at n = {pool.ns[-1]}",
        columns=("method", "accuracy", "share of the gap closed"),
        rows=tuple(rows),
        note="The gap is from majority (0) to the oracle (1).",
    )


def _differences(curves: Mapping[str, Floats]) -> Table:
    pairs = (
        ("best of n, PRM", "best of n, ORM"),
        ("best of n, PRM", "majority"),
        ("best of n, ORM", "majority"),
        ("weighted majority, PRM", "best of n, PRM"),
    )
    rows = tuple((f"{a} − {b}", paired_bootstrap(curves[a][:, -1], curves[b][:, -1])) for a, b in pairs)
    return Table(title="Paired differences", columns=("difference", "accuracy"), rows=rows)


def _quality(pool: Pool, prms: Sequence[Ranking]) -> Quality:
    return against_truth(*(_judged(pool, ranking) for ranking in prms))


def _judged(pool: Pool, ranking: Ranking) -> list[Judged]:
    return [
        judged(problem.id, score, truth)
        for problem, scores, truths in zip(pool.problems, ranking.scores, pool.truth, strict=True)
        for score, truth in list(zip(scores, truths, strict=True))[:JUDGED_DRAWS]
        if truth
    ]


def _quality_table(quality: Quality) -> Table:
    found = quality.first_error
    return Table(
        title="PRM against exact truth",
        columns=("measure", "value"),
        rows=(
            ("first-error F1", found.f1),
            ("error accuracy", found.error_accuracy),
            ("correct accuracy", found.correct_accuracy),
            ("step AUROC", quality.auroc),
            ("calibration error", quality.calibration_error),
            ("step threshold (fixed)", quality.threshold),
            ("solutions", quality.solutions),
        ),
        note="A solution counts as found if the first step below the threshold is the first wrong one, or if neither exists.",
    )


def _choices(pool: Pool, ranking: Ranking) -> list[int]:
    """The highest value of each problem's candidates; the lower draw of equal ones."""
    return [int(np.argmax(row)) for row in ranking.values()]


def _majority_choices(pool: Pool) -> list[int]:
    """The first candidate with the most frequent answer."""
    chosen = []
    for row in pool.solutions:
        votes = Counter(s.answer for s in row if s.answer is not None)
        winner = votes.most_common(1)[0][0] if votes else None
        chosen.append(next(k for k, s in enumerate(row) if s.answer == winner))
    return chosen


def _soundness(pool: Pool, rankings: Sequence[Ranking]) -> Table:
    picked = {kind.upper(): [_choices(pool, r) for r in rankings if r.kind == kind] for kind in ("prm", "orm")} | {
        "majority": [_majority_choices(pool)]
    }
    rows = []
    for name, runs in picked.items():
        chosen = [
            Chosen(problem=p.id, truth=pool.truth[i][k], correct=bool(pool.good[i, k]))
            for run in runs
            for i, (p, k) in enumerate(zip(pool.problems, run, strict=True))
        ]
        sound = validity(chosen)
        rows.append((name, sound.steps, sound.solutions, sound.solutions_given_correct))
    return Table(
        title="Are the chosen solutions sound?",
        columns=("chosen by", "valid steps", "all steps valid", "all steps valid, if the answer is right"),
        rows=tuple(rows),
        note="By the exact checker, which no model has seen.",
    )


def _shape(pool: Pool, curves: Mapping[str, Floats]) -> Table:
    n, m = pool.ns[-1], pool.good.shape[1]
    lucky = [
        float(not all(truth))
        for truths, row in zip(pool.truth, pool.good, strict=True)
        for truth, good in zip(truths, row, strict=True)
        if good
    ]
    wrong = [
        float(good)
        for truths, row in zip(pool.truth, pool.good, strict=True)
        for truth, good in zip(truths, row, strict=True)
        if not all(truth)
    ]
    rows: tuple[tuple[Cell, ...], ...] = (
        ("pass@1", accuracy(pool.good.mean(axis=1)), ".45 to .65"),
        (f"majority@{n}", accuracy(curves["majority"][:, -1]), "at most .80 (at 64)"),
        (f"pass@{n}", accuracy(curves["oracle (pass@n)"][:, -1]), "at least .95 (at 64)"),
        ("right answers with a wrong step", float(np.mean(lucky)) if lucky else math.nan, "a few per cent"),
        ("wrong solutions with a right answer (luck)", float(np.mean(wrong)) if wrong else math.nan, "a few per cent"),
        ("solutions", len(pool.problems) * m, ""),
    )
    return Table(
        title="Shape of the lab on these test problems", columns=("measure", "value", "meant to be"), rows=rows
    )


def _reductions(pool: Pool, prms: Sequence[Ranking]) -> Table:
    rows = []
    for how in OTHER_REDUCTIONS:
        curve = np.mean([best_of_curve(r.values(how), pool.good, [pool.ns[-1]]) for r in prms], axis=0)
        rows.append((how, accuracy(curve[:, 0])))
    return Table(
        title=f"PRM, best of {pool.ns[-1]}, by reduction",
        columns=("reduction", "accuracy"),
        rows=tuple(rows),
        note="To look at. The headline uses the reduction that was saved with the model before it saw these problems.",
    )


def _picture(curves: Mapping[str, Floats], ns: Sequence[int]) -> Curve:
    series = []
    for name, curve in curves.items():
        found = [accuracy(curve[:, k]) for k in range(len(ns))]
        series.append(
            Series(
                name=name,
                x=tuple(map(float, ns)),
                y=tuple(e.value for e in found),
                low=tuple(e.low for e in found),
                high=tuple(e.high for e in found),
            )
        )
    return Curve(
        title="Accuracy against n", x_label="candidates n", y_label="accuracy", series=tuple(series), log_x=True,
        note="Exact for the pool (weighted majority: 2,000 subsets between its ends); bands are over problems.",
    )  # fmt: skip


def _cases(pool: Pool, ranking: Ranking) -> list[Case]:
    """What is worth looking at: missed and misplaced first errors, right answers for wrong reasons, a clean solve."""
    groups: dict[str, list[Case]] = {}
    for i, problem in enumerate(pool.problems):
        for k in range(min(JUDGED_DRAWS, len(pool.solutions[i]))):
            truth, score, solution = pool.truth[i][k], ranking.scores[i][k], pool.solutions[i][k]
            if not truth:
                continue
            true = next((t for t, good in enumerate(truth) if not good), None)
            predicted = predict(score.steps, 0.5)
            title = _title(true, predicted, bool(pool.good[i, k]))
            case = Case(
                title=title,
                prompt=problem.prompt,
                steps=tuple(step.text for step in solution.prefix.steps),
                scores=score.steps,
                predicted=predicted,
                true=true,
                true_known=True,
                value=score.value,
                facts={"answer": str(solution.answer), "gold": str(problem.answer), "problem": problem.id},
            )
            groups.setdefault(title, []).append(case)
    return [case for title in CASES for case in groups.get(title, [])[:2]]


def _title(true: int | None, predicted: int | None, right: bool) -> str:
    if true is None:
        return "Sound, and seen as sound" if predicted is None else "False alarm"
    if right:
        return "Right answer, wrong step"
    if predicted is None:
        return "First error missed"
    return "First error found" if predicted == true else "First error misplaced"


def _choice_row(pool: Pool, rankings: Sequence[Ranking], index: int) -> dict[str, Any]:
    row = pool.solutions[index]
    chosen = {f"{r.kind}-{r.seed}": row[int(np.argmax(r.values()[index]))] for r in rankings}
    chosen["majority"] = row[_majority_choices(pool)[index]]
    return {
        "problem_id": pool.problems[index].id,
        "gold": pool.problems[index].answer,
        "chosen": {name: {"solution_id": s.id, "draw": s.draw, "answer": s.answer} for name, s in chosen.items()},
    }


def _summary(curves: Mapping[str, Floats], n: int) -> str:
    prm, orm, majority = (accuracy(curves[k][:, -1]) for k in ("best of n, PRM", "best of n, ORM", "majority"))
    gain = paired_bootstrap(curves["best of n, PRM"][:, -1], curves["best of n, ORM"][:, -1])
    said = "better than" if gain.low > 0 else "worse than" if gain.high < 0 else "not told apart from"
    return (
        f"Best of {n}: PRM {prm.value:.3f}, ORM {orm.value:.3f}, majority {majority.value:.3f}. "
        f"The PRM is {said} the ORM ({gain.value:+.3f}, 95 % interval {gain.low:+.3f} to {gain.high:+.3f})."
    )


def _facts(pool: Pool, config: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Cell]:
    stages = manifest["stages"]
    environment: Mapping[str, Any] = next(
        (stage["environment"] for stage in stages.values() if "environment" in stage), {}
    )
    results = {name: stage.get("result", {}) for name, stage in stages.items()}
    drops = {
        f"{name} {key}": results[name][key]
        for name in results
        for key in ("truncated", "unread", "lost", "failed", "dropped")
        if results[name].get(key)
    }
    return {
        **{key.replace("_", " "): value for key, value in config.items()},
        "rollouts written": results.get("label", {}).get("rollouts"),
        "rollout tokens": results.get("label", {}).get("tokens"),
        "seconds": round(sum(stage.get("seconds", 0.0) for stage in stages.values()), 1),
        "hardware": f"{environment.get('cores')} cores, {environment.get('device')}, {environment.get('platform')}",
        "counted drops": "; ".join(f"{name}: {count}" for name, count in drops.items()) or "none",
    }
