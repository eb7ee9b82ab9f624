"""Does the same solution get the same score, however it is computed, and the one that was recorded?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from gradatim.core import Score
from gradatim.errors import ConfigError
from gradatim.models.encoding import Encoding
from gradatim.models.forward import body_of, head_of, logits_at
from gradatim.score.checks.golden import Golden
from gradatim.score.checks.patient import Finding, Patient, gap, numbers
from gradatim.score.checks.probes import ORDINARY


def company_changes_nothing(patient: Patient) -> Finding:
    """Alone, in another order, twice over or in small batches, a solution has one score."""
    order = list(range(len(ORDINARY)))
    Random(0).shuffle(order)
    shuffled = patient.fresh().score([ORDINARY[index] for index in order])
    back = [shuffled[order.index(index)] for index in range(len(order))]
    gaps = {
        "one at a time": patient.apart([patient.fresh().score([prefix])[0] for prefix in ORDINARY]),
        "in another order": patient.apart(back),
        "twice over": patient.apart(patient.fresh().score([*ORDINARY] * 2), [*patient.ordinary] * 2),
        "in small batches": patient.apart(patient.fresh(batch_tokens=64, block_tokens=64).score(ORDINARY)),
    }
    return _agreed(patient, gaps)


def paths_agree(patient: Patient) -> Finding:
    """Shared beginnings computed once, rows of their own, and step by step with what was kept: all the same."""
    steps = patient.fresh()
    grown: list[Score] = []
    for prefix in ORDINARY:
        for k in range(1, len(prefix.steps) + 1):
            (last,) = steps.score([prefix.first(k)])
        grown.append(last)
    gaps = {
        "in one tree": patient.apart(patient.fresh().score(ORDINARY)),
        "step by step": patient.apart(grown),
        "padded rows": patient.apart(patient.fresh(use_trees=False).score(ORDINARY)),
    }
    return _agreed(patient, gaps)


def padding_side(patient: Patient) -> Finding:
    """The tokenizer's padding side changes no score, and the transformer itself heeds its padding mask on both sides."""
    tokenizer = patient.encoder.tokenizer
    before, gaps = tokenizer.padding_side, {}
    try:
        for side in ("left", "right"):
            tokenizer.padding_side = side
            gaps[f"tokenizer pads {side}"] = patient.apart(patient.fresh(use_trees=False).score(ORDINARY))
    finally:
        tokenizer.padding_side = before
    rows = [encoding.ids for encoding in patient.encoder.encode_many(ORDINARY[:4])]
    width = max(map(len, rows))
    try:
        for side in ("left", "right"):
            starts = [width - len(row) if side == "left" else 0 for row in rows]
            alone = [_logits(patient, [row], [start])[0] for row, start in zip(rows, starts, strict=True)]
            together = _logits(patient, rows, starts, width)
            gaps[f"transformer padded {side}"] = max(
                gap(a, b, patient.scale) for a, b in zip(together, alone, strict=True)
            )
    except (ConfigError, TypeError) as error:
        return Finding("not applicable", f"the transformer takes no mask and positions ({error})")
    return _agreed(patient, gaps)


def _logits(
    patient: Patient, rows: Sequence[tuple[int, ...]], starts: Sequence[int], width: int | None = None
) -> list[list[float]]:
    """The logit at every token of rows that begin at these positions: alone (no width), or padded to a width.

    Positions count padding too, so that only the mask tells what it is, and padding is a token that matters if seen.
    """
    body, device = body_of(patient.model.module), patient.model.device
    shape = len(rows), width or len(rows[0])
    ids, mask = torch.full(shape, rows[0][-1]), torch.zeros(shape, dtype=torch.long)
    begins = [start if width else 0 for start in starts]
    for index, (begin, row) in enumerate(zip(begins, rows, strict=True)):
        ids[index, begin : begin + len(row)] = torch.tensor(row)
        mask[index, begin : begin + len(row)] = 1
    positions = torch.arange(shape[1]).expand(shape) + (0 if width else starts[0])
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    with torch.inference_mode():
        states = body(**{key: value.to(device) for key, value in given.items()}, use_cache=False).last_hidden_state
        logits = logits_at(patient.model.module, states)
    pairs = enumerate(zip(begins, rows, strict=True))
    return [logits[index, begin : begin + len(row)].tolist() for index, (begin, row) in pairs]


def by_hand(patient: Patient, encoding: Encoding) -> tuple[float, ...] | None:
    """The logits by the straightforward way: the whole solution alone, no mask, the head's own weights.

    None for a model that is not read at single tokens, or whose head is more than linear layers with ReLU between.
    """
    reads = patient.reads(encoding)
    try:
        body, layers = body_of(patient.model.module), _layers(head_of(patient.model.module))
    except ConfigError:
        return None
    if reads is None or layers is None:
        return None
    with torch.inference_mode():
        ids = torch.tensor([encoding.ids], device=patient.model.device)
        out = body(input_ids=ids, use_cache=False).last_hidden_state[0, list(reads)]
        for layer in layers:
            out = out.clamp_min(0) if isinstance(layer, nn.ReLU) else _linear(layer, out)
    return tuple((out[:, 1] - out[:, 0] if out.shape[1] == 2 else out[:, 0]).tolist())


def _layers(head: nn.Module) -> list[Any] | None:
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    plain = all(type(layer) in (nn.Linear, nn.ReLU) for layer in layers) and isinstance(layers[-1], nn.Linear)
    return layers if plain and not any(layer._forward_hooks for layer in layers) else None


def _linear(layer: nn.Linear, out: Tensor) -> Tensor:
    out = (out.to(layer.weight.dtype) @ layer.weight.T).float()
    return out if layer.bias is None else out + layer.bias.float()


def plain_forward(patient: Patient) -> Finding:
    """The logits are the head's, on the hidden states of one solution alone in a plain forward pass of transformers."""
    encodings = patient.encoder.encode_many(ORDINARY)
    expected = [by_hand(patient, encoding) for encoding in encodings]
    if any(row is None for row in expected):
        return Finding("not applicable", "the model has a head, or a way to be read, that can't be done by hand")
    found = [tuple(x for x in numbers(score) if not math.isnan(x)) for score in patient.ordinary]
    worst = max(gap(row or (), other, patient.scale) for row, other in zip(expected, found, strict=True))
    return _agreed(patient, {f"{len(ORDINARY)} solutions by hand": worst})


def golden_scores(patient: Patient) -> Finding:
    """What was recorded is what is said now."""
    golden = patient.golden
    if not golden:
        return Finding("not applicable", "none given; record some where the model is known to be right")
    refused = [error for error in patient.scorer.refused([one.prefix for one in golden]) if error is not None]
    if refused:
        return Finding("fail", f"{len(refused)} of {len(golden)} solutions are refused: {refused[0].found}")
    scores = patient.scorer.score([one.prefix for one in golden])
    apart = [_from_golden(one, score) for one, score in zip(golden, scores, strict=True)]
    spread, worst = _spread(golden), max(apart)
    wrong = sum(not one <= patient.rounding * min(1.0, spread) for one in apart) if spread else 0
    digests = sorted({one.encoder for one in golden if one.encoder} - {patient.encoder.digest})
    other = f"; recorded with steps@{digests[0]}, encoded now with steps@{patient.encoder.digest}" if digests else ""
    if wrong:
        told = f"{wrong} of {len(golden)} solutions differ, by up to {worst:.2g} ({golden[apart.index(worst)].place})"
        return Finding("fail", f"{told}{_hint(golden, scores, patient)}{other}")
    told = f"{len(golden)} solutions within {worst:.2g}; recorded scores spread over {spread:.2g}"
    if not spread:
        return Finding("not applicable", f"{told}: equal scores prove nothing{other}")
    return Finding("fail" if digests else "pass", f"{told}{other}")


def _from_golden(one: Golden, score: Score) -> float:
    steps = gap(one.steps, score.steps) if one.steps else 0.0
    return max(steps, 0.0 if math.isnan(one.value) else gap((one.value,), (score.value,)))


def _recorded(golden: Iterable[Golden]) -> list[float]:
    return [x for one in golden for x in (one.steps or (one.value,)) if not math.isnan(x)]


def _spread(golden: Sequence[Golden]) -> float:
    seen = _recorded(golden)
    return max(seen) - min(seen) if seen else 0.0


def _hint(golden: Sequence[Golden], scores: Sequence[Score], patient: Patient) -> str:
    """A guess at what went wrong: scores that mirror the recorded ones are those of the other label."""
    if patient.model.activation == "sigmoid":
        pairs = [
            (x, 1 - y)
            for one, score in zip(golden, scores, strict=True)
            for x, y in zip(one.steps or (one.value,), score.steps if one.steps else (score.value,), strict=False)
            if not math.isnan(x)
        ]
        if pairs and all(gap((x,), (y,)) <= patient.rounding for x, y in pairs):
            return "; each is 1 minus what was recorded: the labels are swapped"
    return ""


def _agreed(patient: Patient, gaps: dict[str, float]) -> Finding:
    told = ", ".join(f"{way}: {value:.1g}" for way, value in gaps.items())
    bad = max(gaps.values()) > patient.rounding
    return Finding("fail" if bad else "pass", f"largest difference, {told} (allowed: {patient.rounding:g})")
