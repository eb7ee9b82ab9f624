"""A causal language model as a Policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from gradatim.backbones import fingerprint, load_policy_backbone
from gradatim.core import Continuation, Prefix, Splitter
from gradatim.errors import ConfigError, InputError
from gradatim.solutions.local.decode import Decoder, Ends, Request
from gradatim.solutions.local.first import first_step_over
from gradatim.solutions.local.kept import KeptPaths
from gradatim.solutions.local.sampling import generator, key_of
from gradatim.solutions.local.text import TextCodec
from gradatim.solutions.settings import PolicySettings
from gradatim.solutions.spans import Span
from gradatim.steps import by_line
from gradatim.verify.reading import has_answer


def load_policy(name: str, settings: PolicySettings | None = None, *, splitter: Splitter = by_line) -> LocalPolicy:
    """A policy from a backbone: a hub name, a folder, "smollm2" or "lab" (see `gradatim.backbones.locate`)."""
    settings = settings or PolicySettings()
    model, tokenizer = load_policy_backbone(name, dtype=settings.dtype, device=settings.device)
    short = Path(name).name if Path(name).exists() else name
    return LocalPolicy(model, tokenizer, settings, name=short, splitter=splitter)


class LocalPolicy:
    """Writes with a transformers causal language model on this machine.

    A prefix is read once and shared by its draws, and continuations are written side by side. Each (seed, prefix,
    draw) has random numbers of its own (Philox), so what else is in the batch has no part in a text. One caveat: a
    matrix product may round differently in another batch or on another machine (about 1e-6 of a probability in
    float32), and where a random number falls that close to the border between two tokens, the text goes on
    differently.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: PolicySettings | None = None,
        *,
        name: str,
        splitter: Splitter = by_line,
        keep_mib: int = 1024,
    ) -> None:
        """`model` and `tokenizer` are transformers' own; `name` says which; `splitter` says where `one_step` stops.

        `keep_mib` bounds the keys and values that stay in memory after a call with `one_step`: what goes on from
        there reads nothing again (least recently used first out).

        ConfigError for a model that keeps more than keys and values of attention between tokens (recurrent layers).
        """
        self.settings = settings or PolicySettings()
        self.model, self.splitter = model.eval(), splitter
        self.codec = TextCodec(tokenizer, self.settings.prompt_template)
        self._base, self._fingerprint = name, fingerprint(model)
        _check_layers(name, model.config)
        if keep_mib < 0:
            raise ConfigError(f"keep_mib={keep_mib}; expected 0 or more")
        kept = KeptPaths(keep_mib * 2**20)
        self._decoder = Decoder(model, _stops(model, tokenizer), self.settings.temperature, self.settings.top_p, kept)
        self._room: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def prefilled(self) -> int:
        """Tokens of prefixes that were read since the policy was made, without those whose keys and values were kept."""
        return self._decoder.prefilled

    @property
    def name(self) -> str:
        """Model, fingerprint of its weights, and the settings that its texts depend on."""
        ours, template = self.settings, self.codec.template
        if template != "chat":
            template = blake2b(template.encode(), digest_size=2).hexdigest()
        splitter = getattr(self.splitter, "__name__", type(self.splitter).__name__)
        made = f"t={ours.temperature:g} top_p={ours.top_p:g} max={ours.max_new_tokens} {template} {splitter}"
        return f"{self._base}@{self._fingerprint} {made}" + " to_answer" * ours.stop_at_answer

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        """For each prefix a list with one continuation a draw; see the law of `Policy`.

        With `one_step` a text is written until its first step is over, whatever would follow, and is cut there: it is
        the first step of what would be written without. (With `by_sentence` mathematics that was opened is written to its
        end first, or to the end of its paragraph for a `$`: a price.) A prefix that leaves no room in the model's context
        gets empty continuations with finish "length".
        """
        return self._write([Span(prefix, draws) for prefix in prefixes], seed, one_step)

    def write_spans(self, spans: Sequence[Span], *, seed: int = 0) -> list[list[Continuation]]:
        """As `write`, with other draws of every prefix; they are written side by side all the same."""
        return self._write(spans, seed, one_step=False)

    def _write(self, spans: Sequence[Span], seed: int, one_step: bool) -> list[list[Continuation]]:
        plans = [self._plan(span.prefix) for span in spans]
        results: list[list[Continuation]] = [[] for _ in spans]
        for batch in _batches(plans, [span.draws for span in spans], self.settings.batch_rows):
            texts = iter(self._texts(batch, seed, one_step))
            for place, _, some in batch:
                results[place] += [next(texts) for _ in some]
        return [
            made if plan.limit else [Continuation("", "length", 0) for _ in span.draws]
            for made, plan, span in zip(results, plans, spans, strict=True)
        ]

    def _plan(self, prefix: Prefix) -> _Plan:
        ids = tuple(self.codec.encode(prefix))
        if not ids:
            raise InputError(
                f"problem {prefix.problem_id}: a prompt without a token", expected="a prompt that is not empty"
            )
        longest = self.settings.max_new_tokens
        limit = longest if self._room is None else max(0, min(longest, self._room - len(ids)))
        return _Plan(key_of(prefix), ids, limit)

    def _texts(self, batch: _Batch, seed: int, one_step: bool) -> Iterator[Continuation]:
        """The continuations of a batch, row by row."""
        requests = [
            Request(plan.ids, tuple(generator(seed, plan.key, draw) for draw in some), plan.limit)
            for _, plan, some in batch
        ]
        rows = [plan for _, plan, some in batch for _ in some]
        ends = self._step_ends(rows) if one_step else None
        over = self._answers(rows) if self.settings.stop_at_answer else None
        written = self._decoder.write(requests, ends, over)
        for plan, ids in zip(rows, written, strict=True):
            yield self._continuation(plan, ids, one_step)

    def _continuation(self, plan: _Plan, ids: list[int], one_step: bool) -> Continuation:
        stopped = ids[-1] in self._decoder.stops
        text = self.codec.decode(plan.ids, ids[:-1] if stopped else ids)
        steps = self.splitter(text) if one_step and text else ()
        if len(steps) > 1:
            return Continuation(steps[0].text, "step", len(ids))
        if not stopped and self.settings.stop_at_answer and has_answer(text):
            return Continuation(text[: text.rfind("\n") + 1], "stop", len(ids))
        return Continuation(text, "stop" if stopped else "length", len(ids))

    def _step_ends(self, rows: Sequence[_Plan]) -> Ends:
        def ends(row: int, ids: list[int]) -> bool:
            text = self.codec.decode(rows[row].ids, ids)
            # A character of which there are some bytes only may turn out to be white space.
            return not text.endswith("\ufffd") and first_step_over(self.splitter, text)

        return ends

    def _answers(self, rows: Sequence[_Plan]) -> Ends:
        def over(row: int, ids: list[int]) -> bool:
            return self.codec.ends_line(ids[-1]) and has_answer(self.codec.decode(rows[row].ids, ids))

        return over


@dataclass(frozen=True)
class _Plan:
    key: bytes
    ids: tuple[int, ...]
    limit: int


_Batch = list[tuple[int, _Plan, range]]
"""Which prefix (its place in the call), its plan, and which of its draws."""


def _batches(plans: Sequence[_Plan], draws: Sequence[range], rows: int) -> Iterator[_Batch]:
    """The call cut into batches of at most `rows` continuations, in the caller's order."""
    batch: _Batch = []
    free = rows
    for place, plan in enumerate(plans):
        left = draws[place] if plan.limit else range(0)
        while left:
            some, left = left[:free], left[free:]
            batch.append((place, plan, some))
            free -= len(some)
            if not free:
                yield batch
                batch, free = [], rows
    if batch:
        yield batch


def _stops(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a text, by the model's generation settings and the tokenizer."""
    stops: set[int] = set()
    for source in (tokenizer, getattr(model, "generation_config", None), model.config.get_text_config()):
        found = getattr(source, "eos_token_id", None)
        stops.update(found if isinstance(found, list | tuple) else [] if found is None else [found])
    return frozenset(stops)


def _check_layers(name: str, config: Any) -> None:
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    strange = sorted(kind for kind in kinds if not kind.endswith("attention") or kind == "linear_attention")
    if strange:
        raise ConfigError(
            f"{name}: layers of kind {', '.join(strange)} keep a state that can't be shared between rows; "
            "serve this model over HTTP, or choose one with attention layers only"
        )
