"""Scores through vLLM's HTTP API are the engine's own, whatever version answers, or there is an error that says why."""

from __future__ import annotations

import math
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import torch

from gradatim.core import Prefix, Score, Step
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.models.encoding import EncoderSettings
from gradatim.models.forward import head_of
from gradatim.models.model import RewardModel
from gradatim.models.served import Served
from gradatim.score.engine import ModelScorer
from gradatim.score.vllm import VllmScorer
from gradatim.score.vllm_api import Dialect, Refused, Server
from loopback import served as loopback
from tiny_models import prefixes, reward_model
from vllm_server import Version, serving


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def served(model: RewardModel) -> Served:
    """The reading of a model whose server leaves the biases out."""
    bias = head_of(model.module).bias
    return Served.of(model, offset=0.0 if bias is None else float((bias[1] - bias[0]).detach()))


def biased(kind: Any = "prm", **changes: Any) -> RewardModel:
    model = reward_model(kind, **changes)
    if kind == "prm":
        with torch.no_grad():
            head_of(model.module).bias.copy_(torch.tensor([0.3, -0.4]))
    return model


def through(
    model: RewardModel, version: Version, solutions: list[Prefix], **options: Any
) -> tuple[list[Score], Dialect]:
    with serving(model.module, version) as url:
        scorer = VllmScorer(Server(url), served(model), **options)
        scores = scorer.score(solutions)
        assert scorer.dialect is not None
        return scores, scorer.dialect


def check_same(found: list[Score], expected: list[Score], tolerance: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.steps == pytest.approx(other.steps, abs=tolerance, nan_ok=True)
        assert one.logits == pytest.approx(other.logits, abs=20 * tolerance, nan_ok=True)
        assert one.value == pytest.approx(other.value, abs=tolerance, nan_ok=True)
        assert (one.by, one.reduction, one.prefix) == (other.by, other.reduction, other.prefix)


def with_observations() -> list[Prefix]:
    steps = (
        Step("look it up\n", "query"),
        Step("it says 12\n", "observation"),
        Step("so 12\n"),
        Step("end", "observation"),
    )
    return [*prefixes(), Prefix("q", "How many?", steps), Prefix("q", "How many?", steps[1:2]), Prefix("q", "Nothing")]


VERSIONS = {
    "today": (Version(), "/pooling", "use_activation", "tokens"),
    "0.11: activation": (Version(switches=("activation",)), "/pooling", "activation", "tokens"),
    "0.9: softmax, no tasks": (Version(tasks=None, switches=("softmax",)), "/pooling", "softmax", "tokens"),
    "encode, before it was split": (Version(tasks=("encode",), switches=("softmax",)), "/pooling", "softmax", "tokens"),
    "a release that reads false as true": (
        Version(switches=("use_activation",), backwards=("activation", "softmax")), "/pooling", "use_activation", "tokens",
    ),
    "no switch that works": (Version(switches=(), backwards=("activation",)), "/pooling", None, "tokens"),
    "a task that is set at the start": (Version(tasks=()), "/pooling", "use_activation", "tokens"),
    "sigmoid": (Version(activation="sigmoid"), "/pooling", "use_activation", "tokens"),
    "no activation at all": (Version(activation="none"), "/pooling", None, "tokens"),
    "classify alone": (Version(paths=("/classify",)), "/classify", "use_activation", "last"),
}  # fmt: skip


@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_gives_the_engines_scores(name: str) -> None:
    """Steps, logits and values of a PRM agree with the engine's; the way of asking is the expected one."""
    version, path, switch, rows = VERSIONS[name]
    model, solutions = biased(), with_observations()

    found, dialect = through(model, version, solutions)
    check_same(found, ModelScorer(model).score(solutions))
    assert (dialect.path, dialect.switch, dialect.rows) == (path, switch, rows)
    assert math.isnan(found[-1].value)
    assert math.isnan(found[-2].value)


def test_step_pooling_answers_rows_at_the_tags_only() -> None:
    """A tag is read by its place among the tags, also where a prompt holds one more."""
    settings = EncoderSettings(separator="<step>", prompt_template="<step>{prompt}\n")
    model = biased(settings=settings)
    version = Version(tag=model.encoder.separator_id)

    found, dialect = through(model, version, prefixes())
    check_same(found, ModelScorer(model).score(prefixes()))
    assert dialect.rows == "tags"


@pytest.mark.parametrize(
    ("version", "path", "rows"),
    [
        (Version(activation="sigmoid"), "/classify", "last"),
        (Version(activation="softmax"), "/classify", "last"),
        (Version(activation="none"), "/classify", "last"),
        (Version(paths=("/pooling",)), "/pooling", "last"),
        (Version(paths=("/pooling",), tasks=("token_classify",), activation="sigmoid"), "/pooling", "tokens"),
        (Version(paths=("/pooling",), tasks=("token_classify",), squeezed=True), "/pooling", "tokens"),
    ],
)
def test_an_orm_is_read_at_its_last_token(version: Version, path: str, rows: str) -> None:
    """Raw logits come back even from a softmax over one class, which always says 1."""
    model = reward_model("orm")
    if version.activation == "none":
        with torch.no_grad():
            head_of(model.module).weight.mul_(50)

    found, dialect = through(model, version, prefixes())
    check_same(found, ModelScorer(model).score(prefixes()), 1e-4)
    assert (dialect.path, dialect.rows) == (path, rows)


@pytest.mark.parametrize("activated", [True, None])
def test_single_numbers_in_the_unit_interval_are_not_guessed_at(activated: bool | None) -> None:
    """Where no switch works, a number between 0 and 1 may be a logit; the caller has to say."""
    model, version = reward_model("orm"), Version(switches=(), activation="sigmoid")
    if activated is None:
        with pytest.raises(BackendError, match="logits or probabilities; say activated="):
            through(model, version, prefixes())
        return

    found, _ = through(model, version, prefixes(), activated=activated)
    check_same(found, ModelScorer(model).score(prefixes()), 1e-4)


def test_a_probability_of_0_is_a_score() -> None:
    """Softmax underflows to an exact 0; the step keeps its place and its side."""
    model = biased()
    with torch.no_grad():
        head_of(model.module).weight.mul_(100)

    found, dialect = through(model, Version(switches=()), prefixes())
    expected = ModelScorer(model).score(prefixes())
    assert dialect.activated
    assert {value for score in found for value in score.steps} & {0.0, 1.0} or min(min(s.steps) for s in found) < 1e-30
    for one, other in zip(found, expected, strict=True):
        assert all(math.isfinite(logit) for logit in one.logits or ())
        assert one.steps == pytest.approx(other.steps, abs=1e-5)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (Version(columns=32), "rows of 32"),
        (Version(extra_tokens=1), "adds, drops or cuts tokens"),
        (Version(lost_rows=1), "rows for .* tokens, expected"),
        (Version(paths=("/pooling",), lost_rows=1, lost_after=1), "rows of 2, then .* cached"),
        (Version(paths=()), "404"),
        (Version(tasks=("embed",), paths=("/pooling",), columns=5), "does not answer as a prm"),
        (Version(columns=2, activation="normalise"), "not by softmax or sigmoid"),
        (Version(switches=(), activation="sigmoid"), "numbers in \\[0, 1\\]"),
        (Version(models=("a", "b")), "serves \\['a', 'b'\\]"),
    ],
)
def test_what_is_no_reward_model_is_refused(version: Version, message: str) -> None:
    """Hidden states, normalised or not, changed tokens, missing rows, no such API, numbers that could be logits or
    probabilities: an error, never a score."""
    with pytest.raises((BackendError, ConfigError), match=message):
        through(biased(), version, prefixes())


def test_only_token_ids_are_sent_and_each_distinct_input_once() -> None:
    """No text leaves, copies share one input, and a request keeps to its bounds."""
    model, version = biased(), Version(max_model_len=None)
    solutions = [*prefixes(), *prefixes()]
    with serving(model.module, version) as url:
        scorer = VllmScorer(Server(url, api_key="secret"), served(model), batch_inputs=5, batch_tokens=150)
        scores = scorer.score(solutions)
        asked = [request for request in version.asked if len(request["input"]) > 1 or "use_activation" in request]
        sent = [tuple(ids) for request in version.asked[3:] for ids in request["input"]]

    check_same(scores, ModelScorer(model).score(solutions))
    assert all(isinstance(token, int) for request in asked for ids in request["input"] for token in ids)
    assert len(sent) == len(set(sent)) == len(prefixes())
    assert all(len(r["input"]) <= 5 and (len(r["input"]) == 1 or sum(map(len, r["input"])) <= 150) for r in asked)
    assert all(request["headers"]["Authorization"] == "Bearer secret" for request in version.asked)
    assert scorer.stats.tokens_processed == sum(map(len, sent))
    assert "use_activation=false" in scorer.stats.notes[0]


def test_order_and_company_change_nothing() -> None:
    """A solution alone, in a batch, or last instead of first has the same score."""
    model = biased()
    with serving(model.module, Version()) as url:
        scorer = VllmScorer(Server(url), served(model), batch_inputs=3, at_once=2)
        forwards = scorer.score(prefixes())
        check_same(scorer.score(prefixes()[::-1])[::-1], forwards, 1e-7)
        check_same([scorer.score([prefix])[0] for prefix in prefixes()], forwards, 1e-7)


def test_too_long_for_the_server_is_the_users_to_mend() -> None:
    """A solution longer than --max-model-len is refused with its length, and nothing is cut."""
    model, (short, long) = biased(), sorted(prefixes(), key=lambda prefix: len(prefix.text))[:: len(prefixes()) - 1]
    length = len(model.encoder.encode(short).ids)
    with serving(model.module, Version(max_model_len=length)) as url:
        scorer = VllmScorer(Server(url), served(model))
        fine, refused = scorer.refused([short, long])
        assert fine is None
        assert refused is not None
        assert f"at most {length}" in str(refused)
        with pytest.raises(InputError, match="max-model-len"):
            scorer.score([short, long])


def test_a_busy_server_is_asked_again() -> None:
    """503 is no answer; the request is sent again a few times."""
    model = biased()
    found, _ = through(model, Version(busy=1), prefixes()[:2])
    check_same(found, ModelScorer(model).score(prefixes()[:2]))


def test_no_server_is_an_error_that_says_how_to_start_one() -> None:
    """A port on which nothing listens."""
    with pytest.raises(BackendError, match="vllm serve"):
        Server("http://127.0.0.1:9", retries=0)
    with pytest.raises(ConfigError, match="http://"):
        Server("localhost:8000")


def test_a_server_that_stays_busy_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one that refuses: the next way of asking, or of switching, is not tried in its stead."""
    monkeypatch.setattr("gradatim.score.vllm_api.time.sleep", lambda _: None)
    model = biased()
    for before in range(4):
        version = Version()
        version.asked = Falling(version, before)
        with serving(model.module, version) as url:
            scorer = VllmScorer(Server(url, retries=1), served(model))
            with pytest.raises(BackendError, match=r"/pooling: 503: .*busy or down after 2 requests") as error:
                scorer.score(prefixes()[:2])
        assert not isinstance(error.value, Refused)


class Falling(list[dict[str, Any]]):
    """Notes a server's requests, and after so many of them makes it busy for good."""

    def __init__(self, version: Version, after: int) -> None:
        super().__init__()
        self.version, self.after = version, after

    def append(self, request: dict[str, Any]) -> None:
        super().append(request)
        if len(self) > self.after:
            self.version.busy = 99


def test_an_answer_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden states of every token, say: the error says what was expected."""
    monkeypatch.setattr("gradatim.score.vllm_api.ANSWER_BYTES", 2000)
    with pytest.raises(BackendError, match=r"answered more than 2,000 bytes, expected one or two numbers a token"):
        through(biased(), Version(columns=32), prefixes())


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    """Fewer bytes than were announced are no answer."""

    class Breaking(BaseHTTPRequestHandler):
        left = 1

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            data = b'{"data": [{"id": "tiny", "max_model_len": 7}]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:20] if Breaking.left else data)
            Breaking.left = 0

    with loopback(Breaking) as url:
        assert Server(url).max_length == 7
