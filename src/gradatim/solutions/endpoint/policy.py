"""A model behind an OpenAI-compatible server as a Policy."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, Any

import httpx2

from gradatim.core import Continuation, Prefix, Splitter, Step, seed_for
from gradatim.errors import BackendError, ConfigError
from gradatim.solutions.endpoint.asking import Asker, Failure, Question, check_status
from gradatim.solutions.endpoint.replies import Mark, Refused, Reply, TryAgain, read_reply
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.solutions.spans import Span
from gradatim.steps import by_blank_line, by_line
from gradatim.verify.reading import to_answer

if TYPE_CHECKING:
    from gradatim.solutions.local.text import TextCodec

REMEMBERED = 1 << 16
"""Answers whose marks are kept, to see whether a server repeats one."""


def load_endpoint(
    url: str,
    settings: PolicySettings | None = None,
    endpoint: EndpointSettings | None = None,
    *,
    splitter: Splitter = by_line,
) -> EndpointPolicy:
    """A policy from the base URL of a server ("http://localhost:8000/v1").

    Where `endpoint.served_model` is None the server is asked which it serves; ConfigError unless it is exactly one.
    """
    endpoint = endpoint or EndpointSettings()
    url = base_url(url)
    model = endpoint.served_model or _only_model(url, endpoint)
    codec = None
    if endpoint.tokenizer is not None:
        from gradatim.backbones import load_tokenizer
        from gradatim.solutions.local.text import TextCodec

        template = (settings or PolicySettings()).prompt_template
        codec = TextCodec(load_tokenizer(endpoint.tokenizer), template)
    return EndpointPolicy(url, model, settings, endpoint, codec=codec, splitter=splitter)


_STEP_ENDS = ((by_line, "\n"), (by_blank_line, "\n\n"))
"""Splitters with the string that ends a step of theirs (maybe with more blank lines after it)."""

_BEGUN = "The numbers are 48, 213, 7 and"
"""How a turn of the assistant begins that no model writes by chance within one token."""

_Job = tuple[int, int]
"""Place of the prefix in the call, and draw."""


class EndpointPolicy:
    """Writes with a model behind an OpenAI-compatible server.

    Every draw is a request of its own, with one choice and a seed made of (seed, prefix, draw): what several choices of
    one request have to do with a seed differs from server to server (consecutive seeds, or the same text n times), and
    so does whether their tokens are counted. Servers share the prompt's computation between requests by themselves.

    The law of `Policy` holds as far as the server keeps it: vLLM and llama.cpp honour seeds up to float rounding, which
    changes with what else they compute; hosted services try to; SGLang's OpenAI interface has ignored them. Where seeds
    are ignored a draw that is asked for again is another one; what the ledger has recorded is not asked for again.
    `report` counts the prefixes whose draws are all alike: many of them mean that draws are copies, no evidence.

    Some servers (llama.cpp's) answer with the whole turn of the assistant, also what it began with. Before the first turn
    that is to be continued, one request of one token finds that out; the beginning is then taken off.

    A draw that can't be had has finish "failed" and its reason in `error`. Not safe to use from several threads.
    """

    def __init__(
        self,
        url: str,
        model: str,
        settings: PolicySettings | None = None,
        endpoint: EndpointSettings | None = None,
        *,
        codec: TextCodec | None = None,
        splitter: Splitter = by_line,
    ) -> None:
        """`model` is the name on the server; `codec` counts tokens and, with the completions interface, makes the token
        ids that are sent.

        ConfigError for settings that need a tokenizer where there is none, and for a key that is not set.
        """
        self.settings, self.endpoint = settings or PolicySettings(), endpoint or EndpointSettings()
        self.model, self.codec, self.splitter = model, codec, splitter
        self._template = _template(self.settings.prompt_template, self.endpoint.api, codec)
        path = "/chat/completions" if self.endpoint.api == "chat" else "/completions"
        self._counts: Counter[str] = Counter()
        self._asker = Asker(base_url(url) + path, _headers(self.endpoint), self.endpoint, self._counts)
        ends = (end for known, end in _STEP_ENDS if known is splitter and "stop" not in self.endpoint.extra())
        self._step_end: str | None = next(ends, None)
        self._says_where = True
        self._gives_back: bool | None = None  # the turn that it was to go on with, too; None while it is not known
        self._marks: OrderedDict[Mark, bytes] = OrderedDict()
        self._shared: set[Mark] = set()

    @property
    def name(self) -> str:
        """Model and the settings that its texts depend on; not the URL, for a model may move."""
        ours, theirs = self.settings, self.endpoint
        splitter = getattr(self.splitter, "__name__", type(self.splitter).__name__)
        made = (
            f"t={ours.temperature:g} top_p={ours.top_p:g} max={ours.max_new_tokens} {self._template_name()} {splitter}"
        )
        extra = blake2b(repr(sorted(theirs.extra().items())).encode(), digest_size=2).hexdigest()
        return f"{self.model}@{theirs.api} {made} {extra}" + " to_answer" * ours.stop_at_answer

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        """For each prefix a list with one continuation a draw; see the law of `Policy`, and the class for its limits.

        With `one_step` the server is told to stop where a line or paragraph ends, if the splitter is one of these and
        the server says that it was this that ended the text (vLLM, SGLang); blank lines that would follow then begin the
        next step. Otherwise the whole text is written, and cut after its first step. BackendError if no draw at all could
        be had; ConfigError if the server refuses the key, the path or the model.
        """
        return self._write([Span(prefix, draws) for prefix in prefixes], seed, one_step)

    def write_spans(self, spans: Sequence[Span], *, seed: int = 0) -> list[list[Continuation]]:
        """As `write`, with other draws of every prefix; all requests are under way side by side."""
        return self._write(spans, seed, one_step=False)

    def _write(self, spans: Sequence[Span], seed: int, one_step: bool) -> list[list[Continuation]]:
        jobs = [(place, draw) for place, span in enumerate(spans) for draw in span.draws]
        prefixes = [span.prefix for span in spans]
        stop = self._step_end if one_step and self._says_where else None
        if jobs and self.endpoint.api == "chat" and any(prefix.steps for prefix in prefixes):
            self._find_out()
        found = self._ask_all(prefixes, jobs, seed, stop)
        if unclear := [job for job in jobs if stop is not None and self._unclear(found[job])]:
            found |= self._ask_all(prefixes, unclear, seed, None)
        rows = [
            [self._continuation(found[place, draw], span.prefix, one_step) for draw in span.draws]
            for place, span in enumerate(spans)
        ]
        failed = Counter(text.error for row in rows for text in row if text.finish == "failed")
        self._counts["failed"] += failed.total()
        if jobs and failed.total() == len(jobs):
            raise BackendError(f"{self._asker.url}: {failed.most_common(1)[0][0]}")
        for row in rows:
            self._note_alike([text for text in row if text.finish != "failed"])
        return rows

    def report(self) -> dict[str, Any]:
        """What happened so far, in counts, and `notes`: what in them casts doubt on the texts."""
        names = ("requests", "retries", "failed", "uncounted", "surplus_choices", "repeated_answers", "mended")
        doubts = ("began_again", "doubled_space", "several_draws", "all_alike")
        counts = {name: self._counts[name] for name in (*names, *doubts)}
        return {**counts, "notes": _notes(self._counts)}

    def _find_out(self) -> None:
        """See whether the server gives back what the assistant's turn began with; BackendError if it does not answer."""
        if self._gives_back is not None:
            return
        begun = Prefix("", "Say something.", (Step(_BEGUN),))
        outcome: list[Reply | Failure] = []
        body = {**self._body(begun), "max_tokens": 1, "seed": 0}
        self._asker.ask_all([Question(body, lambda data: read_reply(data, "chat", 1), outcome.append, 0)])
        (found,) = outcome
        if isinstance(found, Failure):
            raise BackendError(f"{self._asker.url}: {found.reason}")
        self._gives_back = found.text.startswith(_BEGUN)

    def _unclear(self, outcome: Reply | Failure) -> bool:
        """Whether a reply to a request with a stop string leaves open what the first step is: the server does not say
        what ended the text, or there is nothing before the stop string."""
        if isinstance(outcome, Failure) or outcome.finish == "length":
            return False
        self._says_where &= outcome.says_where
        return not outcome.says_where or (outcome.stopped_at is not None and not outcome.text.strip())

    def _ask_all(
        self, prefixes: Sequence[Prefix], jobs: Sequence[_Job], seed: int, stop: str | None
    ) -> dict[_Job, Reply | Failure]:
        """The outcome of every job. An answer that the server gave to two questions is believed of neither: both are
        asked again, as often as any."""
        found: dict[_Job, Reply | Failure] = {}
        left = list(jobs)
        for _ in range(self.endpoint.tries):
            self._shared.clear()
            self._asker.ask_all(self._questions(prefixes, left, seed, stop, found))
            left = [job for job in left if isinstance(reply := found[job], Reply) and reply.mark in self._shared]
            if not left:
                return found
        return {**found, **dict.fromkeys(left, Failure("the server gave one answer to several requests"))}

    def _questions(
        self,
        prefixes: Sequence[Prefix],
        jobs: Sequence[_Job],
        seed: int,
        stop: str | None,
        found: dict[_Job, Reply | Failure],
    ) -> Iterator[Question[Reply]]:
        for place, some in groupby(jobs, key=lambda job: job[0]):
            prefix = prefixes[place]
            shared = {**self._body(prefix), **({} if stop is None else {"stop": [stop]})}
            key = (prefix.problem_id, prefix.prompt, prefix.text)
            for job in some:
                own = seed_for(seed, "endpoint", *key, job[1])
                asked = blake2b(repr((key, own)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
                yield Question(
                    {**shared, "seed": own}, partial(self._read, asked, prefix), partial(found.__setitem__, job), own
                )

    def _body(self, prefix: Prefix) -> dict[str, Any]:
        """The request without its seed."""
        ours = self.settings
        body = {
            "model": self.model,
            "temperature": ours.temperature,
            "top_p": ours.top_p,
            "max_tokens": ours.max_new_tokens,
            "n": 1,
            "stream": False,
            **self.endpoint.extra(),
        }
        if self.endpoint.api == "completions":
            if self.codec is not None:
                return {**body, "prompt": self.codec.encode(prefix)}
            return {**body, "prompt": self._template.replace("{prompt}", prefix.prompt) + prefix.text}
        user = {"role": "user", "content": self._template.replace("{prompt}", prefix.prompt)}
        if not prefix.steps:
            return {**body, "messages": [user]}
        # Both flags, for vLLM refuses the first without the second; servers that know neither continue a last turn of the
        # assistant by themselves, or answer 400.
        going_on = {"continue_final_message": True, "add_generation_prompt": False}
        return {**body, **going_on, "messages": [user, {"role": "assistant", "content": prefix.text}]}

    def _read(self, asked: bytes, prefix: Prefix, data: Any) -> Reply:
        """The reply, without what the server gives back of the assistant's turn; `TryAgain` if it gave the same answer, by
        its id, to another question before."""
        reply = read_reply(data, self.endpoint.api, self.settings.max_new_tokens)
        if reply.mark is not None:
            if self._marks.setdefault(reply.mark, asked) != asked:
                self._shared.add(reply.mark)
                self._counts["repeated_answers"] += 1
                raise TryAgain("the server gave one answer to several requests")
            if len(self._marks) > REMEMBERED:
                self._marks.popitem(last=False)
        if not (self._gives_back and prefix.steps and self.endpoint.api == "chat"):
            return reply
        if not reply.text.startswith(prefix.text):
            raise Refused(
                "the server gives the assistant's turn back, but not as it began; use the completions interface"
            )
        return replace(reply, text=reply.text[len(prefix.text) :])

    def _continuation(self, outcome: Reply | Failure, prefix: Prefix, one_step: bool) -> Continuation:
        if isinstance(outcome, Failure):
            return Continuation("", "failed", 0, outcome.reason)
        at_end = one_step and outcome.stopped_at is not None and outcome.stopped_at == self._step_end
        text, finish = outcome.text + (outcome.stopped_at or "" if at_end else ""), outcome.finish
        tokens = outcome.tokens if self.codec is None else _count(self.codec, text) + (finish == "stop" and not at_end)
        if self.settings.stop_at_answer and (answered := to_answer(text)) is not None:
            text, finish, at_end = answered, "stop", False  # the rest was written all the same, and is counted
        self._counts["written"] += 1
        self._counts["uncounted"] += tokens is None
        self._counts["surplus_choices"] += outcome.surplus
        self._counts["mended"] += outcome.mended
        if self.endpoint.api == "chat":  # plain text has no turns that could go wrong
            self._counts["began_again"] += bool(prefix.text.strip()) and text.startswith(prefix.text)
            self._counts["doubled_space"] += prefix.text[-1:].isspace() and text[:1].isspace()
        steps = self.splitter(text) if one_step and text else ()
        if len(steps) > 1:
            return Continuation(steps[0].text, "step", tokens or 0)
        return Continuation(text, "step" if at_end else finish, tokens or 0)

    def _note_alike(self, texts: Sequence[Continuation]) -> None:
        if self.settings.temperature > 0 and len(texts) > 1:
            self._counts["several_draws"] += 1
            self._counts["all_alike"] += len({text.text for text in texts}) == 1

    def _template_name(self) -> str:
        if self.codec is not None and self.endpoint.api == "completions":
            shown = self.codec.template
            return f"{shown if shown == 'chat' else _digest(shown)}-ids"
        return _digest(self._template)


def _count(codec: TextCodec, text: str) -> int:
    """Tokens of a text as this tokenizer cuts it; the model may have cut it otherwise while it wrote."""
    return len(codec.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=2).hexdigest()


def _notes(counts: Mapping[str, int]) -> list[str]:
    notes = []
    if counts["several_draws"] >= 8 and counts["all_alike"] > 0.9 * counts["several_draws"]:
        notes.append(
            f"all draws were the same text for {counts['all_alike']} of {counts['several_draws']} prefixes: does the "
            "server ignore seeds? Copies of one draw are no evidence"
        )
    if counts["began_again"] > 0.1 * counts["written"]:
        notes.append(
            f"{counts['began_again']} texts began again with the steps that they should go on from: the server does not "
            "continue the assistant's turn; use the completions interface"
        )
    if counts["doubled_space"] > 0.1 * counts["written"]:
        notes.append(
            f"{counts['doubled_space']} texts began with white space after a step that ended with it: the chat template "
            "seems to cut the end of the assistant's turn; use the completions interface"
        )
    if counts["uncounted"]:
        notes.append(f"{counts['uncounted']} texts without a token count count as 0; name the model's tokenizer")
    return notes


def _template(asked: str, api: str, codec: TextCodec | None) -> str:
    """The text with {prompt} in it that we fill ourselves."""
    if api == "chat":
        return "{prompt}" if asked in ("auto", "chat") else asked
    if asked == "chat" and codec is None:
        raise ConfigError("prompt_template='chat' with api=completions needs the model's tokenizer, or use api=chat")
    return "{prompt}\n" if asked in ("auto", "chat") else asked


def base_url(url: str) -> str:
    """The URL without a slash at its end, with /v1 where it has no path; ConfigError if it can't be one."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ConfigError(f"{url!r} is no URL ({error})") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ConfigError(f"{url!r}; expected a base URL like http://localhost:8000/v1")
    if parsed.userinfo:
        raise ConfigError("the URL holds a password, which would end up in records; give the key by api_key_env")
    found = url.rstrip("/")
    return found if parsed.path.strip("/") else found + "/v1"


def _headers(endpoint: EndpointSettings) -> dict[str, str]:
    if endpoint.api_key_env is None:
        return {}
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {endpoint.api_key_env} holds no key")
    return {"Authorization": f"Bearer {key}"}


def _only_model(url: str, endpoint: EndpointSettings) -> str:
    try:
        response = httpx2.get(f"{url}/models", headers=_headers(endpoint), timeout=endpoint.timeout)
        check_status(f"{url}/models", response)
        names = [str(card["id"]) for card in response.json()["data"]]
    except (httpx2.RequestError, TryAgain) as error:
        raise BackendError(f"{url}: no answer ({error}); is the server running?") from None
    except (Refused, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{url} does not say which models it serves ({error}); name one") from None
    if len(names) != 1:
        shown = ", ".join(names[:10]) or "none"
        raise ConfigError(f"{url} serves {len(names)} models ({shown}); say which one with served_model")
    return names[0]
