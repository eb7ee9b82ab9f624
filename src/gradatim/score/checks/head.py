"""Are these the weights of the checkpoint, are the labels the right way round, and is a score made from a logit once?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradatim.core import Score
from gradatim.errors import ConfigError
from gradatim.models import checkpoint
from gradatim.models.formats.contract import Facts
from gradatim.models.forward import head_of
from gradatim.records import digest
from gradatim.score.checks.agreement import by_hand
from gradatim.score.checks.patient import Finding, Patient, changed, gap, numbers
from gradatim.score.checks.probes import ORDINARY, QUADRUPLES, crossed

BAD_NAMES = frozenset({"bad", "incorrect", "wrong", "negative", "neg", "false", "no", "-", "rejected", "error"})
GOOD_NAMES = frozenset({"good", "correct", "right", "positive", "pos", "true", "yes", "+", "chosen", "ok"})

SURE = 0.85
"""Share of `probes.crossed` from which on a scorer is said to tell right from wrong (or, below 1 - SURE, the reverse).

Models that know no arithmetic were seen between 0.25 and 0.6: their likings are not independent from task to task."""


def weights_of_the_folder(patient: Patient) -> Finding:
    """What was loaded is what is on disk, bit for bit, and what is on disk is what was saved."""
    folder = patient.folder
    if folder is None:
        return Finding("not applicable", "it came from no folder: nothing says what the weights should be")
    facts, saved = Facts(folder), None
    if (folder / checkpoint.CARD).is_file():
        saved = checkpoint.saved_weights(folder)
    other = [
        file for file, known in (saved or {}).items() if not (folder / file).is_file() or digest(folder / file) != known
    ]
    if other:
        return Finding("fail", f"{', '.join(other)} changed since the model was saved")
    head, wrong = _head(patient, facts)
    body, differ = _body(patient, facts)
    if wrong or differ:
        return Finding("fail", (wrong or differ)[0])
    since = "unchanged since it was saved" if saved else "nothing says if it is as it was saved"
    return Finding("pass", f"{head}; {body} other tensors as on disk; {since}")


def _head(patient: Patient, facts: Facts) -> tuple[str, list[str]]:
    """Where each weight of the head was found on disk, and what was not found. Converted heads are rows of another."""
    found, wrong = list[str](), list[str]()
    for name, weight in _head_weights(patient).items():
        rows = _as_rows(weight.cpu())
        tensor, order = _place(facts, f"score.{name}", rows)
        lost = order.count(None)
        if lost:
            wrong.append(f"{lost} of {len(rows)} rows of the loaded head's {name} are nowhere on disk")
        elif facts.shapes[tensor][0] != len(rows):
            words = [str(patient.encoder.tokenizer.decode([row])) for row in order]
            told = f"head {name} is rows {order} of {tensor}, {words}"
            if _reversed(words):
                wrong.append(f"{told}, read as bad, good: labels are swapped")
            else:
                found.append(told)
        elif order != list(range(len(rows))):
            wrong.append(f"the loaded head's {name} has the rows of {tensor} in the order {order}: labels are swapped")
        else:
            found.append(f"head {name} is {tensor}")
    return ", ".join(found) or "no head beside the language model's", wrong


def _head_weights(patient: Patient) -> Mapping[str, Tensor]:
    """The head's weights by name; none for a model that is read by its language model."""
    try:
        return {name: weight.detach() for name, weight in head_of(patient.model.module).named_parameters()}
    except ConfigError:
        return {}


def _reversed(words: Sequence[str]) -> bool:
    """Whether two labels (bad, good) bear each other's names."""
    if len(words) != 2:
        return False
    first, second = (word.strip().lower() for word in words)
    return first in GOOD_NAMES or second in BAD_NAMES


def _place(facts: Facts, name: str, rows: Tensor) -> tuple[str, list[int | None]]:
    """The tensor on disk that has most of these rows, and which of its rows they are.

    Asked are those that bear the head's name, or, if none does, all with rows of this width that are in no layer.
    """
    part = name.removeprefix("score.")
    named = [tensor for tensor in facts.shapes if tensor.removesuffix(part) in ("score.", "classifier.")]
    wide = [
        tensor
        for tensor, shape in facts.shapes.items()
        if (shape[-1] if len(shape) > 1 else 1) == rows.shape[1] and shape and not re.search(r"\.\d+\.|norm", tensor)
    ]
    places = [(tensor, _rows_in(_as_rows(facts.tensor(tensor)), rows)) for tensor in named or wide]
    nowhere: tuple[str, list[int | None]] = "", [None] * len(rows)
    return min(places, key=lambda place: place[1].count(None), default=nowhere)


def _as_rows(weight: Tensor) -> Tensor:
    """(rows, width); a bias has rows of one number."""
    return weight.reshape(len(weight), -1)


def _rows_in(table: Tensor, rows: Tensor) -> list[int | None]:
    """For each row the index of the same row of a table, None where it has none. In pieces: vocabularies are long."""
    found: list[int | None] = [None] * len(rows)
    if table.shape[1] != rows.shape[1]:
        return found
    for start in range(0, len(table), 4096):
        piece = table[start : start + 4096].to(rows.dtype)
        for index, row in enumerate(rows):
            same = ((piece == row).all(dim=1).nonzero()[:, 0] + start).tolist()
            # Where rows repeat (biases of 0, say) the one at the row's own place is meant.
            if same and (found[index] is None or index in same):
                found[index] = index if index in same else same[0]
    return found


def _body(patient: Patient, facts: Facts) -> tuple[int, list[str]]:
    """How many weights beside the head are on disk under their own name, and which differ from it at their start."""
    module, seen, differ = patient.model.module, 0, []
    for name, weight in module.named_parameters():
        if name.startswith(("score.", "classifier.")) or facts.shapes.get(name) != tuple(weight.shape):
            continue
        seen += 1
        loaded, stored = weight.detach().flatten()[:64].cpu(), facts.tensor(name).flatten()[:64]
        if not torch.equal(loaded, stored.to(loaded.dtype)):
            differ.append(f"{name} is not what is on disk")
    return seen, differ


def label_names(patient: Patient) -> Finding:
    """Where the configuration names two labels, the second one is the good one."""
    labels: Mapping[Any, str] = getattr(getattr(patient.model.module, "config", None), "id2label", None) or {}
    words = [str(labels.get(k, labels.get(str(k), "nothing"))) for k in (0, 1)]
    told = f"label 0 is called {words[0]!r} and label 1 {words[1]!r}"
    if _reversed(words):
        return Finding("fail", f"{told}: they are read as bad, good")
    if _reversed(words[::-1]):
        return Finding("pass", told)
    return Finding("not applicable", f"{told}, which tells nothing")


def moves_with_content(patient: Patient) -> Finding:
    """Scores depend on the problem, on earlier steps and on the step itself, and never on what comes later."""
    prefix = next(one for one in ORDINARY if len(one.steps) > 2)
    others = ["Nothing of the kind 99.\n", "So we stop here: no\n", "x y z\n"]
    at = 1
    asked = {
        "the problem": [replace(prefix, prompt=text) for text in others],
        "an earlier step": [changed(prefix, 0, text) for text in others],
        "the step itself": [changed(prefix, at, text) for text in others],
        "what follows": [changed(prefix, 2, others[0]), changed(prefix, 2, others[1]), prefix.first(2)],
    }
    scores = patient.fresh(use_trees=False).score([prefix, *(one for ones in asked.values() for one in ones)])
    orm = patient.model.kind == "orm"
    seen = [numbers(score)[0 if orm else at] for score in scores]
    moved = {
        what: max(gap(seen[:1], seen[3 * k + j + 1 :][:1], patient.scale) for j in range(3))
        for k, what in enumerate(asked)
    }
    told = "largest change of a score by changing " + ", ".join(f"{what}: {x:.2g}" for what, x in moved.items())
    later = moved.pop("what follows")
    still = [what for what, x in moved.items() if x < 1e-6]
    if still:
        return Finding("fail", f"{told}; a score that {still[0]} does not move is not that of a trained head")
    if not orm and later > patient.rounding:
        if patient.reads(patient.encoder.encode(prefix)) is None:
            return Finding("not applicable", f"{told}; the sums of this reading go on into the next step, as published")
        return Finding("fail", f"{told}; what comes after a step must not move its score")
    return Finding("pass", told)


def activated_once(patient: Patient) -> Finding:
    """A score is the model's activation of a logit, and the logit is no probability already."""
    activation = patient.model.activation
    pairs = [pair for score in patient.ordinary for pair in _pairs(score)]
    if not pairs:
        return Finding("not applicable", "the scores come without logits")
    apart = max(abs(_expected(activation, logit) - value) for logit, value in pairs)
    low, high = min(logit for logit, _ in pairs), max(logit for logit, _ in pairs)
    shown = f"{len(pairs)} logits from {low:.3g} to {high:.3g}"
    if apart > 1e-5:
        return Finding("fail", f"{shown}; scores are up to {apart:.2g} away from the activation ({activation})")
    encodings = patient.encoder.encode_many(ORDINARY[:3])
    plain = [by_hand(patient, encoding) for encoding in encodings]
    bounded = low >= -1 and high <= 1 and patient.reads(encodings[0]) is not None
    if bounded and not _same(plain, patient.ordinary, patient.rounding):
        told = "the range of probabilities and of their differences, and the head is not plain: activated already?"
        return Finding("fail", f"{shown}: {told}")
    return Finding("pass", f"{shown}; scores are their {activation} activation to {apart:.1g}")


def _pairs(score: Score) -> Iterator[tuple[float, float]]:
    values = score.steps or (score.value,)
    return ((z, x) for z, x in zip(score.logits or (), values, strict=False) if not math.isnan(z))


def _same(plain: Sequence[tuple[float, ...] | None], scores: Sequence[Score], rounding: float) -> bool:
    pairs = zip(plain, scores, strict=False)
    return all(row is not None and gap(row, numbers(score)) <= rounding for row, score in pairs)


def _expected(activation: str, logit: float) -> float:
    """Written out once more, so that a mistake in the activation itself would show."""
    if activation == "none":
        return logit
    odds = math.exp(-abs(logit))
    good = 1 / (1 + odds) if logit >= 0 else odds / (1 + odds)
    return good if activation == "sigmoid" else 2 * good - 1


def tells_right_from_wrong(patient: Patient) -> Finding:
    """Solutions of school sums score higher under their own problem than under another; a swapped label would reverse it.

    Only a model that knows sums can pass or fail; for any other the check says that it can't tell.
    """
    quadruples = crossed()
    solutions = [prefix for one in quadruples for prefix in one]
    refused = [error for error in patient.scorer.refused(solutions) if error is not None]
    if refused:
        return Finding("not applicable", f"the model can't take school sums: {refused[0].found}")
    lowest = [min(x for x in numbers(score) if not math.isnan(x)) for score in patient.scorer.score(solutions)]
    wins = sum(a + b > c + d for a, b, c, d in zip(*(lowest[k::4] for k in range(4)), strict=True))
    told = f"{wins} of {QUADRUPLES} pairs of school sums score higher right than crossed"
    if wins >= SURE * QUADRUPLES:
        return Finding("pass", told)
    if wins <= (1 - SURE) * QUADRUPLES:
        return Finding("fail", f"{told}: good and bad are swapped")
    return Finding("not applicable", f"{told}: it does not know sums; give --golden to find swapped labels")
