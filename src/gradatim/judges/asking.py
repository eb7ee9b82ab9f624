"""Conversations with a critic, side by side: in each round the policy goes on with all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from gradatim.core import Continuation, Policy, Prefix
from gradatim.errors import BackendError
from gradatim.judges.exams import Conversation
from gradatim.judges.opinions import Opinion


@dataclass(slots=True)
class Answered:
    """What came of one conversation: an opinion, or the reason why there is none of the critic's making (`gap`)."""

    words: list[str] = field(default_factory=list)
    """All that the critic wrote, in order."""
    tokens: int = 0
    opinion: Opinion | None = None
    gap: str = ""


_Job = tuple[Conversation, int]
"""A conversation that has not begun, and its draw."""


def ask(policy: Policy, jobs: Sequence[_Job], *, seed: int) -> list[Answered]:
    """Hold the conversations; one outcome each, in their order.

    What the critic writes depends on the question and the draw alone: of conversations that ask the same at the same time
    the first has the tokens of the one text. A text that the policy could not have (finish "failed", or a BackendError for
    its call) ends its conversation with a gap.
    """
    answered = [Answered() for _ in jobs]
    asked: dict[int, Sequence[Prefix]] = {}

    def go_on(place: int, sent: Sequence[Continuation] | None) -> None:
        conversation = jobs[place][0]
        try:
            asked[place] = next(conversation) if sent is None else conversation.send(sent)
        except StopIteration as end:
            asked.pop(place, None)
            answered[place].opinion = end.value

    for place in range(len(jobs)):
        go_on(place, None)
    while asked:
        written = _write(policy, [(prefix, jobs[place][1]) for place, some in asked.items() for prefix in some], seed)
        charged: set[tuple[Prefix, int]] = set()
        for place, prefixes in list(asked.items()):
            texts = [written[prefix, jobs[place][1]] for prefix in prefixes]
            one = answered[place]
            one.words += [text.text for text in texts if text.finish != "failed"]
            new = {(prefix, jobs[place][1]) for prefix in prefixes} - charged
            one.tokens += sum(written[key].tokens for key in new)
            charged |= new
            one.gap = next((text.error or "failed" for text in texts if text.finish == "failed"), "")
            if one.gap:
                del asked[place]
            else:
                go_on(place, texts)
    return answered


def _write(policy: Policy, wanted: Sequence[tuple[Prefix, int]], seed: int) -> dict[tuple[Prefix, int], Continuation]:
    """The continuation of each (prefix, draw); prefixes of which the same draws are wanted share a call."""
    draws: dict[Prefix, set[int]] = {}
    for prefix, draw in wanted:
        draws.setdefault(prefix, set()).add(draw)
    spans = [(span.start, span.stop, prefix) for prefix, some in draws.items() for span in _spans(some)]
    found: dict[tuple[Prefix, int], Continuation] = {}
    for (first, stop), group in groupby(sorted(spans, key=lambda span: span[:2]), key=lambda span: span[:2]):
        prefixes = [prefix for *_, prefix in group]
        try:
            rows = policy.write(prefixes, draws=range(first, stop), seed=seed)
        except BackendError as error:
            rows = [[Continuation("", "failed", 0, str(error))] * (stop - first) for _ in prefixes]
        for prefix, row in zip(prefixes, rows, strict=True):
            found.update(((prefix, draw), text) for draw, text in zip(range(first, stop), row, strict=True))
    return found


def _spans(draws: set[int]) -> list[range]:
    """The draws as ranges without gaps."""
    runs = groupby(enumerate(sorted(draws)), key=lambda pair: pair[1] - pair[0])
    return [range(some[0][1], some[-1][1] + 1) for some in (list(run) for _, run in runs)]
