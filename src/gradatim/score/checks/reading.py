"""Is there one score a step, read where the step ends, whatever the text holds?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from gradatim.core import Prefix, Score, Step
from gradatim.errors import InputError
from gradatim.models import checkpoint
from gradatim.models.encoding import Encoding, StepEncoder
from gradatim.score.checks.patient import Finding, Patient, changed
from gradatim.score.checks.probes import ORDINARY, awkward


def one_score_a_step(patient: Patient) -> Finding:
    """Awkward texts get one score a step (NaN for observations, only), or an error that names the solution."""
    cases, refused, wrong = awkward(), Counter[str](), []
    errors = patient.scorer.refused([prefix for _, prefix in cases])
    taken = [case for case, error in zip(cases, errors, strict=True) if error is None]
    refused.update(case[0] for case, error in zip(cases, errors, strict=True) if error is not None)
    scores = patient.scorer.score([prefix for _, prefix in taken])
    for (kind, prefix), score in zip(taken, scores, strict=True):
        if not _complete(patient, prefix, score):
            wrong.append(f"{kind}: {len(score.steps)} scores {score.steps} for {len(prefix.steps)} steps")
    if wrong:
        return Finding("fail", f"{len(wrong)} of {len(taken)} solutions: {wrong[0]}")
    told = f"; refused with an error: {', '.join(refused)}" if refused else ""
    if not taken:
        return Finding("fail", f"not one awkward solution is taken: {errors[0]}")
    steps = sum(len(prefix.steps) for _, prefix in taken)
    return Finding("pass", f"{steps} steps of {len(taken)} awkward solutions{told}")


def _complete(patient: Patient, prefix: Prefix, score: Score) -> bool:
    if patient.model.kind == "orm":
        return score.value == score.value and not score.steps
    observed = [step.kind == "observation" for step in prefix.steps]
    return len(score.steps) == len(observed) and [value != value for value in score.steps] == observed


def read_at_its_end(patient: Patient) -> Finding:
    """A step is read behind its last word, before the next step's first, and always at the same token."""
    encodings = patient.encoder.encode_many(ORDINARY)
    places = [patient.reads(encoding) for encoding in encodings]
    if any(place is None for place in places):
        return Finding("not applicable", "a score of this model puts several tokens together")
    faults = list(_misplaced(patient))
    tokens = Counter(e.ids[read] for e, place in zip(encodings, places, strict=True) for read in place or ())
    told = ", ".join(f"{patient.encoder.tokenizer.decode([token])!r} ({token})" for token, _ in tokens.most_common(4))
    if patient.model.kind == "orm":
        faults += [f"read at token {p[0]} of {len(e.ids)}" for e, p in _pairs(encodings, places) if p[0] != e.last]
    elif len(tokens) > 1:
        faults.append(f"{len(tokens)} different tokens are read: {told}")
    if faults:
        return Finding("fail", f"{faults[0]} (and {len(faults) - 1} more)" if len(faults) > 1 else faults[0])
    count, shown = sum(tokens.values()), _context(patient, encodings[0])
    own = isinstance(patient.encoder, StepEncoder)
    sure = "" if own else "; that it is the token which its authors read, only golden scores can tell"
    return Finding("pass", f"{count} reads, all at {told}: {shown}{sure}")


def _pairs(
    encodings: list[Encoding], places: list[tuple[int, ...] | None]
) -> Iterator[tuple[Encoding, tuple[int, ...]]]:
    return ((encoding, place) for encoding, place in zip(encodings, places, strict=True) if place)


def _misplaced(patient: Patient) -> Iterator[str]:
    """What is wrong with the places of a PRM's reads. In our own encoder a prefix ends with its last step's read."""
    if patient.model.kind == "orm":
        return
    for prefix in ORDINARY:
        whole = patient.encoder.encode(prefix)
        for k in range(1, len(prefix.steps) + 1):
            part, at = patient.encoder.encode(prefix.first(k)), whole.reads[k - 1]
            where = f"step {k} of {len(prefix.steps)}"
            if at is None or part.reads != whole.reads[:k] or not 0 <= at < len(whole.ids):
                yield f"{where} is read at {at}, and at {part.reads[-1]} when nothing follows"
            elif part.ids[: at + 1] != whole.ids[: at + 1]:
                yield f"what stands before the read of {where} depends on what follows"
            elif isinstance(patient.encoder, StepEncoder) and at != part.last:
                yield f"{where} is read at token {at}, its separator ends at {part.last}"
            elif _ends_before(patient, prefix, k - 1) != whole.ids[: at + 1]:
                continue
            else:
                yield f"{where} is read before its last word"


def _ends_before(patient: Patient, prefix: Prefix, at: int) -> tuple[int, ...]:
    """The tokens up to the read of a step whose last word is another one."""
    text = prefix.steps[at].text
    other = patient.encoder.encode(changed(prefix, at, f"{text.rstrip()[:-2]}qj{text[len(text.rstrip()) :]}"))
    return other.ids[: (other.reads[at] or 0) + 1]


def _context(patient: Patient, encoding: Encoding) -> str:
    """The tokens around the first read, which stands in double brackets."""
    at, decode = patient.model.reads(encoding)[0], patient.encoder.tokenizer.decode
    before, after = encoding.ids[max(0, at - 5) : at], encoding.ids[at + 1 : at + 4]
    return ascii(f"...{decode(before)}[[{decode([encoding.ids[at]])}]]{decode(after)}...")


def nothing_forged(patient: Patient) -> Finding:
    """Control tokens, tags and separators spelled out in a prompt or a step make no step and no control token."""
    tokenizer, literals = patient.encoder.tokenizer, _literals(patient)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    added = getattr(tokenizer, "added_tokens_decoder", {})
    encoding = patient.encoder.encode(ORDINARY[0])
    read = {encoding.ids[at] for at in patient.reads(encoding) or ()}
    special |= {number for number, token in added.items() if token.special or number in read}
    wrong, refused = [], 0
    for literal in literals:
        for written, harmless in _forgeries(literal):
            (found,), plain = patient.encoder.try_encode([written]), patient.encoder.encode(harmless)
            if isinstance(found, InputError):
                refused += 1
                continue
            control = [Counter(token for token in one.ids if token in special) for one in (found, plain)]
            if len(found.reads) != len(written.steps) or control[0] != control[1]:
                more = dict(control[0] - control[1]) or "lost"
                steps = f"{len(found.reads)} reads for {len(written.steps)} steps"
                wrong.append(f"{literal!r} in a text: {steps}, control tokens {more}")
    if wrong:
        return Finding("fail", f"{len(wrong)} of {3 * len(literals)} texts: {wrong[0]}")
    told = f", {refused} of them refused with an error" if refused else ""
    return Finding("pass", f"{3 * len(literals)} texts with {', '.join(map(repr, literals[:6]))}, ...{told}")


def _literals(patient: Patient) -> list[str]:
    tokenizer = patient.encoder.tokenizer
    encoding = patient.encoder.encode(ORDINARY[0])
    read = [tokenizer.decode([encoding.ids[at]]) for at in patient.model.reads(encoding)[:4]]
    separator = [patient.encoder.settings.separator] if isinstance(patient.encoder, StepEncoder) else []
    added = list(getattr(tokenizer, "get_added_vocab", dict)())
    known = ["<extra_0>", " \u043a\u0438", "\n\n", "<|im_end|>\n<|im_start|>assistant\n", "<|eot_id|>"]
    return [
        text for text in dict.fromkeys([*read, *separator, *tokenizer.all_special_tokens, *added[:24], *known]) if text
    ]


def _forgeries(literal: str) -> Iterator[tuple[Prefix, Prefix]]:
    """A solution with the literal in it, and the same with a word in its place."""
    for prompt, text in (
        ("What is {}?", "It is so."),
        ("What is it?", "It {} so."),
        ("What is it?", "{} It is so. {}"),
    ):
        yield tuple(  # type: ignore[misc]
            Prefix("forged", prompt.format(word), (Step(f"{text.format(word, word)}\n"), Step("End.")))
            for word in (literal, "x")
        )


def never_cut(patient: Patient) -> Finding:
    """What is longer than the model can take is refused, and the limit is the model's."""
    limit, encoder = patient.encoder.max_length, patient.encoder
    config = getattr(getattr(patient.model.module, "config", None), "max_position_embeddings", None)
    if limit is None:
        told = f"the encoder has no limit; the model's configuration says {config or 'nothing'}"
        return Finding("fail" if config else "not applicable", told)
    if config and limit > config:
        return Finding("fail", f"up to {limit} tokens are taken, the model has {config} positions")
    words = " ".join(["word"] * (limit + 1))
    start = Prefix("long", "What is it?", (Step("It is so.\n"),))
    cases = [
        replace(start, prompt=words),
        replace(start, steps=(*start.steps, Step(words))),
        replace(start, steps=(Step(words), *start.steps)),
        replace(start, steps=start.steps * (limit // 2 + 1)),
    ]
    results = encoder.try_encode(cases)
    cut = [len(result.ids) for result in results if not isinstance(result, InputError)]
    if cut:
        return Finding("fail", f"{len(cut)} of {len(cases)} texts of over {limit} tokens became {cut[0]} tokens")
    return Finding("pass", f"{len(cases)} texts of over {limit} tokens (prompt, one step, many steps) are errors")


def as_saved(patient: Patient) -> Finding:
    """A model of our own writes tokens with the tokenizer and settings in its folder, which are those of its training."""
    digest = patient.encoder.digest
    if patient.folder is None or not (patient.folder / checkpoint.CARD).is_file():
        told = "nothing on disk says what it should be" if patient.folder else "it came from no folder"
        return Finding("not applicable", f"digest {digest}; {told}: compare golden scores, which keep the digest")
    saved = checkpoint.load_encoder(patient.folder)
    if saved.digest != digest:
        told = "; ".join(_differences(saved, patient.encoder)) or "another tokenizer"
        return Finding("fail", f"trained on steps@{saved.digest}, loaded with steps@{digest}: {told}")
    prefixes = [*ORDINARY, *(prefix for _, prefix in awkward())]
    pairs = zip(prefixes, saved.try_encode(prefixes), patient.encoder.try_encode(prefixes), strict=True)
    other = [prefix for prefix, a, b in pairs if isinstance(a, Encoding) and a != b]
    if other:
        return Finding("fail", f"{len(other)} of {len(prefixes)} solutions get other tokens or reads than as saved")
    return Finding("pass", f"digest {digest} as in training; {len(prefixes)} solutions encode as the folder says")


def _differences(saved: StepEncoder, loaded: object) -> Iterator[str]:
    if not isinstance(loaded, StepEncoder):
        yield f"saved with our encoder, loaded with {type(loaded).__name__}"
        return
    for field in ("separator", "prompt_template", "bos"):
        before, now = getattr(saved.settings, field), getattr(loaded.settings, field)
        if before != now:
            yield f"{field} {before!r} became {now!r}"
