"""Materials -> items: each example or pair in tokens, or counted with the reason why it is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradatim import records
from gradatim.core import Prefix
from gradatim.errors import InputError
from gradatim.models.encoding import Encoding, StepEncoder
from gradatim.models.step_spans import step_spans
from gradatim.train.config import TrainConfig
from gradatim.train.goals import IMPLICIT
from gradatim.train.lessons import Match, Spans, Tokens
from gradatim.train.materials import Materials
from gradatim.train.rankings import without_siblings
from gradatim.train.targets import Evidence


@dataclass(frozen=True, slots=True)
class Item:
    """An example or a pair in tokens, and what it is weighed by."""

    problem: str
    """The problem that it belongs to."""
    learnt: Tokens | Match
    """What is learnt from it."""
    steps: int
    """Steps that its author wrote (of a pair the chosen one's), observations left out."""
    source: int
    """Which of the sources it comes from."""

    @property
    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """The token sequences that the model has to see for it."""
        return (self.learnt.ids,) if isinstance(self.learnt, Tokens) else (self.learnt.chosen, self.learnt.rejected)

    def weighted(self, factor: float) -> Item:
        """The same with all that it owes multiplied."""
        return replace(self, learnt=replace(self.learnt, weight=factor * self.learnt.weight))


def items_of(config: TrainConfig, materials: Materials, encoder: StepEncoder, drops: Counter[str]) -> list[Item]:
    """Every example or pair that can be learnt from. InputError for one that is too long, unless those are to be dropped.

    `encoder.max_length` is what the model can take.
    """
    if materials.pairs:
        return _pairs(config, materials, encoder, drops)
    items = _examples(config, materials, encoder, drops)
    if config.objective != "sibling-ranking":
        return items
    alone = without_siblings([item.learnt for item in items if isinstance(item.learnt, Tokens)])
    if alone:
        drops["no step with a sibling that is labelled otherwise"] += len(alone)
    return [item for index, item in enumerate(items) if index not in alone]


def _examples(config: TrainConfig, materials: Materials, encoder: StepEncoder, drops: Counter[str]) -> list[Item]:
    """Each example up to the last token at which it has evidence: what comes after can't change anything."""
    items = []
    prefixes = [example.prefix for example in materials.examples]
    encodings = _encoded(prefixes, config, encoder)
    spans = _spans(prefixes, encodings, encoder) if config.objective in ("sibling-ranking", *IMPLICIT) else None
    problems, sources = materials.problems, materials.sources
    for index, (example, encoding) in enumerate(zip(materials.examples, encodings, strict=True)):
        if isinstance(encoding, str):
            drops[encoding] += 1
            continue
        steps = spans[index] if spans else ()
        if config.objective in IMPLICIT and not _written(example.prefix):
            drops["no step that its author wrote"] += 1
            continue
        if config.learns_outcomes:
            [owed] = example.evidence
            assert owed is not None
            learnt = _outcome(example.prefix, encoding, owed, steps)
        else:
            learnt = _process(encoding, example.evidence, steps)
        items.append(Item(problems[index], learnt, _written(example.prefix), sources[index]))
    return items


def _outcome(prefix: Prefix, encoding: Encoding, owed: Evidence, spans: Spans) -> Tokens:
    counted = _counted(prefix, spans)
    last = counted[-1][1] - 1 if counted else encoding.last
    return Tokens(encoding.ids[: last + 1], ((last, owed),), counted=counted)


def _process(encoding: Encoding, evidence: Sequence[Evidence | None], spans: Spans) -> Tokens:
    found = [
        (step, read, owed)
        for step, (read, owed) in enumerate(zip(encoding.reads, evidence, strict=True))
        if read is not None and owed is not None
    ]
    begins = tuple(spans[step][0] for step, *_ in found) if spans else ()
    return Tokens(encoding.ids[: found[-1][1] + 1], tuple((read, owed) for _, read, owed in found), begins)


def _pairs(config: TrainConfig, materials: Materials, encoder: StepEncoder, drops: Counter[str]) -> list[Item]:
    items = []
    prefixes = [side for pair in materials.pairs for side in (pair.chosen, pair.rejected)]
    encodings = _encoded(prefixes, config, encoder)
    spans = _spans(prefixes, encodings, encoder) if config.objective in IMPLICIT else [()] * len(prefixes)
    problems, sources = materials.problems, materials.sources
    for index, pair in enumerate(materials.pairs):
        chosen, rejected = encodings[2 * index : 2 * index + 2]
        if isinstance(chosen, str) or isinstance(rejected, str):
            drops[chosen if isinstance(chosen, str) else str(rejected)] += 1
        elif chosen.ids == rejected.ids:
            drops["two sides alike in tokens"] += 1
        elif config.objective in IMPLICIT and not (_written(pair.chosen) and _written(pair.rejected)):
            drops["no step that its author wrote"] += 1
        else:
            sides = ((pair.chosen, chosen, spans[2 * index]), (pair.rejected, rejected, spans[2 * index + 1]))
            a, b = (_outcome(prefix, encoding, Evidence(1, 0), steps) for prefix, encoding, steps in sides)
            learnt = Match(a.ids, b.ids, pair.margin, counted=(a.counted, b.counted))
            items.append(Item(problems[index], learnt, _written(pair.chosen), sources[index]))
    return items


def _written(prefix: Prefix) -> int:
    return sum(step.kind != "observation" for step in prefix.steps)


def _counted(prefix: Prefix, spans: Spans) -> Spans:
    """The spans of the steps that the author wrote. (A first token has no log-probability.)"""
    return tuple(
        (max(first, 1), after)
        for step, (first, after) in zip(prefix.steps, spans, strict=False)
        if step.kind != "observation"
    )


def _spans(prefixes: Sequence[Prefix], encodings: Sequence[Encoding | str], encoder: StepEncoder) -> list[Spans]:
    """The spans of each prefix's steps, () where it could not be encoded."""
    known = [(prefix, one) for prefix, one in zip(prefixes, encodings, strict=True) if isinstance(one, Encoding)]
    found = iter(step_spans(encoder, [prefix for prefix, _ in known], [encoding for _, encoding in known]))
    return [next(found) if isinstance(one, Encoding) else () for one in encodings]


def _encoded(prefixes: Sequence[Prefix], config: TrainConfig, encoder: StepEncoder) -> list[Encoding | str]:
    """Each prefix in tokens, or the reason why it is left out."""
    limit = min(config.max_length or math.inf, encoder.max_length or math.inf)
    # Without a limit of its own, so that what is too long can be told from what can't be written in tokens.
    unbounded = StepEncoder(encoder.tokenizer, encoder.settings)
    found: list[Encoding | str] = []
    for prefix, encoding in zip(prefixes, unbounded.try_encode(prefixes), strict=True):
        if isinstance(encoding, InputError):
            if not config.skip_bad:
                raise encoding
            found.append(records.reason(encoding))
        elif len(encoding.ids) <= limit:
            found.append(encoding)
        elif config.too_long == "drop":
            found.append(f"longer than {limit} tokens")
        else:
            raise InputError(
                f"a solution of problem {prefix.problem_id!r}, {len(prefix.steps)} steps that begin "
                f"{prefix.text[:60]!r}, is {len(encoding.ids)} tokens long",
                expected=f"at most {limit} tokens",
                fix="set too_long=drop to leave such solutions out and count them",
            )
    return found
