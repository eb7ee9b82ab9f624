from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core import Labels, Pair, Prefix, Solution, Step, Tally, Verdict
from gradatim.errors import ConfigError, InputError
from gradatim.train.targets import (
    Evidence,
    TargetConfig,
    first_error,
    outcome_examples,
    process_examples,
    step_evidence,
    usable_pairs,
)

GOOD, BAD = Evidence(1, 0), Evidence(0, 1)


def solution(n: int, verdict: Verdict | None = None, kinds: dict[int, str] | None = None) -> Solution:
    kinds = kinds or {}
    steps = tuple(Step(f"step {index}\n", kinds.get(index, "reasoning")) for index in range(n))
    return Solution(prefix=Prefix("p", "How many?", steps), author="test", draw=0, verdict=verdict)


def rated(*ratings: int | None, error: int | None = None, known: bool = False) -> Labels:
    votes = tuple(Tally() if rating is None else Tally(int(rating >= 0), 1) for rating in ratings)
    return Labels(
        solution_id="s",
        tallies=votes,
        error=error,
        error_known=known,
        truth="validity",
        source="human",
        by="people",
        ratings=ratings,
    )


def tallied(*tallies: tuple[int, int], start: Tally = Tally()) -> Labels:  # noqa: B008 - frozen
    counts = tuple(Tally(good, tried) for good, tried in tallies)
    return Labels(solution_id="s", tallies=counts, truth="value", source="rollouts", by="policy", start=start)


def test_three_kinds_of_targets_from_counts() -> None:
    """3 of 8 is (1, 0) hard by "any", (.375, .625) soft and (3, 5) binomial; an unseen step has no evidence."""
    labels = tallied((8, 8), (0, 0), (3, 8))
    want = {
        "hard": (GOOD, None, GOOD),
        "soft": (GOOD, None, Evidence(0.375, 0.625)),
        "binomial": (Evidence(8, 0), None, Evidence(3, 5)),
    }

    found = {kind: step_evidence(solution(3), labels, TargetConfig(target=kind)) for kind in want}  # type: ignore[arg-type]

    assert found == want


@pytest.mark.parametrize(
    ("config", "want"),
    [
        (TargetConfig(target="hard", rule="any"), (GOOD, GOOD, GOOD, BAD)),
        (TargetConfig(target="hard", rule="relative"), (GOOD, GOOD, BAD, None)),
        (TargetConfig(target="hard", rule="threshold", threshold=0.75), (GOOD, BAD, None, None)),
    ],
)
def test_rules_say_when_a_tally_is_good(config: TargetConfig, want: tuple[Evidence | None, ...]) -> None:
    """Any success; half of the start's rate (here .4, so .2); or a fixed rate, met with equality. The mask follows."""
    labels = tallied((6, 8), (2, 8), (1, 8), (0, 8), start=Tally(4, 10))

    assert step_evidence(solution(4), labels, config) == want


def test_a_dead_step_is_never_good_by_the_relative_rule() -> None:
    """0 of 8 is bad even where the problem's own rate was 0."""
    labels = tallied((0, 8), start=Tally(0, 8))

    assert step_evidence(solution(1), labels, TargetConfig(target="hard", rule="relative")) == (BAD,)


def test_relative_rule_without_a_start_names_the_solution() -> None:
    """Rule "relative" can't guess the problem's own rate."""
    with pytest.raises(InputError, match=r"solution s .*relative"):
        step_evidence(solution(1), tallied((1, 8)), TargetConfig(rule="relative"))


@pytest.mark.parametrize(("neutral", "want"), [("good", GOOD), ("bad", BAD), ("skip", None)])
def test_neutral_is_read_in_one_place(neutral: str, want: Evidence | None) -> None:
    """A human 0 counts as asked; unrated steps never count; -1 and 1 are fixed. One that is bad is the first error."""
    config = TargetConfig(neutral=neutral, mask_after_error=False)  # type: ignore[arg-type]
    masked = dataclasses.replace(config, mask_after_error=True)
    labels = rated(1, 0, None, -1, error=3, known=True)

    assert step_evidence(solution(4), labels, config) == (GOOD, want, None, BAD)
    assert step_evidence(solution(4), labels, masked) == (GOOD, want, None, None if neutral == "bad" else BAD)


@pytest.mark.parametrize(("rule", "want"), [("any", (GOOD, GOOD, BAD, None)), ("relative", (GOOD, BAD, None, None))])
def test_hard_labels_and_their_first_error_are_by_one_rule(rule: str, want: tuple[Evidence | None, ...]) -> None:
    """Counts can be read by another rule than the labeller's, whose error (here by "relative") then says nothing: 1 of 8
    is good by "any". The bar is half of the start's (6 + 1) / (8 + 2)."""
    counts = tallied((7, 8), (1, 8), (0, 8), (5, 8), start=Tally(6, 8))
    labels = dataclasses.replace(counts, error=1, error_known=True)

    assert step_evidence(solution(4), labels, TargetConfig(target="hard", rule=rule)) == want  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted), min_size=1, max_size=6),
    st.sampled_from(["any", "relative", "threshold"]),
    st.booleans(),
    st.data(),
)
def test_hard_labels_are_good_up_to_the_one_bad_step(
    counts: list[list[int]], rule: str, stopped: bool, data: st.DataObject
) -> None:
    """Whatever the labeller tested and said: under the mask right steps come first, then at most one wrong one, which is
    the first error, then nothing."""
    error = data.draw(st.one_of(st.none(), st.integers(0, len(counts) - 1)))
    known = data.draw(st.booleans())
    labels = dataclasses.replace(
        tallied(*((good, tried) for good, tried in counts), start=Tally(2, 4)),
        error=error if known else None,
        error_known=known,
        optional_stopping=stopped,
    )
    config = TargetConfig(target="hard", rule=rule)  # type: ignore[arg-type]

    seen = [found for found in step_evidence(solution(len(counts)), labels, config) if found]

    assert BAD not in seen[:-1]
    if BAD in seen:
        assert (
            step_evidence(solution(len(counts)), labels, config)[first_error(solution(len(counts)), labels, config)]
            == BAD
        )  # type: ignore[index]


def test_what_a_judge_found_to_be_the_first_error_is_bad() -> None:
    """Votes of several are no counts of continuations: 1 of 2 for the step that they call the first error is not good."""
    votes = dataclasses.replace(tallied((2, 2), (1, 2), (2, 2)), source="judge", error=1, error_known=True)

    assert step_evidence(solution(3), votes, TargetConfig(target="hard")) == (GOOD, BAD, None)
    assert step_evidence(solution(3), votes, TargetConfig(target="hard", mask_after_error=False)) == (GOOD, BAD, GOOD)


@pytest.mark.parametrize("known", [True, False])
def test_ratings_after_the_first_error_are_masked_or_kept(known: bool) -> None:
    """Rows that go on after the first -1: the mask hides what follows it, whether or not the reader noted the error."""
    labels = rated(1, -1, 1, -1, error=1 if known else None, known=known)

    masked = step_evidence(solution(4), labels, TargetConfig())
    kept = step_evidence(solution(4), labels, TargetConfig(mask_after_error=False))

    assert masked == (GOOD, BAD, None, None)
    assert kept == (GOOD, BAD, GOOD, BAD)


def test_a_known_absence_of_errors_masks_nothing() -> None:
    """error=None with error_known means that there is none, whatever the tallies look like."""
    labels = dataclasses.replace(tallied((4, 4), (0, 4), (4, 4)), error_known=True)

    assert first_error(solution(3), labels, TargetConfig()) is None
    assert None not in step_evidence(solution(3), labels, TargetConfig())


def test_what_a_bisection_did_not_test_follows_from_the_error_that_it_found() -> None:
    """A step without rollouts is good before the first error and bad where it is; counts are only what was counted."""
    tallies = ((0, 0), (6, 8), (0, 0), (0, 0), (0, 8))
    known = dataclasses.replace(tallied(*tallies, start=Tally(4, 8)), error=3, error_known=True)
    clean = dataclasses.replace(tallied((0, 0), (6, 8), (0, 0), start=Tally(4, 8)), error_known=True)
    unknown = dataclasses.replace(known, error=None, error_known=False)
    hard, counts = TargetConfig(target="hard", rule="relative"), TargetConfig()

    assert step_evidence(solution(5), known, hard) == (GOOD, GOOD, GOOD, BAD, None)
    assert step_evidence(solution(3), clean, hard) == (GOOD, GOOD, GOOD)
    assert step_evidence(solution(5), unknown, hard) == (None, GOOD, None, None, BAD)
    assert step_evidence(solution(5), known, counts) == (None, Evidence(6, 2), None, None, None)


@pytest.mark.parametrize(
    ("error", "known", "hard"),
    [
        (2, True, (GOOD, GOOD, BAD, None)),
        (None, True, (GOOD,) * 4),
        (None, False, (None,) * 4),
        (0, True, (BAD, *[None] * 3)),
    ],
)
def test_rates_on_which_a_test_stopped_are_no_targets(
    error: int | None, known: bool, hard: tuple[Evidence | None, ...]
) -> None:
    """Counts are learned from as they are; hard targets come from what the labeller decided, and from nothing where it
    did not, whatever the rates look like; soft ones are refused."""
    labels = dataclasses.replace(
        tallied((1, 9), (0, 0), (1, 1), (0, 0), start=Tally(1, 2)),
        error=error,
        error_known=known,
        optional_stopping=True,
        rule="sprt",
    )
    counts = step_evidence(solution(4), labels, TargetConfig(mask_after_error=False))

    assert counts == (Evidence(1, 8), None, Evidence(1, 0), None)
    for config in (TargetConfig(target="hard"), TargetConfig(target="hard", mask_after_error=False)):
        assert step_evidence(solution(4), labels, config) == hard
    with pytest.raises(InputError, match=r"sprt.*binomial"):
        step_evidence(solution(4), labels, TargetConfig(target="soft"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted), min_size=1, max_size=8))
def test_the_mask_hides_exactly_the_steps_after_the_first_bad_one(counts: list[list[int]]) -> None:
    """With the mask: evidence up to and with the first bad step equals that without it, and nothing after."""
    labels = tallied(*((good, tried) for good, tried in counts))
    free = step_evidence(solution(len(counts)), labels, TargetConfig(mask_after_error=False))
    masked = step_evidence(solution(len(counts)), labels, TargetConfig())
    dead = [index for index, (good, tried) in enumerate(counts) if tried and not good]
    seen = dead[0] + 1 if dead else len(counts)

    assert masked[:seen] == free[:seen]
    assert set(masked[seen:]) <= {None}


def test_observations_never_have_evidence() -> None:
    """What the environment wrote is context, even if a tally or a rating came with it."""
    acted = solution(3, kinds={1: "observation"})

    assert step_evidence(acted, rated(1, 1, 1), TargetConfig()) == (GOOD, None, GOOD)
    assert step_evidence(acted, tallied((2, 2), (2, 2), (2, 2)), TargetConfig(target="soft")) == (GOOD, None, GOOD)


def test_labels_that_do_not_match_the_steps_are_an_error() -> None:
    """Two tallies for three steps name the solution and both numbers."""
    with pytest.raises(InputError, match="3 steps and 2 tallies"):
        step_evidence(solution(3), tallied((1, 1), (1, 1)), TargetConfig())


def test_solutions_without_evidence_are_counted() -> None:
    """A solution in which nobody looked at any step is dropped with its reason."""
    drops: Counter[str] = Counter()
    labelled = [(solution(1), tallied((0, 0))), (solution(1), tallied((1, 2))), (solution(0), tallied())]

    examples = process_examples(labelled, TargetConfig(), drops)

    assert [example.evidence for example in examples] == [(Evidence(1, 1),)]
    assert drops == {"no labelled step": 2}


def test_unread_answers_are_zero_unless_dropped() -> None:
    """Unparsed or cut off is no success; it is left out only if asked, and then counted. No verdict is no target."""
    solutions = [solution(2, verdict) for verdict in (Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED, None)]
    solutions.append(dataclasses.replace(solution(2, Verdict.CORRECT), finish="length"))
    solutions.append(solution(0, Verdict.CORRECT))
    drops: dict[str, Counter[str]] = {"zero": Counter(), "drop": Counter()}

    targets = {
        unread: [e.evidence for e in outcome_examples(solutions, TargetConfig(unread=unread), drops[unread])]  # type: ignore[arg-type]
        for unread in drops
    }

    assert targets == {"zero": [(GOOD,), (BAD,), (BAD,), (BAD,)], "drop": [(GOOD,), (BAD,)]}
    assert drops["zero"] == {"no verdict": 1, "no steps": 1}
    assert drops["drop"] == {"no verdict": 1, "no steps": 1, "unread answer": 2}


def test_pairs_that_teach_nothing_are_counted() -> None:
    """An empty side or two equal sides are dropped with their reasons."""
    a, b, empty = (Prefix("p", "?", steps) for steps in ((Step("a"),), (Step("b"),), ()))
    drops: Counter[str] = Counter()

    assert usable_pairs([Pair(a, b), Pair(a, a), Pair(a, empty)], drops) == [Pair(a, b)]
    assert drops == {"identical pair": 1, "no steps": 1}


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_a_threshold_is_a_rate(threshold: float) -> None:
    """Thresholds outside (0, 1] are refused."""
    with pytest.raises(ConfigError, match="threshold"):
        TargetConfig(threshold=threshold)


def test_the_recipe_names_every_setting() -> None:
    """What a checkpoint records is enough to make the same config again."""
    config = TargetConfig(target="soft", neutral="skip", mask_after_error=False)

    assert TargetConfig(**config.recipe()) == config  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step_weight", "want"),
    [
        ("step", (Evidence(2, 2), None, Evidence(0, 4))),
        ("solution", (Evidence(1, 1), None, Evidence(0, 2))),
        ("position", (Evidence(4 / 3, 4 / 3), None, Evidence(0, 16 / 3))),
    ],
)
def test_steps_are_weighed_within_their_solution(step_weight: str, want: tuple[Evidence | None, ...]) -> None:
    """As they are; over the number of labelled steps; or by 2t / (n + 1), which is 1 on average."""
    config = TargetConfig(step_weight=step_weight, mask_after_error=False)  # type: ignore[arg-type]

    [example] = process_examples([(solution(3), tallied((2, 4), (0, 0), (0, 4)))], config, Counter())

    assert example.evidence == want


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_a_positive_weight_is_above_zero(weight: float) -> None:
    """Weights that are none are refused."""
    with pytest.raises(ConfigError, match="positive_weight"):
        TargetConfig(positive_weight=weight)
