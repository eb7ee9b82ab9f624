"""Labels and preference pairs that need nothing but each solution's verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

from gradatim.core import Labels, Pair, Prefix, Solution, Tally, Verdict, seed_for
from gradatim.errors import ConfigError
from gradatim.labels.others import own_tally


def outcome_labels(solutions: Iterable[Solution], *, by: str) -> list[Labels]:
    """Each solution's outcome as the tally of its last step; nothing is said of the others (tally (0, 0)).

    An unread or cut-off solution is tried, not good and lost; one that was never verified has nothing tried. `by`
    names the verifier.
    """
    labelled = []
    for solution in solutions:
        steps = len(solution.prefix.steps)
        own = own_tally(solution.finish, solution.verdict)
        tallies = (*[Tally()] * (steps - 1), own) if steps else ()
        labelled.append(
            Labels(
                solution_id=solution.id,
                tallies=tallies,
                truth="value",
                source="exact",
                by=by,
                rule="outcome",
                start=Tally(),
            )
        )
    return labelled


def outcome_pairs(
    solutions: Iterable[Solution], *, per_problem: int = 16, seed: int = 0
) -> tuple[list[Pair], Counter[str]]:
    """Preference pairs: a correct solution of a problem before an incorrect one of the same problem.

    At most `per_problem` pairs of a problem, drawn without replacement from all that are possible, the same for the
    same seed whatever other problems there are. Solutions that say the same are one; unread and cut-off ones are in no
    pair, since nobody found them wrong. Returns the pairs, and counts of what gave none: solutions that were "unread",
    "unverified" or "repeated", and problems "all correct", "all incorrect" or "without verdicts".
    """
    if per_problem < 1:
        raise ConfigError(f"per_problem={per_problem}; expected at least 1")
    counts: Counter[str] = Counter()
    sides: dict[str, tuple[dict[Prefix, None], dict[Prefix, None]]] = {}
    for solution in solutions:
        right, wrong = sides.setdefault(solution.prefix.problem_id, ({}, {}))
        if solution.verdict is None:
            counts["unverified"] += 1
        elif solution.verdict == Verdict.UNPARSED or solution.finish == "length":
            counts["unread"] += 1
        else:
            side = right if solution.verdict == Verdict.CORRECT else wrong
            counts["repeated"] += solution.prefix in side
            side[solution.prefix] = None
    pairs: list[Pair] = []
    for problem_id, (right, wrong) in sides.items():
        if right and wrong:
            pairs += _drawn(list(right), list(wrong), per_problem, Random(seed_for(seed, "pairs", problem_id)))
        else:
            counts["all correct" if right else "all incorrect" if wrong else "without verdicts"] += 1
    return pairs, +counts


def _drawn(right: Sequence[Prefix], wrong: Sequence[Prefix], most: int, random: Random) -> list[Pair]:
    """`most` of all pairs, or all, in the order of the solutions."""
    possible = len(right) * len(wrong)
    chosen = sorted(random.sample(range(possible), most)) if possible > most else range(possible)
    return [Pair(right[index // len(wrong)], wrong[index % len(wrong)]) for index in chosen]
