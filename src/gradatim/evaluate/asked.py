"""What `gradatim evaluate SUITE...` is asked for, and its data, read once for all models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from gradatim.core import REDUCTIONS, Prefix, Reduction, Verdict
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.bench import BenchRow, subset_name
from gradatim.evaluate.preferences import PREFERENCE_SUITES, Choice, read_choices
from gradatim.evaluate.suites import HUB, STEP_SUITES, Reading, read_suite
from gradatim.labels.datasets import load_labelled
from gradatim.labels.given import Misfits
from gradatim.labels.writing import Neutral
from gradatim.problems.pools import Pool, read_pool
from gradatim.records import prompt_id

SUITES: tuple[str, ...] = (*STEP_SUITES, *PREFERENCE_SUITES, "pool")
"""The suites by name."""

DEFAULT_DATA = {**HUB, "reward-bench-2": "allenai/reward-bench-2", "rm-bench": "THU-KEG/RM-Bench"}
"""Where the data of a suite is if nothing is said: a data set on a hub (extra `data`); other suites need a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Settings of `gradatim evaluate SUITE...`."""

    suites: tuple[str, ...]
    """SUITE or SUITE=DATA: processbench, prmbench, prm800k, mr-ben, bigbench-mistake, lab (steps), pairs, reward-bench-2,
    rm-bench (preferences), pool (best of n). DATA is a file, a folder of files or a name on a hub; for lab SPLIT:N."""
    data: str | None = None
    """The data of the one suite that is named without."""
    model: tuple[str, ...] = ()
    """A run, a model folder, a name on a hub or "lab". Models of one name are taken for seeds of one training."""
    scores: tuple[str, ...] = ()
    """A file of recorded scores: rows of {id, step_scores} or {id, value}, our own, or a pool's."""
    labels: tuple[str, ...] = ()
    """A file of a judge's labels of the suite's solutions: what a critic, or people, said of their steps."""
    threshold: str = "0.5"
    """A step that scores below this is wrong: a number, or `cross-fit` (five folds by problem, in each subset)."""
    threshold_from: str | None = None
    """Choose the threshold with the best first-error F1 on these labelled solutions instead (FORM:PATH, or a path)."""
    neutral: Neutral = "skip"
    """A neutral rating of PRM800K: "skip" leaves it out of what is asked of single steps, "good", or "bad" (an error)."""
    misfits: Misfits = "drop"
    """A row whose error points at no step: "drop" counts it, "error" stops, "keep" (PRMBench) passes over such marks."""
    reduction: Reduction | None = None
    """How step scores choose among a pool's candidates; what was recorded, or min, where none is given."""
    report: str | None = None
    """A folder to write `report.json` and `report.html` to, a page to look at and to mark steps on."""
    cases: int = 50
    """Mistakes of each model on each subset that the report holds with their steps, the surest first."""
    seed: int = 0
    """Of the resamples behind intervals, and of the lab's students."""
    skip_bad: bool = False
    """Pass over malformed rows, and rows without a usable score, and count them, instead of stopping at the first."""

    def __post_init__(self) -> None:
        if not self.suites:
            raise ConfigError(f"no suite; name some of {', '.join(SUITES)}")
        if not (self.model or self.scores or self.labels):
            raise ConfigError("nothing to evaluate; give --model, --scores or --labels")
        if self.threshold != "cross-fit" and not _is_number(self.threshold):
            raise ConfigError(f"--threshold {self.threshold!r} is neither a number nor cross-fit")
        if self.threshold_from is not None and self.threshold != "0.5":
            raise ConfigError("--threshold and --threshold-from contradict each other; give one of them")
        if self.reduction is not None and self.reduction not in REDUCTIONS:
            raise ConfigError(f"--reduction {self.reduction}: expected one of {', '.join(REDUCTIONS)}")
        if self.cases < 0:
            raise ConfigError(f"--cases {self.cases}: expected a number from 0 on")
        self.asked()

    def asked(self) -> list[tuple[str, str]]:
        """Each suite with its data."""
        bare = [suite for suite in self.suites if "=" not in suite]
        if self.data is not None and len(bare) != 1:
            raise ConfigError(f"--data {self.data} is for one suite; write {self.suites[0]}=PATH for each")
        found = []
        for word in self.suites:
            name, _, data = word.partition("=")
            if name not in SUITES:
                raise ConfigError(f"suite {name!r}; expected some of {', '.join(SUITES)}")
            data = data or self.data or DEFAULT_DATA.get(name, "")
            if not data:
                raise ConfigError(f"{name} needs its data: write {name}=PATH")
            found.append((name, data))
        if len(set(found)) < len(found):
            raise ConfigError("one suite is named twice with the same data")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A subset of a suite: one of `rows`, `choices` and `pool` is what it holds."""

    suite: str
    data: str
    subset: str
    rows: tuple[BenchRow, ...] = ()
    choices: tuple[Choice, ...] = ()
    pool: Pool | None = None


def read_parts(config: EvaluateConfig, drops: Counter[str]) -> list[Part]:
    """The data of all suites, in the order in which they were asked for. Subsets of one name in a suite (two files
    gsm8k.jsonl) are numbered from the second on, as results are told apart by their names."""
    found: list[Part] = []
    how = Reading(neutral=config.neutral, misfits=config.misfits, skip_bad=config.skip_bad, seed=config.seed)
    for suite, data in config.asked():
        if suite in STEP_SUITES:
            subsets = read_suite(suite, data, _for(suite, how), drops)
            found += [Part(suite=suite, data=data, subset=name, rows=tuple(rows)) for name, rows in subsets.items()]
        elif suite in PREFERENCE_SUITES:
            choices = read_choices(suite, data, skip_bad=config.skip_bad, drops=drops)
            found.append(Part(suite=suite, data=data, subset=suite, choices=tuple(choices)))
        else:
            pool = read_pool(data, skip_bad=config.skip_bad, drops=drops)
            found.append(Part(suite=suite, data=data, subset=subset_name(Path(data)), pool=pool))
    return _told_apart(found)


def _told_apart(parts: Sequence[Part]) -> list[Part]:
    taken: set[tuple[str, str]] = set()
    found = []
    for part in parts:
        names = chain([part.subset], (f"{part.subset} ({number})" for number in count(2)))
        name = next(name for name in names if (part.suite, name) not in taken)
        taken.add((part.suite, name))
        found.append(replace(part, subset=name))
    return found


def _for(suite: str, how: Reading) -> Reading:
    """Keeping misfits is PRMBench's; the rows of other suites are dropped, as if nothing had been said."""
    return how if suite == "prmbench" or how.misfits != "keep" else replace(how, misfits="drop")


def threshold_rows(config: EvaluateConfig, drops: Counter[str]) -> list[BenchRow]:
    """The labelled solutions that a threshold is chosen on: those whose first error is known."""
    if config.threshold_from is None:
        return []
    items = load_labelled(config.threshold_from, skip_bad=config.skip_bad, drops=drops)
    rows = [
        BenchRow(
            id=solution.prefix.problem_id,
            prefix=Prefix(prompt_id(solution.prefix.prompt), solution.prefix.prompt, solution.prefix.steps),
            error=labels.error,
            answer_correct=None if solution.verdict is None else solution.verdict is Verdict.CORRECT,
            author=solution.author,
            solution=solution,
        )
        for solution, labels in items
        if labels.error_known
    ]
    if not rows:
        raise InputError("no solution whose first error is known", file=config.threshold_from)
    return rows


def overlap(rows: Sequence[BenchRow], chosen_on: Sequence[BenchRow]) -> int:
    """How many rows have a problem that is also among those the threshold was chosen on."""
    seen = {row.prefix.prompt for row in chosen_on}
    return sum(row.prefix.prompt in seen for row in rows)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
