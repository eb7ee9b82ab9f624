"""Materials -> lessons: encoded, too long ones counted, split by problem, grown into trees."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b

from gradatim import records, trees
from gradatim.core import Prefix
from gradatim.errors import InputError
from gradatim.models.encoding import Encoding, StepEncoder
from gradatim.models.forward import tree_depth
from gradatim.models.model import RewardModel
from gradatim.train.config import TrainConfig
from gradatim.train.lessons import Grower, Lesson, Match, Tokens, from_evidence, from_matches
from gradatim.train.loop import block_size
from gradatim.train.materials import Materials
from gradatim.train.split import chosen_problems, held_out_problems


@dataclass(frozen=True, slots=True)
class Item:
    """An example or a pair in tokens, and the problem that it belongs to."""

    problem: str
    learnt: Tokens | Match

    @property
    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """The token sequences that the model has to see for it."""
        return (self.learnt.ids,) if isinstance(self.learnt, Tokens) else (self.learnt.chosen, self.learnt.rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the loop takes, and the counts that go into the report."""

    lessons: list[Lesson]
    """The training part."""
    held_out: list[Lesson]
    """The part kept apart."""
    problems: int
    """Problems in the training part."""
    held_out_problems: int
    """Problems kept apart."""
    read: int
    """Rows read."""
    used: int
    """Rows in either part."""
    drops: Counter[str]
    """Rows in neither, by reason."""
    distinct_tokens: int
    """Tokens of the one tree of everything: what an epoch has to compute at least."""
    separate_tokens: int
    """Tokens of everything as separate sequences."""
    constant_loss: float
    """Loss of the best constant prediction on the held-out part (on the training part if nothing is kept apart)."""
    notes: tuple[str, ...]
    """What was done in another way than usual, and why."""


def prepare(config: TrainConfig, materials: Materials, model: RewardModel) -> Prepared:
    """Make lessons of both parts. InputError for a solution that is too long, unless those are dropped and counted."""
    drops = Counter(materials.drops)
    materials = _chosen(config, materials, drops)
    items = _matches(config, materials, model, drops) if materials.pairs else _tokens(config, materials, model, drops)
    if not items:
        dropped = ", ".join(f"{count} x {reason}" for reason, count in drops.items()) or "no rows"
        raise InputError(f"nothing is left to learn from: {dropped}", fix="see what was left out, and why")
    problems = dict.fromkeys(item.problem for item in items)
    apart = held_out_problems(list(problems), config.held_out, config.seed)
    sequences = [sequence for item in items for sequence in item.sequences]
    longest, depth = max(map(len, sequences)), tree_depth(model.module)
    size = block_size(model.module, config.fit)
    grow: Grower = partial(trees.build, budget=size) if longest <= depth else trees.chains
    note = f"no trees: the attention of this backbone takes trees up to {depth} deep, not {longest}"
    lessons = _lessons(config, [item for item in items if item.problem not in apart], grow, size)
    held_out = _lessons(config, [item for item in items if item.problem in apart], grow, size)
    return Prepared(
        lessons=lessons,
        held_out=held_out,
        problems=len(problems) - len(apart),
        held_out_problems=len(apart),
        read=materials.rows,
        used=len(items),
        drops=drops,
        distinct_tokens=trees.distinct_tokens(sequences),
        separate_tokens=sum(map(len, sequences)),
        constant_loss=constant_loss(held_out or lessons),
        notes=() if longest <= depth else (note,),
    )


def constant_loss(lessons: Sequence[Lesson]) -> float:
    """The mean loss of the best constant: what a model that looks at nothing reaches. Pairs without margin: ln 2."""
    matches = [match for lesson in lessons for match in lesson.matches]
    if matches:
        losses = [weight * math.log1p(math.exp(margin)) for _, _, margin, weight in matches]
        return sum(losses) / sum(weight for *_, weight in matches)
    evidence = [evidence for lesson in lessons for evidence in lesson.evidence]
    good, bad = sum(e.good for e in evidence), sum(e.bad for e in evidence)
    return -sum(part / (good + bad) * math.log(part / (good + bad)) for part in (good, bad) if part)


def content(lessons: Sequence[Lesson]) -> str:
    """16 hex digits of everything in some lessons."""
    digest = blake2b(digest_size=8)
    for lesson in lessons:
        for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True):
            for numbers in (block.ids, block.depth, nodes):
                digest.update(array("q", [len(numbers), *numbers]).tobytes())
        digest.update(repr((lesson.evidence, lesson.matches)).encode())
    return digest.hexdigest()


def _chosen(config: TrainConfig, materials: Materials, drops: Counter[str]) -> Materials:
    """The materials of as many problems as are asked for; the rest is counted."""
    if config.problems is None:
        return materials
    kept = chosen_problems(problems := materials.problems, config.problems, config.seed)
    if left_out := sum(problem not in kept for problem in problems):
        drops[f"not of the {config.problems} chosen problems"] = left_out
    return replace(
        materials,
        examples=tuple(e for e, problem in zip(materials.examples, problems, strict=False) if problem in kept),
        pairs=tuple(p for p, problem in zip(materials.pairs, problems, strict=False) if problem in kept),
    )


def _tokens(config: TrainConfig, materials: Materials, model: RewardModel, drops: Counter[str]) -> list[Item]:
    """Each example up to the last token at which it has evidence: what comes after can't change anything."""
    items = []
    encodings = _encoded([example.prefix for example in materials.examples], config, model)
    for example, problem, encoding in zip(materials.examples, materials.problems, encodings, strict=True):
        if isinstance(encoding, str):
            drops[encoding] += 1
            continue
        reads = encoding.reads if model.kind == "prm" else (encoding.last,)
        found = zip(reads, example.evidence, strict=True)
        evidence = tuple((read, owed) for read, owed in found if read is not None and owed is not None)
        ids = encoding.ids[: evidence[-1][0] + 1]
        items.append(Item(problem, Tokens(ids, evidence)))
    return items


def _matches(config: TrainConfig, materials: Materials, model: RewardModel, drops: Counter[str]) -> list[Item]:
    items = []
    encodings = iter(
        _encoded([side for pair in materials.pairs for side in (pair.chosen, pair.rejected)], config, model)
    )
    for pair, problem, chosen, rejected in zip(materials.pairs, materials.problems, encodings, encodings, strict=True):
        if isinstance(chosen, str) or isinstance(rejected, str):
            drops[chosen if isinstance(chosen, str) else str(rejected)] += 1
        elif chosen.ids == rejected.ids:
            drops["two sides alike in tokens"] += 1
        else:
            items.append(Item(problem, Match(chosen.ids, rejected.ids, pair.margin)))
    return items


def _encoded(prefixes: Sequence[Prefix], config: TrainConfig, model: RewardModel) -> list[Encoding | str]:
    """Each prefix in tokens, or the reason why it is left out."""
    limit = min(config.max_length or math.inf, model.encoder.max_length or math.inf)
    # Without a limit of its own, so that what is too long can be told from what can't be written in tokens.
    encoder = StepEncoder(model.encoder.tokenizer, model.own_encoder.settings)
    found: list[Encoding | str] = []
    for prefix, encoding in zip(prefixes, encoder.try_encode(prefixes), strict=True):
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


def _lessons(config: TrainConfig, items: Sequence[Item], grow: Grower, size: int) -> list[Lesson]:
    if config.objective == "bradley-terry":
        matches = [item.learnt for item in items if isinstance(item.learnt, Match)]
        return from_matches(matches, config.weighting, grow, size)
    return from_evidence([item.learnt for item in items if isinstance(item.learnt, Tokens)], config.weighting, grow)
