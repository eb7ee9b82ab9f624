"""Preferences: does a reward model put the better answer above the worse ones?

    pairs            one chosen, one rejected: our rows and TRL's
    reward-bench-2   one of k (Malik et al. 2025): the best of several; its Ties subset has several right answers
    rm-bench         three chosen and three rejected, each concise, detailed, and detailed with markdown (Liu et al. 2024)

Definitions are the published ones. reward-bench-2: a row counts 1 / (number of highest values) if the first chosen answer is
among the highest, the Ties subset as in `ties_score`. rm-bench: of the nine comparisons the share in which the chosen answer
is strictly above; *hard* are those in which the rejected one has the fancier style, *normal* those of equal style. For pairs
a tie counts one half, here.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from gradatim.core import Estimate, Prefix
from gradatim.errors import InputError
from gradatim.evaluate import measures
from gradatim.evaluate.bench import parts_of
from gradatim.evaluate.measures import Measure
from gradatim.evaluate.results import Result
from gradatim.evaluate.said import of_answers
from gradatim.evaluate.step_suite import grouped, length_bins
from gradatim.labels.pairs import load_pairs
from gradatim.records import Row, convert, prompt_id, row_id, shown
from gradatim.stats import bootstrap_columns
from gradatim.steps import by_blank_line

PreferenceSuite = Literal["pairs", "reward-bench-2", "rm-bench"]
PREFERENCE_SUITES: tuple[PreferenceSuite, ...] = get_args(PreferenceSuite)

STYLES = 3
"""Answers a side of RM-Bench, in the order concise, detailed, detailed with markdown."""

TIES = "ties"
"""The subset of RewardBench 2 with several right answers, in small letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A prompt with answers that should be chosen and answers that should not."""

    id: str
    chosen: tuple[Prefix, ...]
    rejected: tuple[Prefix, ...]
    subset: str = ""

    @property
    def answers(self) -> tuple[Prefix, ...]:
        """All of them, the chosen ones first."""
        return (*self.chosen, *self.rejected)

    @property
    def keys(self) -> tuple[str, ...]:
        """By what recorded scores name the answers: ID/chosen/0, ..., ID/rejected/0, ..."""
        sides = (("chosen", self.chosen), ("rejected", self.rejected))
        return tuple(f"{self.id}/{name}/{index}" for name, side in sides for index in range(len(side)))


def read_choices(suite: PreferenceSuite, source: str, *, skip_bad: bool, drops: Counter[str]) -> list[Choice]:
    """The rows of a suite; texts are split at blank lines, which loses nothing. InputError for a source without any."""
    if suite == "pairs":
        pairs = load_pairs(source, skip_bad=skip_bad, drops=drops)
        return [
            Choice(id=f"{pair.chosen.problem_id}#{number}", chosen=(pair.chosen,), rejected=(pair.rejected,))
            for number, pair in enumerate(pairs)
        ]
    found = []
    for name, rows in parts_of(source, skip_bad=skip_bad, drops=drops):
        read = _one_of_k if suite == "reward-bench-2" else _styles
        found += list(convert(rows, _in_part(read, name), skip_bad=skip_bad, drops=drops))
    if not found:
        raise InputError("no row that could be used", expected=f"rows of {suite}", file=source)
    return found


def _in_part(read: Callable[[Row, str], Choice], part: str) -> Callable[[Row], Choice]:
    return lambda row: read(row, part)


def _one_of_k(row: Row, part: str) -> Choice:
    return _choice(row, row.optional_text("subset") or part)


def _styles(row: Row, part: str) -> Choice:
    found = _choice(row, row.optional_text("domain") or part)
    if (len(found.chosen), len(found.rejected)) != (STYLES, STYLES):
        raise row.error(f"{len(found.chosen)} chosen and {len(found.rejected)} rejected", expected="three of each")
    return found


def _choice(row: Row, subset: str) -> Choice:
    prompt = row.text("prompt")
    sides = []
    for name in ("chosen", "rejected"):
        texts = row.texts(name) if isinstance(row.data.get(name), list) else [row.text(name)]
        sides.append(tuple(Prefix(prompt_id(prompt), prompt, by_blank_line(text)) for text in texts))
    identity = row_id(row, "id") or f"{subset}#{row.line}"
    return Choice(id=f"{subset}/{identity}", chosen=sides[0], rejected=sides[1], subset=subset)


# What a row is worth


def worth(suite: PreferenceSuite, values: Sequence[float], chosen: int) -> float:
    """From 0 to 1, for the values of a row's answers, the first `chosen` of which should be above the others."""
    good, bad = values[:chosen], values[chosen:]
    if suite == "reward-bench-2":
        top = max(values)
        return 1 / sum(value == top for value in values) if values[0] == top else 0.0
    wins = [float(a > b) + (0.5 if suite == "pairs" and a == b else 0.0) for a in good for b in bad]
    return math.fsum(wins) / len(wins)


def style_accuracies(values: Sequence[float]) -> tuple[float, float, float]:
    """RM-Bench's hard, normal and easy accuracy of one row: the cells right of, on and left of the diagonal."""
    above = np.array([[a > b for b in values[STYLES:]] for a in values[:STYLES]], dtype=np.float64)
    half = STYLES * (STYLES - 1) / 2
    return (
        float(np.triu(above, 1).sum() / half),
        float(np.diag(above).mean()),
        float(np.tril(above, -1).sum() / half),
    )


def ties_score(choices: Sequence[Choice], values: Sequence[Sequence[float]]) -> float:
    """RewardBench 2's score of its Ties subset; NaN where prompts with one and with several right answers do not match.

    0.3 * the share of "tied" prompts in which every right answer is above every wrong one + 0.3 * the same of their
    "ref" prompts + 0.2 * the share of prompts in which the right answers are closer to each other than to the wrong ones
    + 0.2 * the same with the smaller gap of both prompts + 0.01 * the mean of tanh(smaller gap / spread - 1).
    """
    stats: dict[str, dict[str, tuple[float, float]]] = {"ref": {}, "tied": {}}
    for choice, found in zip(choices, values, strict=True):
        kind, _, number = choice.id.rpartition("/")[2].partition(":")
        good, bad = found[: len(choice.chosen)], found[len(choice.chosen) :]
        if kind in stats and bad:
            stats[kind][number] = (min(good) - max(bad), max(good) - min(good))
    both = sorted(stats["ref"].keys() & stats["tied"].keys())
    if not both:
        return math.nan
    gap = np.array([stats["tied"][number][0] for number in both])
    spread = np.array([stats["tied"][number][1] for number in both])
    least = np.minimum(gap, [stats["ref"][number][0] for number in both])
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.nan_to_num(np.tanh(least / spread - 1), nan=0.0)
    right = [float(np.mean([one[0] > 0 for one in stats[kind].values()])) for kind in ("tied", "ref")]
    preferred = [float(np.mean(one > spread)) for one in (gap, least)]
    return 0.3 * sum(right) + 0.2 * sum(preferred) + 0.01 * float(margin.mean())


RULES: Mapping[str, Callable[[Prefix], float]] = {
    "longest": lambda prefix: float(len(prefix.text)),
    "shortest": lambda prefix: -float(len(prefix.text)),
    "most_steps": lambda prefix: float(len(prefix.steps)),
    "fewest_steps": lambda prefix: -float(len(prefix.steps)),
}
"""Rules that read nothing but sizes."""


def preference_result(
    suite: PreferenceSuite,
    choices: Sequence[Choice],
    values: Sequence[Sequence[float]],
    *,
    model: str,
    source: str,
    seed: int = 0,
) -> Result:
    """The findings about one model; `values` has one entry an answer, the chosen ones first. Ties alone have a score and no
    accuracy, and no rules to compare it with."""
    plain = [index for index, one in enumerate(choices) if not _is_ties(suite, one)]
    rows, found = [choices[index] for index in plain], [values[index] for index in plain]
    paired = {
        "accuracy": _measure(rows, [worth(suite, one, len(row.chosen)) for row, one in zip(rows, found, strict=True)])
    }
    guesses = {name: _measure(rows, one) for name, one in _guesses(suite, rows).items() if rows}
    return Result(
        suite=suite,
        subset=suite,
        model=model,
        source=source,
        headline="accuracy" if rows else "ties_score",
        counts={
            "rows": len(choices),
            "problems": len({one.chosen[0].prompt for one in choices}),
            "ties": sum(_is_tie(row, one) for row, one in zip(rows, found, strict=True)),
        },
        measures={**_more(suite, choices, values, paired, seed)},
        nulls={"accuracy": {name: one.estimate(seed) for name, one in guesses.items()}},
        over_nulls={"accuracy": {name: paired["accuracy"].minus(one, seed) for name, one in guesses.items()}},
        by=_by(rows, paired, guesses, seed),
        paired=paired if rows else {},
        said={row.id: of_answers(one, len(row.chosen)) for row, one in zip(rows, found, strict=True)},
    )


def _measure(rows: Sequence[Choice], hits: Sequence[float]) -> Measure:
    columns = np.stack([np.array(hits, dtype=np.float64), np.ones(len(rows))], axis=1) if rows else np.empty((0, 2))
    problems = tuple(row.chosen[0].problem_id for row in rows)
    return Measure(tuple(row.id for row in rows), problems, columns, measures.ratio)


def _is_ties(suite: PreferenceSuite, choice: Choice) -> bool:
    return suite == "reward-bench-2" and choice.subset.lower() == TIES


def _is_tie(choice: Choice, values: Sequence[float]) -> bool:
    return max(values[: len(choice.chosen)]) == max(values[len(choice.chosen) :])


def _guesses(suite: PreferenceSuite, rows: Sequence[Choice]) -> dict[str, list[float]]:
    by_chance = [1 / len(row.answers) if suite == "reward-bench-2" else 0.5 for row in rows]
    sized = {
        name: [worth(suite, [rule(answer) for answer in row.answers], len(row.chosen)) for row in rows]
        for name, rule in RULES.items()
    }
    return {"random": by_chance, **sized}


def _more(
    suite: PreferenceSuite,
    choices: Sequence[Choice],
    values: Sequence[Sequence[float]],
    paired: Mapping[str, Measure],
    seed: int,
) -> dict[str, Estimate]:
    found = {"accuracy": paired["accuracy"].estimate(seed)} if paired["accuracy"].ids else {}
    if suite == "rm-bench":
        table = [style_accuracies(one) for one in values]
        names = ("hard_accuracy", "normal_accuracy", "easy_accuracy")
        problems = [one.chosen[0].problem_id for one in choices]
        found |= dict(zip(names, bootstrap_columns(table, problems, seed=seed), strict=True))
    if suite == "reward-bench-2":
        found |= _average(choices, values, paired)
    return found


def _average(
    choices: Sequence[Choice], values: Sequence[Sequence[float]], paired: Mapping[str, Measure]
) -> dict[str, Estimate]:
    """The published headline: the mean of the subsets' scores. Without an interval, as Ties is no mean over rows."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(choices):
        groups[one.subset].append(index)
    place = {identity: index for index, identity in enumerate(paired["accuracy"].ids)}
    scores, found = [], {}
    for chosen in groups.values():
        if _is_ties("reward-bench-2", choices[chosen[0]]):
            score = ties_score([choices[index] for index in chosen], [values[index] for index in chosen])
            found["ties_score"] = Estimate(score, math.nan, math.nan, len(chosen))
        else:
            hits = [paired["accuracy"].columns[place[choices[index].id], 0] for index in chosen]
            score = float(np.mean(hits))
        scores.append(score)
    return {**found, "subset_average": Estimate(float(np.mean(scores)), math.nan, math.nan, len(choices))}


def _by(
    rows: Sequence[Choice], paired: Mapping[str, Measure], rules: Mapping[str, Measure], seed: int
) -> dict[str, list[dict[str, Any]]]:
    longer = [
        "chosen longer" if len(row.chosen[0].text) > len(row.rejected[0].text) else "chosen not longer" for row in rows
    ]
    keys = {
        "class": [row.subset for row in rows],
        "length": length_bins([len(row.chosen[0].steps) for row in rows]),
        "which_is_longer": longer,
    }
    return {name: grouped(key, paired, seed, rules=rules) for name, key in keys.items() if len(set(key)) > 1}


def missing(choice: Choice, found: Sequence[float | None], source: str) -> InputError:
    """The error about an answer without a value."""
    key = next(key for key, value in zip(choice.keys, found, strict=True) if value is None)
    return InputError(f"no value for {shown(key)} by {source!r}", expected="rows of {id, value} for every answer")
