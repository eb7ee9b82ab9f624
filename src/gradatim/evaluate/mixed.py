"""`gradatim evaluate SUITE...`: any suites, any models, one report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, cast

import numpy as np

from gradatim.core import Score, Scorer
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate import thresholds
from gradatim.evaluate.asked import EvaluateConfig, Part, overlap, read_parts, threshold_rows
from gradatim.evaluate.bench import BenchRow
from gradatim.evaluate.mistakes import cases
from gradatim.evaluate.pool_suite import pool_result, pool_scored, scored_by
from gradatim.evaluate.preferences import PreferenceSuite, missing, preference_result
from gradatim.evaluate.prmscore import cross_fitted_prm, prmbench_result
from gradatim.evaluate.results import Result, differences
from gradatim.evaluate.score_checks import Scored, check_scores
from gradatim.evaluate.sources import (
    Judgement,
    ModelSource,
    RecordedSource,
    Source,
    from_models,
    open_labels,
    open_recorded,
)
from gradatim.evaluate.step_suite import judged_rows, step_result
from gradatim.evaluate.thresholds import Thresholds
from gradatim.problems.pool_scores import PoolScores, pool_misalignment, read_pool_scores
from gradatim.problems.pools import Pool
from gradatim.records import check_outputs, read_rows, read_scores, reason
from gradatim.runs import command_line, environment, plain
from gradatim.view.evaluation.page import write_evaluation
from gradatim.view.report import report_files

SCHEMA = "gradatim.evaluation/1"
"""Of report.json and of what `--json` prints."""


def evaluate_stage(
    config: EvaluateConfig,
    openers: Sequence[Callable[[], Scorer]] = (),
    *,
    opening: Sequence[Any] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate everything that was asked for; returns what `--json` prints, and writes it with `config.report`.

    `openers` load the models of `config.model`, one at a time; `opening` are the settings that they were made by, for the
    command that the report names. The fields: `results` (one for each subset and model, see
    `Result`), `differences` (each two models, paired), `seeds` (mean and spread over models of one name), `warnings`
    (what is odd about scores, with the evidence), `skipped` (models without scores for a suite), `drops` (counted).
    ConfigError, before any work, if the report can't be written or would replace what is read.
    """
    if config.report is not None:
        suites = (f"{suite}:{data}" for suite, data in config.asked())
        check_outputs([], [*suites, *config.scores, *config.labels, config.threshold_from], report_files(config.report))
    drops = Counter[str]()
    parts = read_parts(config, drops)
    work = _Work(config, parts, threshold_rows(config, drops), drops)
    for source in _sources(config, openers, drops, quiet):
        work.judge(source)
    for part in parts:
        if part.pool is not None:
            work.recorded_pool(part, part.pool)
    if not work.results:
        raise InputError("no scores for any of the suites", expected="scores whose ids are those of the data")
    order = {(part.suite, part.subset): index for index, part in enumerate(parts)}
    results = sorted(work.results, key=lambda one: order[one.suite, one.subset])
    found = {
        "schema": SCHEMA,
        "command": command_line("evaluate suites", config, *opening, arguments=("suites",)),
        "suites": [{"suite": part.suite, "subset": part.subset, "data": part.data} for part in parts],
        "models": list(dict.fromkeys(one.model for one in results)),
        "results": [one.as_json() for one in results],
        "cases": cases(parts, results, config.cases) if config.report is not None else [],
        "differences": differences(results, config.seed),
        "seeds": seeds(results, work.bases),
        "warnings": work.warnings,
        "skipped": work.skipped,
        "drops": dict(drops),
        "settings": {field.name: getattr(config, field.name) for field in fields(config)},
        "environment": environment(),
    }
    written = dict(plain(found))
    if config.report is not None:
        write_evaluation(written, config.report)
    return written


def _sources(
    config: EvaluateConfig, openers: Sequence[Callable[[], Scorer]], drops: Counter[str], quiet: bool
) -> Iterator[Source]:
    if len(openers) != len(config.model):
        raise ConfigError(f"{len(openers)} models were loaded for {len(config.model)} names")
    plain_files = [path for path in config.scores if not of_pool(path)]
    yield from open_recorded(plain_files, skip_bad=config.skip_bad, drops=drops)
    yield from open_labels(config.labels, skip_bad=config.skip_bad, drops=drops)
    yield from from_models(openers, skip_bad=config.skip_bad, drops=drops, quiet=quiet)


def of_pool(path: str) -> bool:
    """Whether a file of scores is in the public pool format, by its first row."""
    first = next(read_rows(path, skip_bad=True), None)
    return first is not None and "candidate_index" in first.data


class _Work:
    """The results as they come, and what has to be said beside them."""

    def __init__(
        self, config: EvaluateConfig, parts: Sequence[Part], chosen_on: Sequence[BenchRow], drops: Counter[str]
    ) -> None:
        self.config, self.parts, self.chosen_on, self.drops = config, parts, chosen_on, drops
        self.results: list[Result] = []
        self.warnings: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self.bases: dict[str, str] = {}
        """The name under which each shown model came: those of one name are seeds of one training."""

    def judge(self, source: Source) -> None:
        """All parts by one source."""
        shown = self._shown(source.name)
        for part in self.parts:
            if part.rows:
                self._steps(source, shown, part)
            elif part.choices:
                self._preferences(source, shown, part)
            elif part.pool is not None and isinstance(source, ModelSource):
                self._model_pool(source, shown, part, part.pool)

    def _shown(self, name: str) -> str:
        again = sum(base == name for base in self.bases.values())
        shown = f"{name} ({again + 1})" if again else name
        self.bases[shown] = name
        return shown

    # Steps

    def _steps(self, source: Source, shown: str, part: Part) -> None:
        found = source.judge(part.rows)
        if isinstance(source, RecordedSource):
            self._check(part, shown, [_scored(row, source.recorded.find(row)) for row in part.rows])
        kept = self._kept(source, shown, part, found)
        if not kept:
            return
        rows, judgements = [row for row, _ in kept], [one for _, one in kept]
        if isinstance(source, ModelSource):
            self._check(part, shown, [_scored(row, one) for row, one in kept])
        cut = self._threshold(source, part.suite, rows, judgements) if source.needs_threshold else None
        seen = overlap(rows, self.chosen_on)
        if part.suite == "prmbench":
            made = prmbench_result(
                rows, judgements, cut, model=shown, source=source.kind, overlap=seen, seed=self.config.seed
            )
            made = replace(made, subset=part.subset)
        else:
            made = step_result(
                *(part.suite, part.subset, rows, judgements, cut),
                model=shown,
                source=source.kind,
                overlap=seen,
                seed=self.config.seed,
            )
        self.results.append(made)

    def _kept(
        self, source: Source, shown: str, part: Part, found: Sequence[Judgement | None]
    ) -> list[tuple[BenchRow, Judgement]]:
        """The rows that the source judged. None at all: the suite is skipped; some: an error, or counted."""
        kept = [(row, one) for row, one in zip(part.rows, found, strict=True) if one is not None]
        if not kept:
            self._skip(part, shown)
        elif len(kept) < len(found) and not isinstance(source, ModelSource):  # a model counts what it can't take
            without = [row for row, one in zip(part.rows, found, strict=True) if one is None]
            error = InputError(
                f"{len(without)} of {len(found)} rows of {part.subset} without {source.kind} by {shown!r}, the first of "
                f"them {without[0].id!r}",
                expected=f"{source.kind} for every row",
                fix="bring the rest, or go on without these rows with --skip-bad",
            )
            if not self.config.skip_bad:
                raise error
            self.drops[f"{shown}: {reason(error)}"] += len(without)
        return kept

    def _threshold(
        self, source: Source, suite: str, rows: Sequence[BenchRow], judgements: Sequence[Judgement]
    ) -> Thresholds:
        judged = judged_rows(rows, judgements)
        if self.chosen_on:
            known = [
                (row, one)
                for row, one in zip(self.chosen_on, source.judge(self.chosen_on), strict=True)
                if one is not None
            ]
            if len(known) < len(self.chosen_on):
                raise InputError(
                    f"{len(self.chosen_on) - len(known)} of {len(self.chosen_on)} rows without scores by {source.name!r}",
                    expected="scores of the rows that the threshold is chosen on",
                    file=self.config.threshold_from,
                )
            best = thresholds.best_threshold(judged_rows([row for row, _ in known], [one for _, one in known]))
            return thresholds.fixed(judged, best, str(self.config.threshold_from))
        if self.config.threshold != "cross-fit":
            return thresholds.fixed(judged, float(self.config.threshold))
        if suite == "prmbench":
            return cross_fitted_prm(rows, [one.scores for one in judgements])
        return thresholds.cross_fitted(judged)

    # Preferences and pools

    def _preferences(self, source: Source, shown: str, part: Part) -> None:
        keys = [key for choice in part.choices for key in choice.keys]
        prefixes = [answer for choice in part.choices for answer in choice.answers]
        values = iter(source.values(keys, prefixes))
        table = [[next(values) for _ in choice.answers] for choice in part.choices]
        if all(value is None for row in table for value in row):
            self._skip(part, shown)
            return
        whole = []
        for choice, row in zip(part.choices, table, strict=True):
            if None not in row:
                whole.append((choice, [cast(float, value) for value in row]))
            elif not self.config.skip_bad:
                raise missing(choice, row, shown)
            else:
                self.drops[f"{shown}: an answer without a value"] += 1
        if not whole:
            self._skip(part, shown)
            return
        made = preference_result(
            cast(PreferenceSuite, part.suite),
            [choice for choice, _ in whole],
            [row for _, row in whole],
            model=shown,
            source=source.kind,
            seed=self.config.seed,
        )
        self.results.append(replace(made, subset=part.subset))

    def _model_pool(self, source: ModelSource, shown: str, part: Part, pool: Pool) -> None:
        """Candidates that the model can't take leave the pool for it (counted by the source)."""
        found = iter(source.scores([one.solution.prefix for problem in pool.problems for one in problem.candidates]))
        pairs = [[(one, score) for one in problem.candidates if (score := next(found))] for problem in pool.problems]
        problems = [
            replace(problem, candidates=tuple(one for one, _ in kept))
            for problem, kept in zip(pool.problems, pairs, strict=True)
            if kept
        ]
        scores = [score for kept in pairs for _, score in kept]
        if problems:
            covered = replace(pool, problems=tuple(problems))
            self._pool(part, covered, scored_by(shown, covered, scores), source.kind)
        else:
            self._skip(part, shown)

    def recorded_pool(self, part: Part, pool: Pool) -> None:
        """A pool's recorded scores; files in another format than the pool's are taken where no other suite wants them."""
        files = [path for path in self.config.scores if of_pool(path) or not self._wanted(path)]
        if not files:
            if self.config.scores:
                self._skip(part, "the recorded scores")
            return
        for path in files:
            self._misaligned(part, pool, path)
        covered, scored = read_pool_scores(pool, files, skip_bad=self.config.skip_bad, drops=self.drops)
        for scores in scored:
            self._pool(part, covered, scores, "scores")

    def _wanted(self, path: str) -> bool:
        """Whether a file has scores for a suite that is no pool."""
        asked = {key for part in self.parts for row in part.rows for key in row.keys}
        asked |= {key for part in self.parts for choice in part.choices for key in choice.keys}
        return any(key in asked for key, _ in read_scores(path, skip_bad=True))

    def _misaligned(self, part: Part, pool: Pool, path: str) -> None:
        offsets, total, name = pool_misalignment(pool, path)
        if not offsets:
            return
        usual, times = offsets.most_common(1)[0]
        text = (
            f"{offsets.total()} of {total} rows with another number of scores than steps ({times} of them {usual:+d})"
        )
        if not self.config.skip_bad:
            fix = "score the steps as they are listed, or go on without these rows with --skip-bad"
            raise InputError(text, expected="one score a step", file=path, fix=fix)
        evidence = {"rows": total, "offsets": {f"{key:+d}": offsets[key] for key in sorted(offsets)}}
        warned = {"kind": "misaligned", "message": text, "evidence": evidence}
        self.warnings.append({"suite": part.suite, "subset": part.subset, "model": name, **warned})

    def _pool(self, part: Part, pool: Pool, scores: PoolScores, kind: str) -> None:
        self._check(part, scores.scorer, pool_scored(pool, scores))
        self.results.append(
            pool_result(part.subset, pool, scores, self.config.reduction, source=kind, seed=self.config.seed)
        )

    # What is said beside

    def _skip(self, part: Part, shown: str) -> None:
        self.skipped.append({"suite": part.suite, "subset": part.subset, "model": shown})

    def _check(self, part: Part, shown: str, solutions: Sequence[Scored]) -> None:
        about = {"suite": part.suite, "subset": part.subset, "model": shown}
        self.warnings += [{**about, **one.as_json()} for one in check_scores(solutions)]


def _scored(row: BenchRow, found: Score | Judgement | None) -> Scored:
    steps = () if found is None else found.steps if isinstance(found, Score) else found.scores
    return Scored(row.prefix.problem_id, steps, len(row.prefix.steps), len(row.prefix.text), row.error is None)


def seeds(results: Sequence[Result], bases: dict[str, str]) -> list[dict[str, Any]]:
    """For models of one name (trainings with several seeds): the mean, spread (standard deviation) and values of each
    measure."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for one in results:
        groups.setdefault((one.suite, one.subset, bases.get(one.model, one.model)), []).append(one)
    found = []
    for (suite, subset, base), members in groups.items():
        if len(members) < 2:
            continue
        for name in members[0].measures:
            values = [one.measures[name].value for one in members if name in one.measures]
            known = [value for value in values if not math.isnan(value)]
            spread = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
            mean = float(np.mean(known)) if known else math.nan
            found.append(
                {
                    "suite": suite,
                    "subset": subset,
                    "model": base,
                    "measure": name,
                    "mean": mean,
                    "deviation": spread,
                    "values": values,
                }
            )
    return found
