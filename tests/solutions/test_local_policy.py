"""LocalPolicy against a reference that runs the whole model for every token, without cache, batch or padding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from gradatim.core import Continuation, Prefix, Step
from gradatim.errors import CheckpointError, ConfigError, InputError
from gradatim.solutions.local import LocalPolicy
from gradatim.solutions.local.decode import Ends, Request
from gradatim.solutions.local.first import first_step_over
from gradatim.solutions.local.sampling import choose, generator, key_of
from gradatim.solutions.settings import PolicySettings
from gradatim.solutions.spans import Span
from gradatim.steps import SPLITTERS, by_line
from tiny_models import bpe_tokenizer, causal

ARCHITECTURES = ("llama", "qwen2", "mistral", "gpt2", "neox")
ROOM = 160
"""Positions of the models' context."""

STOPS = (1, *range(40, 52))
"""Tokens that end a text: so many that random models end some of their texts."""

PROMPTS = ["What is dax?", "lom is 7. What is 3 + 4, and who paid €3?", "a"]
STEPS = ["define loom as 12\n", "define fep as 4\n", "Answer: 8"]


@cache
def tokenizer() -> Any:
    return bpe_tokenizer(bos=False)


@cache
def make_model(name: str, seed: int = 0, stops: tuple[int, ...] = STOPS) -> Any:
    """A random model in float64, where rounding can't move a token."""
    model = causal(name, len(tokenizer()), seed, max_position_embeddings=ROOM).double()
    model.generation_config.eos_token_id = list(stops)
    return model


def prefixes() -> list[Prefix]:
    """Prefixes of different length, some of which extend others."""
    whole = [Prefix(str(index), prompt, tuple(map(Step, STEPS))) for index, prompt in enumerate(PROMPTS)]
    return [prefix.first(k) for prefix in whole for k in (0, 2, 3, 1)]


def settings(**changes: Any) -> PolicySettings:
    return PolicySettings(**{"max_new_tokens": 24, "batch_rows": 7, "device": "cpu", **changes})


def reference(model: Any, prefix: Prefix, draw: int, seed: int, ours: PolicySettings) -> Continuation:
    """One continuation, the long way round."""
    texts = [prefix.prompt + "\n", *(step.text for step in prefix.steps)]
    ids = [token for text in texts for token in tokenizer().encode(text, add_special_tokens=False)]
    start, limit = len(ids), min(ours.max_new_tokens, ROOM - len(ids))
    uniforms = generator(seed, key_of(prefix), draw).random(limit)
    finish = "length"
    for uniform in uniforms:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].numpy()
        ids.append(pick(logits, uniform, ours))
        if ids[-1] in model.generation_config.eos_token_id:
            finish = "stop"
            break
    written = ids[start:]
    texted = written[:-1] if finish == "stop" else written
    text = tokenizer().decode(texted, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Continuation(text, finish, len(written))  # type: ignore[arg-type]


def pick(logits: np.ndarray[Any, Any], uniform: float, ours: PolicySettings) -> int:
    """Inverse-CDF sampling of one token, in plain loops."""
    if ours.temperature == 0:
        return int(np.argmax(logits))
    weights = np.exp((logits - logits.max()) / ours.temperature)
    weights /= weights.sum()
    order = list(range(len(weights)))
    if ours.top_p < 1:
        order.sort(key=lambda token: -weights[token])
        kept = [token for index, token in enumerate(order) if weights[order[:index]].sum() < ours.top_p]
        order = kept
    total, passed = sum(weights[token] for token in order), 0.0
    for token in order:
        passed += weights[token]
        if passed > uniform * total:
            return token
    return order[-1]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_texts_are_those_of_full_forward_passes(name: str) -> None:
    """Cache, padding, sharing and the removal of finished rows change no token, in any architecture."""
    model, ours = make_model(name), settings()
    policy = LocalPolicy(model, tokenizer(), ours, name=name)
    written = policy.write(prefixes(), draws=range(2, 4), seed=5)
    expected = [[reference(model, prefix, draw, 5, ours) for draw in (2, 3)] for prefix in prefixes()]
    assert written == expected
    assert {made.finish for row in written for made in row} == {"stop", "length"}


def test_spans_have_the_texts_of_calls_of_their_own() -> None:
    """Other draws of every prefix, written side by side, are what a call for each of them writes."""
    policy = LocalPolicy(make_model("llama"), tokenizer(), settings(), name="llama")
    spans = [Span(prefix, range(place % 3, 3 + place % 2)) for place, prefix in enumerate(prefixes())]
    alone = [policy.write([span.prefix], draws=span.draws, seed=5)[0] for span in spans]
    assert policy.write_spans(spans, seed=5) == alone
    assert len({len(span) for span in spans}) > 2


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (0.5, 1.0), (1.0, 0.6), (1e-40, 1.0), (2.0, 0.95)])
def test_temperature_and_top_p(temperature: float, top_p: float) -> None:
    """Both settings do what their definition says, down to a temperature next to nothing."""
    model, ours = make_model("llama"), settings(temperature=temperature, top_p=top_p, max_new_tokens=6)
    policy = LocalPolicy(model, tokenizer(), ours, name="llama")
    expected = [[reference(model, prefix, draw, 0, ours) for draw in range(2)] for prefix in prefixes()[:3]]
    assert policy.write(prefixes()[:3], draws=range(2)) == expected


def test_sampling_has_the_right_frequencies() -> None:
    """Drawn often, tokens come with the probabilities of softmax(logits / T) (chi-squared, 4 degrees of freedom)."""
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0, -40.0, 0.5]]).expand(20_000, 6)
    uniforms = torch.from_numpy(generator(1, b"frequencies", 0).random(20_000))
    counts = torch.bincount(choose(logits, uniforms, 0.7, 1.0), minlength=6).numpy()
    expected = 20_000 * torch.softmax(logits[0].double() / 0.7, dim=0).numpy()
    assert counts[4] == 0
    kept = [0, 1, 2, 3, 5]
    assert ((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum() < 23.5  # p = .0001


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_law_of_draws(rows: int) -> None:
    """Draws 0-3 are 0-1 and 2-3; order and number of prefixes and the batch size change nothing."""
    model = make_model("llama")
    some = prefixes()[:5]
    whole = LocalPolicy(model, tokenizer(), settings(), name="x").write(some, draws=range(4), seed=3)
    policy = LocalPolicy(model, tokenizer(), settings(batch_rows=rows), name="x")
    first, second = (policy.write(some[::-1], draws=draws, seed=3) for draws in (range(2), range(2, 4)))
    assert [a + b for a, b in zip(first, second, strict=True)][::-1] == whole
    assert policy.write(some, draws=range(4), seed=4) != whole


def test_long_texts_grow_the_cache() -> None:
    """A text longer than the first buffers goes on as a full forward pass would."""
    model, ours = make_model("gpt2", stops=(1,)), settings(max_new_tokens=150)
    policy = LocalPolicy(model, tokenizer(), ours, name="gpt2")
    (written,) = policy.write([prefixes()[0]], draws=range(5))
    assert max(made.tokens for made in written) > 100
    longest = max(range(5), key=lambda draw: written[draw].tokens)
    assert written[longest] == reference(model, prefixes()[0], longest, 0, ours)


def test_one_step_is_the_first_step_of_the_whole_text() -> None:
    """`one_step` gives the first step of what the same draw would write, or all of it where it has no second step."""
    model = make_model("llama")
    policy = LocalPolicy(model, tokenizer(), settings(max_new_tokens=40), name="x")
    wholes = policy.write(prefixes(), draws=range(6))
    ones = policy.write(prefixes(), draws=range(6), one_step=True)
    for whole, one in zip(chain(*wholes), chain(*ones), strict=True):
        steps = by_line(whole.text)
        assert one.text == (steps[0].text if steps else "")
        assert one.finish == ("step" if len(steps) > 1 else whole.finish)
        assert one.tokens <= whole.tokens
    assert {one.finish for row in ones for one in row} >= {"step", "stop"}


DISPLAYED = [
    r"Hence \[ x = 7. \] So it is. Next",
    r"Hence \[ x = 7. Y \] So. Next",
    "We have \\begin{align*}\nx &= 7. \\\\\n\n\ny &= 8. Z\n\\end{align*}\nSo it is. Next",
    "It costs $5. He pays. Then\n\nhe leaves. Next",
    "So $$a = 1. B$$ holds. Next",
    r"So \(a = 1. B\) holds. Next",
    r"It is open \[ x = 7. Then nothing closes it. Next",
    "First\nStep 2nd is none\nStep 3 is one\n",
    "One.\n\n  (Two is here)\n\nthree",
    "Thinking\n\n</think>\n\nAnswer: 7",
    "Run\n```python3\nx\n```\n```python\ny\n```\nend",
    "ends\n\u3000\nhere\nnow",
]
"""Texts whose first step looks over before it is."""


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize("text", DISPLAYED)
def test_a_step_is_not_over_before_its_end_is_certain(splitter: str, text: str) -> None:
    """Written token by token, the first step is that of the whole text; mathematics that is not closed yet ends none."""
    policy = LocalPolicy(make_model("llama"), tokenizer(), settings(), name="x", splitter=SPLITTERS[splitter])
    ids = [*tokenizer().encode(text, add_special_tokens=False), STOPS[0]]

    def write(requests: Sequence[Request], ends: Ends | None = None, over: Ends | None = None) -> list[list[int]]:
        over_at = (k for k in range(1, len(ids)) if ends is not None and ends(0, ids[:k]))
        return [ids[: next(over_at, len(ids))]]

    policy._decoder.write = write  # type: ignore[method-assign]
    [[whole]] = policy.write([Prefix("p", "q")], draws=range(1))
    [[one]] = policy.write([Prefix("p", "q")], draws=range(1), one_step=True)
    assert whole == Continuation(text, "stop", len(ids))
    assert one.text == SPLITTERS[splitter](text)[0].text


PIECES = [
    *(
        "\n",
        "\n\n",
        " ",
        "  ",
        "\t",
        ". ",
        ".",
        "A",
        "b ",
        "1",
        "12",
        "$5",
        "x$",
        "$",
        "$$",
        "(",
        "[",
        '"',
        "**",
        "\\",
        "。",
        "e.g",
    ),
    *(
        r"\(",
        r"\)",
        r"\[",
        r"\]",
        r"\begin{al}",
        r"\end{al}",
        r"\begin{b*}",
        r"\end{b*}",
        "Step 1",
        "step 3 ",
        "1.",
        "_",
        "#",
    ),
    *(
        "<",
        "</",
        "<think>",
        "</think>",
        "<search>",
        "</search>",
        "<tool_call>",
        "</tool_call>",
        "```",
        "```python",
        "```output",
    ),
]


@pytest.mark.parametrize("splitter", SPLITTERS)
@given(text=st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@example(text="".join(PIECES))
def test_law_of_the_first_step(splitter: str, text: str) -> None:
    """Where it is called over in a beginning of a text, it is the first step of the text."""
    split = SPLITTERS[splitter]
    for end in range(len(text)):
        if first_step_over(split, text[:end]):
            assert split(text[:end])[0].text == split(text)[0].text
            break


def test_a_step_is_over_with_the_first_letter_of_the_next() -> None:
    """Where nothing is open, one character says it."""
    for splitter, text in (
        ("line", "a = $5\nb"),
        ("blank-line", "a\n\nb"),
        ("sentence", "It is so. B"),
        ("think", "a\n\nb"),
    ):
        assert first_step_over(SPLITTERS[splitter], text)
        assert not first_step_over(SPLITTERS[splitter], text[:-1])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_an_error(temperature: float, broken: float) -> None:
    """At temperature 0, too; a token that the model rules out (minus infinity) is none."""
    logits = torch.tensor([[0.0, -float("inf"), 2.0], [1.0, broken, 0.0]])
    uniforms = torch.tensor([0.5, 0.5], dtype=torch.float64)
    with pytest.raises(CheckpointError, match="not numbers"):
        choose(logits, uniforms, temperature, 1.0)
    assert choose(logits[:1], uniforms[:1], temperature, 1.0).tolist() == [2]


def test_no_room_is_length_not_an_error() -> None:
    """The model's context bounds prefix and text together: what does not fit is cut off, and says so."""
    model = make_model("llama")
    policy = LocalPolicy(model, tokenizer(), settings(max_new_tokens=100, temperature=0.0), name="x")
    long = Prefix("long", "a " * 80)
    room = ROOM - len(policy.codec.encode(long))
    assert 0 < room < 100
    ((cut,),) = policy.write([long], draws=range(1))
    assert cut.tokens == room or cut.finish == "stop"
    full = Prefix("full", "a " * 300)
    assert policy.write([full, prefixes()[0]], draws=range(2))[0] == [Continuation("", "length", 0)] * 2


def test_name_tells_weights_and_settings() -> None:
    """Two policies that may write differently have different names; the batch size is no part of it."""
    model, other = make_model("llama"), make_model("llama", seed=1)
    base = LocalPolicy(model, tokenizer(), settings(), name="m").name
    assert base == LocalPolicy(model, tokenizer(), settings(batch_rows=3), name="m").name
    changed = [
        LocalPolicy(other, tokenizer(), settings(), name="m").name,
        *(
            LocalPolicy(model, tokenizer(), settings(**change), name="m").name
            for change in ({"temperature": 0.5}, {"top_p": 0.5}, {"max_new_tokens": 9}, {"prompt_template": "{prompt}"})
        ),
    ]
    assert len({base, *changed}) == 6


def test_bad_settings_and_prompts() -> None:
    """Settings outside their range, a prompt without tokens and broken weights are errors that say so."""
    for change in (
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"max_new_tokens": 0},
        {"batch_rows": 0},
        {"prompt_template": "no slot"},
        {"prompt_template": r"{prompt}\n"},
        {"prompt_template": r"{prompt}\nAnswer:"},
    ):
        with pytest.raises(ConfigError):
            settings(**change)
    assert settings(prompt_template=r"{prompt} where x \neq 0" + "\n").prompt_template.endswith("0\n")
    model = make_model("llama")
    with pytest.raises(ConfigError, match="chat template"):
        LocalPolicy(model, tokenizer(), settings(prompt_template="chat"), name="x")
    policy = LocalPolicy(model, tokenizer(), settings(prompt_template="{prompt}"), name="x")
    with pytest.raises(InputError, match="without a token"):
        policy.write([Prefix("empty", "")], draws=range(1))
    assert policy.write([], draws=range(3)) == []
    assert policy.write(prefixes()[:1], draws=range(0)) == [[]]
