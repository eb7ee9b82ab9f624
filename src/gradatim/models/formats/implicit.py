"""Implicit PRMs (EurusPRM-Stage1/2, ImplicitPRM): a language model and the reference that it was trained from.

Written by the checkpoint's own chat template, without a system message of ours (Qwen2.5-Math's inserts one):

    user: {question}, assistant: Step 1: {step}\\n\\nStep 2: {step} ...

"Step k: " is written in front of a step that does not begin so. With r = log p(token) - log p_ref(token), a step's logit
is q = beta * (sum of r up to the step's end), its score sigmoid(q); q is unbounded and near 0, so that only its order
and its sign mean much. The value of a solution is the last q, what the model was trained to tell.

Where the sum begins and ends is the reading (option `reading`):

    published    the model card: from the token before the answer (Llama: two before) to what `len(ids of the prefix) - 2`
                 makes of an inner step: in Qwen's template two tokens beyond its last, in the next step; with Llama's
                 `<|eot_id|>`, which the script cuts, the token of the blank line. The last step ends with the end of
                 the turn.
    processbench as published, but from the answer's first token (ImplicitPRM/eval/processbench.py)
    clean        from the answer's first token to each step's own last token

beta is 0.001 in both published scripts (0.05 in training). What the environment wrote (observations) is context: its
tokens are in no sum.

Those that `gradatim train` made are read as they were trained; `gradatim.models.formats.own_implicit` says how.

Source: model card of PRIME-RL/EurusPRM-Stage2; PRIME-RL/ImplicitPRM, eval/prm_eval_utils.py and processbench.py;
arXiv 2412.01981.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn
from transformers import AutoModelForCausalLM

from gradatim.core import Prefix
from gradatim.errors import CheckpointError, ConfigError, InputError
from gradatim.models import hub
from gradatim.models.encoding import Encoder, Encoding, digest_of, named, too_long
from gradatim.models.formats.chat import Chat, chat_of
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.own_implicit import OWN, load_own
from gradatim.models.formats.rendering import Assembled, Assembler, Piece
from gradatim.models.formats.weights import context, load_body
from gradatim.models.forward import tree_depth
from gradatim.models.identity import of_weights
from gradatim.models.implicit import ImplicitModel, Response
from gradatim.models.logprobs import check_plain_head
from gradatim.models.reference import Reference

NAME = "implicit"
BETA = 0.001
JOINER = "\n\n"
CUT = "<|eot_id|>"
"""The end of a turn that the published script cuts from inner prefixes: Llama's."""
Reading = Literal["published", "processbench", "clean"]
_LABEL = re.compile(r"\s*Step \d+:")


class ImplicitEncoder(Encoder):
    """The chat of question and labelled steps, and where the sums of a reading begin and end."""

    def __init__(
        self, assembler: Assembler, tokenizer: Any, chat: Chat, reading: Reading, max_length: int | None
    ) -> None:
        """`chat` has two holes, the question and the answer."""
        self.tokenizer, self.max_length, self.reading = tokenizer, max_length, reading
        self._assembler, self._chat = assembler, chat
        before, between, self._after = map(assembler.trusted, chat.parts)
        self._head = (before, between)
        end = chat.parts[-1].strip()
        self._cuts = end == CUT
        self._end = [] if self._cuts else assembler.trusted(end)
        self.digest = digest_of(tokenizer, {"format": NAME, "chat": chat.plain(), "reading": reading})

    def try_encode(self, prefixes: Sequence[Prefix]) -> list[Encoding | InputError]:
        found = self._assembler.assemble_many([self._rendering(prefix) for prefix in prefixes])
        results: list[Encoding | InputError] = []
        for prefix, whole in zip(prefixes, found, strict=True):
            try:
                results.append(self._encoding(prefix, whole))
            except InputError as error:
                results.append(error)
        return results

    def _begin(self, prefix: Prefix) -> list[Piece]:
        before, between = self._head
        return [*before, Piece(self._chat.trims[0](prefix.prompt)), *between]

    def _steps(self, prefix: Prefix) -> list[Piece]:
        """Steps and joiners in turns, cut at both ends as the template cuts the whole answer."""
        trim, pieces = self._chat.trims[1], list[Piece]()
        for number, step in enumerate(prefix.steps):
            text = step.text.rstrip()
            text = text if _LABEL.match(text) else f"Step {number + 1}: {text}"
            text = trim.begin(text) if number == 0 else text
            pieces += [Piece(text, step=number), Piece(JOINER)]
        if pieces:
            pieces[-2:] = [Piece(pieces[-2].text.rstrip(trim.right), step=pieces[-2].step)]
        return pieces

    def _rendering(self, prefix: Prefix) -> list[Piece]:
        return [*self._begin(prefix), *self._steps(prefix), *self._after]

    def _encoding(self, prefix: Prefix, whole: Assembled | InputError) -> Response:
        self._chat.check(prefix, prefix.prompt, prefix.text)
        if isinstance(whole, InputError):
            raise InputError(f"{named(prefix)} holds {whole.found}", expected=whole.expected, fix=whole.fix)
        if self.max_length is not None and len(whole.ids) > self.max_length:
            raise too_long(prefix, len(whole.ids), self.max_length)
        pieces = self._rendering(prefix)
        spans = {piece.step: span for piece, span in zip(pieces, whole.spans, strict=True) if piece.step is not None}
        observed = [number for number, step in enumerate(prefix.steps) if step.kind == "observation"]
        if len(observed) == len(prefix.steps):
            return Response(whole.ids, (None,) * len(observed))
        begin, ends = len(self._begin(prefix)), [spans[number][1] - 1 for number in range(len(prefix.steps))]
        start = whole.spans[begin][0]
        if self.reading != "clean":
            published, ends = self._published(prefix, len(self._assembler.trusted(self._chat.parts[-1].strip())), whole)
            start = published if self.reading == "published" else start
        reads = tuple(None if number in observed else end for number, end in enumerate(ends))
        silent = {token for number in observed for token in range(*spans[number])}
        last = max(read for read in reads if read is not None)
        counted = tuple(token for token in range(max(start, 1), last + 1) if token not in silent)
        return Response(whole.ids, reads, counted)

    def _published(self, prefix: Prefix, end_pieces: int, whole: Assembled) -> tuple[int, list[int]]:
        """First token of the sums, and the last one of each step's, by the lengths of prefixes that end the turn.

        The published code writes each prefix anew: nothing, the first step, the first two, ... with the template's end
        and, for an inner step, a blank line behind that. The sums' last index is the length - 2, in an array that
        begins with the second token.
        """
        steps = self._steps(prefix)
        inner = [[*steps[: 2 * k + 1], *self._end, Piece(JOINER)] for k in range(len(prefix.steps) - 1)]
        begun = self._begin(prefix)
        found = self._assembler.assemble_many([[*begun, *rest] for rest in [self._end, *inner]])
        lengths = [len(self._sound(one).ids) for one in found]
        last = whole.spans[len(begun) + len(steps) + end_pieces - 1][1] - 1
        return lengths[0] - 2, [*(length - 1 for length in lengths[1:]), last]

    @staticmethod
    def _sound(found: Assembled | InputError) -> Assembled:
        if isinstance(found, InputError):
            raise found
        return found


def _match(facts: Facts) -> Match:
    found, missing = [], []
    if facts.architecture.endswith("ForCausalLM"):
        found.append(f"a {facts.architecture}")
    else:
        missing.append(f"found architecture {facts.architecture or 'none'!r}, expected a causal language model")
    if extra := sorted(name for name in facts.files if name.startswith(("v_head.", "score."))):
        missing.append(f"found {', '.join(extra)}, expected no head beside the language model's")
    if found and not facts.tokenizer.chat_template:
        missing.append("found no chat template, expected one")
    return Match(not missing, tuple(found), tuple(missing))


def _load(facts: Facts, asked: Asked) -> ImplicitModel:
    if OWN in facts.config:
        return load_own(facts, asked)
    beta, reading = _beta(asked.options.get("beta", BETA)), asked.options.get("reading", "published")
    if reading not in get_args(Reading):
        raise ConfigError(f"reading={reading!r}; expected one of {', '.join(get_args(Reading))}")
    if "reference" not in asked.options:
        raise ConfigError(
            f"{facts.folder}: an implicit PRM is read beside the model that it was trained from; name that with "
            "reference= (a folder or a name on the hub)"
        )
    other = Facts(_folder(str(asked.options["reference"])))
    _check_vocabularies(facts, other)
    policy = _causal(facts, asked)
    reference = Reference(
        other.name,
        partial(_reference, other, asked, tree_depth(policy)),
        identity=of_weights(other.folder, other.config),
        dtype=asked.dtype,
        cache=Path(asked.options["cache"]).expanduser() if "cache" in asked.options else None,
    )
    chat = chat_of(facts, [("user", None), ("assistant", None)])
    return ImplicitModel(
        module=policy,
        reference=reference,
        encoder=ImplicitEncoder(Assembler(facts.tokenizer), facts.tokenizer, chat, reading, context(facts)),
        name=f"{NAME} {facts.name} against {other.name}, beta {beta:g}, {reading}",
        beta=beta,
    )


def _beta(given: Any) -> float:
    try:
        beta = float(given)
    except (TypeError, ValueError):
        beta = math.nan
    if not 0 < beta < math.inf:
        raise ConfigError(f"beta={given!r}; expected a number above 0")
    return beta


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.exists() and hub.is_name(name):
        return hub.fetch(name)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"reference={name!r}: no config.json there; expected a folder or a name on the hub")
    return folder


def _causal(facts: Facts, asked: Asked) -> nn.Module:
    causal = load_body(facts, asked, auto=AutoModelForCausalLM)
    check_plain_head(causal, str(facts.folder))
    return causal


def _reference(facts: Facts, asked: Asked, depth: float) -> nn.Module:
    """The reference, which must take the same trees as the policy."""
    causal = _causal(facts, asked)
    if tree_depth(causal) < depth:
        raise CheckpointError(
            f"{facts.folder}: found attention over {tree_depth(causal)} tokens, expected at least the policy's {depth}"
        )
    return causal


def _check_vocabularies(policy: Facts, reference: Facts) -> None:
    """A log-ratio compares the same token: every token of the policy's tokenizer must be the reference's, id and all."""
    ours, theirs = policy.tokenizer.get_vocab(), reference.tokenizer.get_vocab()
    other = sorted(token for token, number in ours.items() if theirs.get(token) != number)
    if other:
        raise CheckpointError(
            f"{reference.folder}: found another vocabulary ({len(other)} tokens differ, such as {other[0]!r}), expected "
            "that of the policy; take the model that the policy was trained from"
        )


IMPLICIT = Format(
    name=NAME,
    options={
        "reference": "the model that it was trained from: a folder or a name on the hub; needed, except for our own",
        "beta": f"factor of the log-ratios; {BETA} where none is given, as in the published scripts; our own know theirs",
        "reading": "which tokens a step's sum takes: published (the default), processbench or clean; our own: their steps'",
        "cache": "a file that keeps the reference's log-probabilities; what is in it needs no reference in memory",
    },
    match=_match,
    load=_load,
)
