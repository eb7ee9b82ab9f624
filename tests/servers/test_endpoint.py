"""EndpointPolicy against a real HTTP server that serves a known policy and misbehaves on demand."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from model_server import FAULTS, Fault, ModelServer

from gradatim.core import Continuation, Prefix, Step, seed_for
from gradatim.errors import BackendError, ConfigError
from gradatim.solutions.endpoint import EndpointPolicy, load_endpoint
from gradatim.solutions.endpoint.policy import _notes
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.solutions.settings import EndpointSettings, PolicySettings

PREFIXES = [
    Prefix("a", "What is 3 + 4?"),
    Prefix("a", "What is 3 + 4?", (Step("3 + 4 = 7\n"),)),
    Prefix("b", "What is 5 + 5?", (Step("5 + 5 = 10\n"), Step("so\n"))),
]

PASSING: Sequence[Fault] = (
    *("429", "500", "503", "slow", "cut", "closed", "malformed", "html", "error", "fewer", "abort", "replay"),
)
"""Faults after which asking again helps."""

REFUSED: Sequence[Fault] = ("400", "filtered", "reasoning")
"""Faults of one request."""


def script(prefix: Prefix, draw: int, seed: int) -> str:
    """Every draw of every prefix has a text of its own."""
    return f"{prefix.prompt} {prefix.text!r}\ndraw {draw}\nAnswer: {draw % 5}\n"


SCRIPTED = ScriptedPolicy(script)


def policy(server: ModelServer, **changes: Any) -> EndpointPolicy:
    """A patient policy in a hurry."""
    ours = {"timeout": 30.0, "backoff": 0.01, "concurrency": 4, **changes}
    return load_endpoint(server.url, PolicySettings(max_new_tokens=64), EndpointSettings(**ours))


def test_the_texts_are_the_served_policys_and_each_draw_has_a_seed_of_its_own() -> None:
    """One request a draw, with one choice; the assistant's turn goes on where there is one."""
    with ModelServer(SCRIPTED) as server:
        asked = policy(server)
        rows = asked.write(PREFIXES, draws=range(2, 5), seed=7)
        found = {"requests": 9 + 1, "several_draws": 3, "notes": []}
        assert asked.report() == {**dict.fromkeys(asked.report(), 0), **found}
        assert server.probed == 1
    by_seed = {body["seed"]: body for body in server.log}
    assert len(by_seed) == 9
    for prefix, row in zip(PREFIXES, rows, strict=True):
        for draw, text in zip(range(2, 5), row, strict=True):
            body = by_seed[seed_for(7, "endpoint", prefix.problem_id, prefix.prompt, prefix.text, draw)]
            made = script(prefix, body["seed"], 0)
            assert text == Continuation(made, "stop", len(made.split()))
            turns = [{"role": "user", "content": prefix.prompt}, {"role": "assistant", "content": prefix.text}]
            assert body["messages"] == (turns if prefix.steps else turns[:1])
            going_on = {"continue_final_message": True, "add_generation_prompt": False}
            assert {name: body[name] for name in going_on if name in body} == (going_on if prefix.steps else {})
            assert (body["n"], body["max_tokens"], body["model"], body["top_k"]) == (1, 64, "served", -1)


def test_the_law_of_policies() -> None:
    """Draws 0-5 are draws 0-2 and 3-5; order and company change nothing; another seed changes all."""
    with ModelServer(SCRIPTED) as server:
        asked = policy(server)
        whole = asked.write(PREFIXES, draws=range(6))
        parts = [asked.write(PREFIXES, draws=some) for some in (range(3), range(3, 6))]
        assert whole == [[*first, *second] for first, second in zip(*parts, strict=True)]
        assert whole[::-1] == policy(server, concurrency=1).write(PREFIXES[::-1], draws=range(6))
        other = asked.write(PREFIXES, draws=range(6), seed=1)
        assert not {text.text for row in whole for text in row} & {text.text for row in other for text in row}
        assert asked.write([], draws=range(3)) == []
        assert asked.write(PREFIXES, draws=range(0)) == [[], [], []]


@pytest.mark.parametrize("says_where", [True, False])
def test_one_step_is_the_first_step_of_the_whole_text(says_where: bool) -> None:
    """The server stops at the line's end where it says that it did; otherwise the whole text is asked for, and cut."""
    with ModelServer(SCRIPTED, says_where=says_where) as server:
        asked = policy(server)
        [[whole]] = asked.write(PREFIXES[:1], draws=range(1))
        server.log.clear()
        [[step]] = asked.write(PREFIXES[:1], draws=range(1), one_step=True)
        again = asked.write(PREFIXES[:1], draws=range(1, 4), one_step=True)
    first = whole.text.splitlines(keepends=True)[0]
    assert step == Continuation(first, "step", len(first.split()) if says_where else whole.tokens)
    assert {text.finish for text in again[0]} == {"step"}
    stops = [body.get("stop") for body in server.log]
    # A server that does not say what ended a text is asked for no more stops.
    assert stops == [["\n"]] * 4 if says_where else stops == [["\n"], *[None] * 4]


def test_a_step_that_ends_the_text_and_blank_lines() -> None:
    """The model's own end is no step's end; where a blank line comes first, the whole text says what the step is."""
    start = PREFIXES[0]
    texts = {
        seed_for(0, "endpoint", start.problem_id, start.prompt, "", draw): text
        for draw, text in enumerate(["one", "\n\ntwo\nthree", "four\n\nfive"])
    }
    with ModelServer(ScriptedPolicy(lambda prefix, draw, seed: texts[draw])) as server:
        found = policy(server).write([start], draws=range(3), one_step=True)
    made = [(text.text, text.finish) for text in found[0]]
    assert made == [("one", "stop"), ("\n\ntwo\n", "step"), ("four\n", "step")]


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again_and_nothing_is_lost_or_doubled(fault: Fault) -> None:
    """Each draw's first request goes wrong: the result is that of a server that behaves, with the same seeds."""
    timeout = 1.0 if fault == "slow" else 30.0
    with ModelServer(SCRIPTED) as good:
        clean = policy(good).write(PREFIXES, draws=range(3))
    with ModelServer(SCRIPTED, lambda times, body: fault if times == 0 else None) as server:
        asked = policy(server, timeout=timeout)
        assert asked.write(PREFIXES, draws=range(3)) == clean
        report = asked.report()
    assert report["failed"] == 0
    assert {body["seed"] for body in server.served} == {body["seed"] for body in good.served}
    if fault == "replay":  # whose answer it was can't be told: both are asked again
        assert report["repeated_answers"] > 0
    elif fault != "slow":  # a busy machine may be too slow more often
        assert (report["requests"] - server.probed, report["retries"]) == (len(server.log), 9) == (18, 9)
        assert len(server.served) == 9


@pytest.mark.parametrize("fault", REFUSED)
def test_what_one_request_can_not_have_is_recorded_on_its_row(fault: Fault) -> None:
    """It is not asked for again, has no text, says why, and the others are not touched."""
    bad = PREFIXES[1].text

    def faults(times: int, body: dict[str, Any]) -> Fault | None:
        return fault if body["messages"][-1]["content"] == bad else None

    with ModelServer(SCRIPTED) as good:
        clean = policy(good).write(PREFIXES, draws=range(3))
    with ModelServer(SCRIPTED, faults) as server:
        asked = policy(server)
        rows = asked.write(PREFIXES, draws=range(3))
        assert len(server.log) == 9
        assert asked.report()["failed"] == 3
    assert [rows[0], rows[2]] == [clean[0], clean[2]]
    for text in rows[1]:
        assert (text.text, text.finish, text.tokens) == ("", "failed", 0)
        assert text.error


def test_a_request_that_never_succeeds_is_recorded_too() -> None:
    """After the given number of tries, with the last reason; all other draws are there."""
    with ModelServer(SCRIPTED, lambda times, body: "500" if "10" in str(body["messages"]) else None) as server:
        rows = policy(server, tries=3).write(PREFIXES, draws=range(2))
    assert [text.finish for row in rows for text in row] == ["stop"] * 4 + ["failed"] * 2
    assert {text.error for text in rows[2]} == {"500 (a planted 500) (3 tries)"}
    assert Counter(body["seed"] for body in server.log).most_common()[0][1] == 3


@pytest.mark.parametrize("fault", ["500", "400", "429 much later"])
def test_nothing_at_all_is_a_backend_error(fault: Fault) -> None:
    """So a stage leaves the batch out as a whole."""
    with ModelServer(SCRIPTED, lambda times, body: fault) as server, pytest.raises(BackendError, match=server.url):
        policy(server, tries=2).write(PREFIXES, draws=range(2))


@pytest.mark.parametrize("fault", ["401", "404"])
def test_what_is_wrong_with_every_request_stops_at_once(fault: Fault) -> None:
    """A wrong key or model is the user's to mend: no hundred refused requests."""
    with ModelServer(SCRIPTED, lambda times, body: fault) as server:
        with pytest.raises(ConfigError, match=fault):
            policy(server, concurrency=3).write(PREFIXES, draws=range(30))
        assert len(server.log) <= 3


def test_a_server_that_is_not_there_is_given_up() -> None:
    """The first draws use up their tries, and the others do not."""
    with ModelServer(SCRIPTED) as server:
        asked = policy(server, tries=2, concurrency=3)
    with pytest.raises(BackendError, match="no connection"):
        asked.write(PREFIXES, draws=range(100))
    assert asked.report()["requests"] <= 3 * 2 + 2 * 2


def test_a_server_that_comes_back_is_used() -> None:
    """A restart in the middle costs tries, no draws."""
    with ModelServer(SCRIPTED) as server:
        asked, port = policy(server, tries=10, backoff=0.1), server.port
        clean = asked.write(PREFIXES, draws=range(2))

    with ThreadPoolExecutor(1) as threads:
        written = threads.submit(asked.write, PREFIXES, draws=range(2))
        while asked.report()["retries"] == 0:
            assert not written.done()
            time.sleep(0.01)
        with ModelServer(SCRIPTED, port=port):
            assert written.result() == clean


def test_retry_after_is_kept_by_all_requests() -> None:
    """One refusal with "wait a second" stops the others as well, and after it all is written."""
    times: list[float] = []

    def faults(asked_before: int, body: dict[str, Any]) -> Fault | None:
        times.append(time.monotonic())
        if len(times) == 1:
            return "429 later"
        time.sleep(0.1)  # whoever does not wait asks nine times more before the second is over
        return None

    with ModelServer(SCRIPTED, faults) as server:
        rows = policy(server, concurrency=2).write(PREFIXES, draws=range(4))
    assert {text.finish for row in rows for text in row} == {"stop"}
    early = [moment for moment in times if moment - times[0] < 0.9]
    assert len(early) <= 5, "the other worker's request that was under way, and what a busy machine lets through"


def test_a_wait_that_is_too_long_fails_without_asking_again() -> None:
    """Told to come back in an hour, it does not come back in a second."""
    with ModelServer(SCRIPTED, lambda times, body: "429 much later") as server:
        with pytest.raises(BackendError, match=r"no request for 3\d\d\d s"):
            policy(server, concurrency=2).write(PREFIXES, draws=range(50))
        assert len(server.log) <= 2


@pytest.mark.parametrize("concurrency", [1, 5])
def test_no_more_requests_than_allowed_are_under_way(concurrency: int) -> None:
    """And as many as allowed are."""
    with ModelServer(SCRIPTED, delay=0.05) as server:
        policy(server, concurrency=concurrency).write(PREFIXES, draws=range(5))
    assert server.most == concurrency


def test_only_what_was_asked_for_is_taken() -> None:
    """More choices than one: the first counts, the others are counted as surplus, and so is no token of theirs."""
    with ModelServer(SCRIPTED) as good:
        clean = policy(good).write(PREFIXES, draws=range(2))
    with ModelServer(SCRIPTED, lambda times, body: "more") as server:
        asked = policy(server)
        rows = asked.write(PREFIXES, draws=range(2))
    assert [[text.text for text in row] for row in rows] == [[text.text for text in row] for row in clean]
    assert asked.report()["surplus_choices"] == 12
    assert asked.report()["uncounted"] == 6


@pytest.mark.parametrize("fault", ["no usage", "wrong usage"])
def test_token_counts_that_can_not_be_right_are_not_believed(fault: Fault) -> None:
    """They are missing, which is reported; with the model's tokenizer they are counted here."""
    with ModelServer(SCRIPTED, lambda times, body: fault) as server:
        asked = policy(server)
        [row] = asked.write(PREFIXES[:1], draws=range(2))
        assert [text.tokens for text in row] == [0, 0]
        assert "tokenizer" in asked.report()["notes"][0]
        counting = policy(server, tokenizer="lab")
        [row] = counting.write(PREFIXES[:1], draws=range(2))
    assert counting.report()["uncounted"] == 0
    assert counting.codec is not None
    for text in row:
        assert text.tokens == len(counting.codec.tokenizer.tokenize(text.text)) + 1  # and the token that ended it


def test_completions_send_the_text_or_its_tokens() -> None:
    """Plain text after the template; with a tokenizer its ids, in which no text is a control token."""
    with ModelServer(SCRIPTED) as server:
        plain = policy(server, api="completions")
        [row] = plain.write(PREFIXES[2:], draws=range(2))
        assert {body["prompt"] for body in server.log} == {"What is 5 + 5?\n5 + 5 = 10\nso\n"}
        assert [text.finish for text in row] == ["stop", "stop"]
        server.log.clear()
        ids = policy(server, api="completions", tokenizer="lab")
        assert ids.codec is not None
        end = ids.codec.tokenizer.eos_token
        prefix = Prefix("c", f"ab{end}?", (Step(f"c{end}\n"),))
        ids.write([prefix], draws=range(1))
        [body] = server.log
        assert body["prompt"] == ids.codec.encode(prefix)
        assert ids.codec.tokenizer.eos_token_id not in body["prompt"]
        assert len({plain.name, ids.name, policy(server).name}) == 3


def test_doubtful_servers_are_noted() -> None:
    """One that ignores seeds, one that does not go on with the turn, one that drops the end of it."""
    prefixes = [Prefix(str(i), f"problem {i}", (Step("a first step\n"),)) for i in range(10)]
    for served, fault, word in (
        (ScriptedPolicy(lambda prefix, draw, seed: "always this\n"), None, "seeds"),
        (SCRIPTED, "echo", "began again"),
        (ScriptedPolicy(lambda prefix, draw, seed: f"\nthen {draw}"), None, "white space"),
    ):
        with ModelServer(served, lambda times, body, fault=fault: fault) as server:  # type: ignore[misc]
            asked = policy(server)
            asked.write(prefixes, draws=range(2))
        [note] = asked.report()["notes"]
        assert word in note


def test_the_model_is_found_or_asked_for() -> None:
    """One model is taken, several are listed, none is an error; a server that is not there says so."""
    with ModelServer(SCRIPTED, models=("x", "y")) as server:
        with pytest.raises(ConfigError, match="x, y"):
            load_endpoint(server.url)
        assert load_endpoint(server.url, endpoint=EndpointSettings(served_model="y")).name.startswith("y@chat ")
    with pytest.raises(BackendError, match="running"):
        load_endpoint(server.url)


def test_keys_are_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key comes from the environment; it is in no name and no message."""
    monkeypatch.setenv("THE_KEY", "sesame")
    with ModelServer(SCRIPTED, key="sesame") as server:
        asked = policy(server, api_key_env="THE_KEY")
        assert asked.write(PREFIXES[:1], draws=range(1))[0][0].finish == "stop"
        assert "sesame" not in asked.name
        monkeypatch.setenv("THE_KEY", "mustard")
        with pytest.raises(ConfigError, match="the key") as caught:
            policy(server, api_key_env="THE_KEY")
        assert "mustard" not in str(caught.value)
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(ConfigError, match="holds no key"):
        policy(server, api_key_env="THE_KEY")


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://a/v1", "http://me:secret@a/v1", "http://a/v1?x=1", "http://", "http://a:b"]
)
def test_urls_that_can_not_be_are_refused(url: str) -> None:
    """Before anything is sent; a password is not repeated."""
    with pytest.raises(ConfigError) as caught:
        EndpointPolicy(url, "m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"api": "both"},
        {"concurrency": 0},
        {"tries": 0},
        {"timeout": 0.0},
        {"backoff": -1.0},
        {"request_extra": "{"},
        {"request_extra": "[]"},
        {"request_extra": '{"seed": 1}'},
    ],
)
def test_settings_that_can_not_be_are_refused(changes: dict[str, Any]) -> None:
    """With the name of the setting."""
    with pytest.raises(ConfigError, match=next(iter(changes))):
        EndpointSettings(**changes)


def test_the_name_tells_apart_what_texts_depend_on() -> None:
    """And nothing else: not the URL, the patience or the concurrency."""

    def name(url: str = "http://a/v1", model: str = "m", ours: PolicySettings | None = None, **changes: Any) -> str:
        return EndpointPolicy(url, model, ours, EndpointSettings(**changes)).name

    same = {name(), name("http://b:1/v1"), name(concurrency=2, tries=1, timeout=3.0)}
    other = [
        name(model="n"),
        name(api="completions"),
        name(request_extra="{}"),
        *(
            name(ours=PolicySettings(**{k: v}))
            for k, v in (("temperature", 0.5), ("top_p", 0.9), ("max_new_tokens", 9), ("prompt_template", "Q {prompt}"))
        ),
    ]
    assert len(same) == 1
    assert len({*other, *same}) == len(other) + 1


def test_inside_a_running_event_loop() -> None:
    """As in a notebook."""

    async def notebook(asked: EndpointPolicy) -> list[list[Continuation]]:
        return asked.write(PREFIXES, draws=range(2))

    with ModelServer(SCRIPTED) as server:
        asked = policy(server)
        assert asyncio.run(notebook(asked)) == asked.write(PREFIXES, draws=range(2))


def test_every_fault_is_tested() -> None:
    """The list of faults and the tests above go together."""
    alone = {"401", "404", "429 later", "429 much later", "more", "no usage", "wrong usage", "echo"}
    assert {*PASSING, *REFUSED, *alone} == set(FAULTS)


def test_texts_end_with_their_answer_where_that_was_asked() -> None:
    """What a server writes after the line that states the answer is cut off, and its tokens are counted."""
    babbling = ScriptedPolicy(lambda prefix, draw, seed: f"so\nAnswer: {draw}\nand on and on")
    with ModelServer(babbling) as server:
        free, brief = (
            load_endpoint(server.url, PolicySettings(max_new_tokens=64, stop_at_answer=stop), EndpointSettings())
            for stop in (False, True)
        )
        assert free.name != brief.name
        [row], [cut] = (asked.write(PREFIXES[:1], draws=range(3)) for asked in (free, brief))
    assert [text.text for text in cut] == [text.text.removesuffix("and on and on") for text in row]
    assert [(text.finish, text.tokens) for text in cut] == [("stop", 7)] * 3


def test_an_outage_casts_no_doubt_on_the_chat_template() -> None:
    """Draws that failed are no texts; where there are none, none began again."""
    assert _notes(Counter(requests=130, retries=13, failed=160)) == []
    with ModelServer(ScriptedPolicy(script), lambda times, body: "400") as server:
        asked = policy(server)
        with pytest.raises(BackendError):
            asked.write(PREFIXES[:1], draws=range(8))
        assert asked.report()["notes"] == []
