"""What a first error costs by each labelling rule, against exact truth in the lab.

    python bench/labels.py                                           # tier A: a policy in closed form
    python bench/labels.py --tier b --labelled 4 --keep runs/tier-b  # tier B: the language model that ships

Three seeds, each with a third of the problems; 16 solutions a problem are sampled, and the first `--labelled` of them are
labelled. Rollouts and tokens (in tier A: words) are a labelled solution's. F1 is that of the first error, as ProcessBench
has it; a solution of which a rule says that it does not know counts as missed. In tier A's first table no two solutions
share a step, as in long texts; in the second the policy's texts are what they are, and most steps are shared.

The problems are no split's: they have a seed of their own and the graphs of the test split, and no setting was chosen on
them (with the seed "lab/bench/1" some were). With `--keep` the draws stay in a folder, and the same command goes on with them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Continuation, Labels, Policy, Prefix, Problem, Solution, seed_for
from gradatim.labels.rollouts import Work
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import check, first_error
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.world import as_problem, graphs, split_of
from gradatim.records import read_solutions
from gradatim.solutions.ledger import Ledger
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.stats import wilson
from gradatim.verify.answers import exact_verifier

Floats = NDArray[np.float64]
Seen = TypeVar("Seen", bound=tuple[Any, ...])

SEEDS, SOLUTIONS = 3, 16
BASE = "all, k=32"
TRUNCATED = LabelConfig(stop="posterior", search="bisection", cap=32, undecided="likelier")
RULES = {
    BASE: LabelConfig(k=32),
    "all, k=16": LabelConfig(k=16),
    "all, k=8": LabelConfig(k=8),
    "bisection, k=32": LabelConfig(k=32, search="bisection"),
    "bisection, k=16": LabelConfig(k=16, search="bisection"),
    "bisection, k=8": LabelConfig(k=8, search="bisection"),
    "bisection, first success of 32": LabelConfig(k=32, rule="any", stop="first", search="bisection"),
    "bisection, sprt": replace(TRUNCATED, stop="sprt"),
    "bisection, posterior": TRUNCATED,
    "informed": replace(TRUNCATED, search="informed"),
    "informed, masked": replace(TRUNCATED, search="informed", undecided="mask"),
}
TIER_B = (
    BASE,
    "bisection, k=32",
    "bisection, k=16",
    "bisection, k=8",
    "bisection, sprt",
    "bisection, posterior",
    "informed",
    "informed, masked",
)
"""The rules that a language model is asked for: all of them read the first 32 draws of a prefix at most."""


@dataclass(frozen=True)
class Unshared:
    """A policy whose lines end in blanks that chance chose: the same values, and no two solutions share a step."""

    inner: MarkovPolicy

    @property
    def name(self) -> str:
        return f"unshared {self.inner.name}"

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        """See `Policy`."""
        rows = self.inner.write(prefixes, draws=draws, one_step=one_step, seed=seed)
        return [
            [self._blanks(text, prefix, draw, seed) for draw, text in zip(draws, row, strict=True)]
            for prefix, row in zip(prefixes, rows, strict=True)
        ]

    def _blanks(self, text: Continuation, prefix: Prefix, draw: int, seed: int) -> Continuation:
        if prefix.steps:
            return text  # a rollout: nothing goes on from it
        rng = Random(seed_for(seed, "blanks", prefix.problem_id, draw))
        *lines, last = text.text.splitlines(keepends=True)
        lines = [line[:-1] + "".join(rng.choices(" \t", k=24)) + "\n" for line in lines]
        return replace(text, text="".join([*lines, last]))


@dataclass(frozen=True)
class Result:
    """What a rule said of the solutions, and what it took."""

    labels: list[Labels]
    rollouts: Counter[str]
    """By problem."""
    tokens: Counter[str]
    """By problem."""
    seconds: float


def fresh(count: int) -> list[Problem]:
    """Problems that nothing was trained on and no setting was chosen on."""
    ours = (graph for graph in graphs(Random("lab/bench/2")) if split_of(graph) == "test")
    return [as_problem(graph, f"lab-bench-{index}") for index, graph in enumerate(islice(ours, count))]


def sampled(policy: Policy, problems: Sequence[Problem], folder: Path) -> list[Solution]:
    """The solutions of all seeds: each has its part of the problems, and its own draws."""
    made: list[Solution] = []
    for seed in range(SEEDS):
        out, part = folder / f"solutions-{seed}.jsonl", problems[seed::SEEDS]
        sample_stage(SampleConfig(n=SOLUTIONS, seed=seed), policy, part, exact_verifier, out, quiet=True)
        made += read_solutions(out)
    return made


def labelled(
    policy: Policy,
    problems: Sequence[Problem],
    solutions: Sequence[Solution],
    rules: Sequence[str],
    few: int,
    folder: Path,
) -> dict[str, Result]:
    """Every rule on the first `few` solutions of each problem; the others are evidence of it. A draw that several rules
    read is written once, for the first of them; each rule's seconds are its share, by tokens, of what all the writing
    took, and what its own bookkeeping took."""
    found: dict[str, Result] = {}
    with Ledger(folder / "draws.ledger", {"stage": "bench", "policy": policy.name}) as ledger:
        for name in rules:
            work = Work(RULES[name], policy, problems, solutions, exact_verifier)
            started, draws = time.perf_counter(), work.draws(ledger)
            had = draws.seconds
            rows = work.label([one for one in work.used if one.draw < few], draws, quiet=True)
            own = time.perf_counter() - started - (draws.seconds - had)
            found[name] = Result(rows, draws.rollouts, draws.tokens, own)
    writing = draws.seconds / draws.recorded_tokens
    return {name: replace(one, seconds=one.seconds + writing * one.tokens.total()) for name, one in found.items()}


def f1_parts(solutions: Sequence[Solution], labels: Sequence[Labels], names: Sequence[str]) -> Floats:
    """For each problem: erroneous solutions, hits among them, sound ones, hits among them (problems x 4)."""
    sums, index = np.zeros((len(names), 4)), {name: place for place, name in enumerate(names)}
    for solution, row in zip(solutions, labels, strict=True):
        error = first_error(check(solution.prefix))
        hit = row.error_known and row.error == error
        sums[index[solution.prefix.problem_id], [0, 1] if error is not None else [2, 3]] += 1, hit
    return sums


def f1(sums: Floats) -> Floats:
    """F1 of rows of (erroneous, hits, sound, hits)."""
    errors, sound = sums[..., 1] / sums[..., 0], sums[..., 3] / sums[..., 2]
    return np.asarray(2 * errors * sound / (errors + sound))


def interval(value: float, drawn: Floats) -> str:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def table(title: str, problems: Sequence[Problem], solutions: Sequence[Solution], results: dict[str, Result]) -> None:
    """A row a rule. Intervals are bootstraps over problems, the same resamples for all rules."""
    names = [problem.id for problem in problems]
    weights = np.random.default_rng(0).multinomial(len(names), [1 / len(names)] * len(names), size=2000)
    base = results[BASE]
    base_f1 = f1_parts(solutions, base.labels, names)
    base_tokens = np.array([base.tokens[name] for name in names])
    print(f"\n{title}: {len(solutions)} solutions of {len(names)} problems")
    print(
        f"{'rule':30}{'F1':>21}{'by seed':>19}{'minus ' + BASE:>25}{'known':>7}{'rollouts':>10}{'tokens':>8}"
        f"{'times fewer tokens':>24}{'seconds':>9}"
    )
    for name, one in results.items():
        parts = f1_parts(solutions, one.labels, names)
        tokens = np.array([one.tokens[problem] for problem in names])
        seeds = " ".join(f"{f1(parts[seed::SEEDS].sum(axis=0)):.3f}" for seed in range(SEEDS))
        score, reference = f1(weights @ parts), f1(weights @ base_f1)
        ratio = base_tokens.sum() / tokens.sum()
        low, high = np.quantile((weights @ base_tokens) / (weights @ tokens), [0.025, 0.975])
        value = float(f1(parts.sum(axis=0)))
        known = sum(row.error_known for row in one.labels) / len(solutions)
        print(
            f"{name:30}{interval(value, score):>21}{seeds:>19}"
            f"{interval(value - float(f1(base_f1.sum(axis=0))), score - reference):>25}{known:>7.3f}"
            f"{one.rollouts.total() / len(solutions):>10.1f}{one.tokens.total() / len(solutions):>8.0f}"
            f"{f'{ratio:.1f} [{low:.1f}, {high:.1f}]':>24}{one.seconds:>9.1f}",
            flush=True,
        )


def decisions(
    name: str, config: LabelConfig, policy: MarkovPolicy, solutions: Sequence[Solution], labels: Sequence[Labels]
) -> None:
    """How often a test's decisions differ from the exact V < V0 / 2, by tenths of the estimated start rate."""
    seen: list[tuple[float, bool, bool]] = []
    masked = replace(config, undecided="mask")
    for solution, row in zip(solutions, labels, strict=True):
        rule, start = masked.stopping_rule(row.start), policy.value(solution.prefix.first(0))
        rate = (row.start.good + 1) / (row.start.tried + 2)
        for k, tally in enumerate(row.tallies[:-1], start=1):
            alive = rule.alive(tally)
            if alive is not None:
                seen.append((rate, alive, policy.value(solution.prefix.first(k)) >= start / 2))
    print(f"\n{name}: decided steps against exact values; nominal {config.nominal} each way")
    print(f"{'start rate':>14}{'steps':>8}{'alive called dead':>30}{'dead called alive':>30}")
    for part in tenths(seen):
        wrong = [
            wilson(sum(said != truth for said, truth in rows), len(rows))
            for rows in ([(s, t) for _, s, t in part if t], [(s, t) for _, s, t in part if not t])
        ]
        shown = "".join(f"{one!s:>30}" for one in wrong)
        print(f"{part[0][0]:>7.2f}-{part[-1][0]:.2f} {len(part):>8}{shown}", flush=True)


def misplaced(name: str, policy: MarkovPolicy, solutions: Sequence[Solution], labels: Sequence[Labels]) -> None:
    """How often a first error is not where a belief puts it, beside how often it said so, by tenths of the start rate."""
    seen: list[tuple[float, float, bool, bool]] = []
    for solution, row in zip(solutions, labels, strict=True):
        bar = policy.value(solution.prefix.first(0)) / 2
        steps = range(len(solution.prefix.steps))
        dead = next((k for k in steps if policy.value(solution.prefix.first(k + 1)) < bar), None)
        rate = (row.start.good + 1) / (row.start.tried + 2)
        said = sum(row.bounds or ())
        seen.append((rate, said, row.error != dead, row.error != first_error(check(solution.prefix))))
    print(f"\n{name}: the chance of another first error, as it was said and as it is")
    print(f"{'start rate':>14}{'solutions':>11}{'said':>7}{'by exact values':>30}{'by the checker':>30}")
    for part in tenths(seen):
        nominal = sum(said for _, said, _, _ in part) / len(part)
        wrong = (wilson(sum(one[place] for one in part), len(part)) for place in (2, 3))
        shown = "".join(f"{one!s:>30}" for one in wrong)
        print(f"{part[0][0]:>7.2f}-{part[-1][0]:.2f} {len(part):>11}{nominal:>7.3f}{shown}", flush=True)


def tenths(seen: Sequence[Seen]) -> Iterator[Sequence[Seen]]:
    """The rows by the start rate, which is their first entry, in ten parts of equal size; none is empty."""
    rows = sorted(seen, key=lambda one: one[0])
    parts = (rows[len(rows) * tenth // 10 : len(rows) * (tenth + 1) // 10] for tenth in range(10))
    return (part for part in parts if part)


@contextmanager
def folder_for(kept: Path | None, title: str) -> Iterator[Path]:
    """A folder for a table's files: one that stays, or one for now."""
    if kept is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    folder = kept / title.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tier", choices=["a", "b"], default="a")
    parser.add_argument("--problems", type=int, default=180, help="of all seeds together")
    parser.add_argument("--labelled", type=int, default=SOLUTIONS, help="solutions of a problem that are labelled")
    parser.add_argument("--keep", type=Path, help="folder where the draws stay")
    asked = parser.parse_args()
    problems, closed = fresh(asked.problems), MarkovPolicy()
    writers: dict[str, Policy] = {"no shared steps": Unshared(closed), "steps shared as they come": closed}
    rules: Sequence[str] = tuple(RULES)
    if asked.tier == "b":
        from gradatim.solutions.local import load_policy

        writers, rules = {"language model": load_policy("lab")}, TIER_B
    for title, writer in writers.items():
        with folder_for(asked.keep, title) as folder:
            solutions = sampled(writer, problems, folder)
            results = labelled(writer, problems, solutions, rules, asked.labelled, folder)
        few = [one for one in solutions if one.draw < asked.labelled]
        table(title, problems, few, results)
        if asked.tier == "a":
            for rule in ("bisection, sprt", "bisection, posterior"):
                decisions(rule, RULES[rule], closed, few, results[rule].labels)
            misplaced("informed", closed, few, results["informed"].labels)


if __name__ == "__main__":
    main()
