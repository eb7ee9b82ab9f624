"""What servers make of an assistant's turn that is to be continued."""

from __future__ import annotations

from typing import Any

import pytest
from model_server import ModelServer

from gradatim.core import Continuation, Prefix, Step
from gradatim.solutions.endpoint import EndpointPolicy, load_endpoint
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.solutions.settings import EndpointSettings, PolicySettings

PREFIXES = [
    Prefix("a", "What is 3 + 4?"),
    Prefix("a", "What is 3 + 4?", (Step("3 + 4 = 7\n"),)),
    Prefix("b", "What is 5 + 5?", (Step("5 + 5 = 10\n"), Step("so\n"))),
]

SCRIPTED = ScriptedPolicy(lambda prefix, draw, seed: f"{prefix.prompt} {prefix.text!r}\ndraw {draw}\n")
"""Every draw of every prefix has a text of its own."""


def policy(server: ModelServer, **changes: Any) -> EndpointPolicy:
    """A policy in a hurry."""
    return load_endpoint(server.url, PolicySettings(max_new_tokens=64), EndpointSettings(backoff=0.01, **changes))


def test_a_server_that_gives_the_whole_turn_back_is_seen_and_the_beginning_taken_off() -> None:
    """llama.cpp's way with a continued turn: texts, tokens and finishes are those of a server that gives what is new. One
    token, asked for once, finds it out; where no turn is continued nothing is asked."""
    with ModelServer(SCRIPTED) as plain, ModelServer(SCRIPTED, gives_back=True) as server:
        asked = policy(server)
        asked.write(PREFIXES[:1], draws=range(2))
        assert server.probed == 0
        for one_step in (False, True):
            made = asked.write(PREFIXES, draws=range(3), one_step=one_step)
            assert made == policy(plain).write(PREFIXES, draws=range(3), one_step=one_step)
        assert server.probed == 1
        assert asked.report()["began_again"] == 0
    with ModelServer(SCRIPTED, gives_back=True) as server:
        policy(server, api="completions").write(PREFIXES, draws=range(1))
        assert server.probed == 0


def test_a_turn_that_does_begin_with_its_own_beginning_is_kept() -> None:
    """A server that gives what is new alone: a text that repeats the step before it is the model's, and is not cut."""
    start = PREFIXES[1]
    with ModelServer(ScriptedPolicy(lambda prefix, draw, seed: f"{start.text}again\n")) as server:
        [[text]] = policy(server).write([start], draws=range(1))
    assert text.text == f"{start.text}again\n"


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_white_space_that_comes_twice_is_doubted_in_chats_alone(api: str) -> None:
    """A chat template may cut a turn's end, which the model then writes again; plain text is sent as it is."""
    with ModelServer(ScriptedPolicy(lambda prefix, draw, seed: "\nso 7\n")) as server:
        asked = policy(server, api=api)
        asked.write(PREFIXES[1:2], draws=range(3))
    assert asked.report()["doubled_space"] == (3 if api == "chat" else 0)
    assert any("use the completions interface" in note for note in asked.report()["notes"]) == (api == "chat")


def test_what_is_given_back_otherwise_than_it_was_sent_is_refused() -> None:
    """Where white space was taken off, say, nobody knows what the model wrote."""

    class Trimming(ModelServer):
        def write(self, body: dict[str, Any]) -> Continuation:
            made = super().write(body)
            if body["messages"][-1]["role"] == "assistant":
                body["messages"][-1]["content"] = body["messages"][-1]["content"].strip()
            return made

    with Trimming(SCRIPTED, gives_back=True) as server:
        rows = policy(server).write(PREFIXES[:2], draws=range(2))
    assert [text.finish for text in rows[0]] == ["stop", "stop"]
    assert {(text.finish, text.text) for text in rows[1]} == {("failed", "")}
    assert "use the completions interface" in rows[1][0].error
