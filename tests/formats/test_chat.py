"""Chat templates: what is trimmed, what is inserted, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoints import (
    CHATML,
    HELPFUL_SYSTEM,
    LLAMA,
    NO_SYSTEM,
    SOLUTIONS,
    llama_classifier,
    llama_tokenizer,
    qwen_checkpoint,
    qwen_tokenizer,
    solution,
)

import gradatim
from gradatim.errors import CheckpointError, InputError
from gradatim.models.formats.chat import Chat, Trim, chat_of
from gradatim.models.formats.contract import Facts

ROLES = (("user", None), ("assistant", None))
AWKWARD = ["plain", " a", "a ", "\na", "a\n\n", " \n a \n ", "\t a\t", "\u00a0a\u00a0", ""]


def chat(folder: Path, template: str, roles: Any = ROLES) -> tuple[Chat, Any]:
    """The chat of a template, and the tokenizer that renders it."""
    made = qwen_tokenizer(template)
    made.save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    return chat_of(Facts(folder), roles), made


def message(template: str, role: str) -> str:
    """ChatML with another expression for the contents of one role."""
    return f"""{{%- for message in messages -%}}{{%- if message['role'] == '{role}' -%}}
    {{{{- '<|im_start|>' + message['role'] + '\\n' + {template} + '<|im_end|>\\n' }}}}
    {{%- else -%}}{{{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}}}{{%- endif -%}}
    {{%- endfor %}}"""


TEMPLATES = {
    "keeps": NO_SYSTEM,
    "inserts": HELPFUL_SYSTEM,
    "trims all": LLAMA.replace("{{- bos_token }}", "").replace("<|start_header_id|>", "<|im_start|>"),
    "trims answers": message("message['content'].strip()", "assistant"),
    "trims questions": message("(message['content'] | trim)", "user"),
    "trims line ends": message("message['content'].lstrip('\\n')", "assistant"),
    "trims ends": message("message['content'].rstrip()", "assistant"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_parts_and_trimmed_contents_make_the_rendering(tmp_path: Path, name: str) -> None:
    """For contents with all kinds of white space around them."""
    found, made = chat(tmp_path, TEMPLATES[name])

    for ask in AWKWARD:
        for answer in AWKWARD:
            messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
            expected = made.apply_chat_template(messages, tokenize=False)
            before, between, after = found.parts
            assert before + found.trims[0](ask) + between + found.trims[1](answer) + after == expected


def test_what_is_trimmed_is_told(tmp_path: Path) -> None:
    """Each hole on its own."""
    found, _ = chat(tmp_path, TEMPLATES["trims line ends"])
    assert found.trims == (Trim("", ""), Trim("\n", ""))


def test_a_template_without_a_clock(tmp_path: Path) -> None:
    """One that asks what day it is gets one fixed day, so that a score is the same tomorrow."""
    dated = "{{- date_string if date_string is defined else strftime_now('%d %b %Y') }}" + NO_SYSTEM
    found, _ = chat(tmp_path, dated)
    assert found.parts[0].startswith("26 Jul 2024")


REFUSED = {
    "none": ("", "none"),
    "drops the answer": (NO_SYSTEM.replace("message['content']", "'x'"), "leaves out or repeats"),
    "repeats": (NO_SYSTEM.replace("message['content']", "message['content'] * 2"), "leaves out or repeats"),
    "upper case": (NO_SYSTEM.replace("message['content']", "message['content'] | upper"), "leaves out"),
    "raises": ("{{ raise_exception('only system') }}", "refuses the messages .only system"),
    "adds a space": (
        NO_SYSTEM.replace("message['content']", "(message['content'] + ('!' if message['content'][0] == ' ' else ''))"),
        "changes the contents",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_templates_are_refused(tmp_path: Path, name: str) -> None:
    """With what was found; no question or answer is ever rendered in another way than was checked."""
    template, message = REFUSED[name]
    with pytest.raises(CheckpointError, match=f"found for a chat template .*{message}.*expected one that writes"):
        chat(tmp_path, template)


def test_a_fixed_message_is_no_hole(tmp_path: Path) -> None:
    """A system message that a format passes is the template's own text."""
    found, _ = chat(tmp_path, CHATML, (("system", "Think."), *ROLES))
    assert found.parts[0] == "<|im_start|>system\nThink.<|im_end|>\n<|im_start|>user\n"
    assert len(found.trims) == 2


# Reasoning in answers

QWEN3 = """{%- for message in messages -%}
{%- set content = message.content %}{%- set reasoning = '' %}
{%- if message.role == 'assistant' and '</think>' in content %}
    {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
    {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and (loop.last or reasoning) %}
    {{- '<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
{%- else %}{{- content }}{%- endif %}
{{- '<|im_end|>\\n' }}{%- endfor %}"""
"""What Qwen3's does with contents."""
R1 = """{%- for message in messages -%}{%- set content = message.content %}
{%- if message.role == 'assistant' and '</think>' in content %}{%- set content = content.split('</think>')[-1] %}{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}"""
"""What that of the models distilled from DeepSeek-R1 does."""
THOUGHTFUL = ["<think>so 12</think>12", "<think>\nso 12\n</think>\n\n12", "so 12</think>12", "<think>so 12", "so 12"]


@pytest.mark.parametrize("template", [QWEN3, R1, NO_SYSTEM], ids=["qwen3", "r1", "keeps"])
def test_reasoning_is_written_as_the_template_does_or_refused(tmp_path: Path, template: str) -> None:
    """In both holes. What a template moves or drops is refused; what it keeps is not."""
    found, made = chat(tmp_path, template)
    drops = set() if template == NO_SYSTEM else {text for text in THOUGHTFUL if "</think>" in text}
    for ask, answer in [*(("How many?", text) for text in THOUGHTFUL), *((text, "12") for text in THOUGHTFUL)]:
        if answer in drops:
            with pytest.raises(
                InputError, match=r"holds '</think>', where the checkpoint's chat template .*its reasoning"
            ):
                found.check(solution(answer, prompt=ask), ask, answer)
            continue
        found.check(solution(answer, prompt=ask), ask, answer)
        messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
        before, between, after = found.parts
        ours = before + found.trims[0](ask) + between + found.trims[1](answer) + after
        assert ours == made.apply_chat_template(messages, tokenize=False)


def test_one_with_reasoning_is_refused_and_the_others_scored(tmp_path: Path) -> None:
    """Each by itself, by an outcome model and by one that writes steps apart."""
    thinking = solution("<think>3 * 4</think>", "The answer is 12.")
    drops = LLAMA.replace("message['content'] | trim", "message['content'].split('</think>')[-1] | trim")
    outcome = gradatim.load(llama_classifier(tmp_path / "orm", llama_tokenizer(drops)), device="cpu")
    steps = gradatim.load(
        qwen_checkpoint(tmp_path / "prm", tokenizer=qwen_tokenizer(R1)), format="qwen-prm", device="cpu"
    )
    for scorer in (outcome, steps):
        found = scorer.refused([SOLUTIONS[0], thinking, SOLUTIONS[1]])
        assert [error is None for error in found] == [True, False, True]
        with pytest.raises(InputError, match="without its reasoning"):
            scorer.score([thinking])
        assert scorer.score(SOLUTIONS)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("strftime_now('%d %b %Y')", "26 Jul 2024"),
        ("strftime_now('%Y-%m-%d')", "2024-07-26"),
        ("strftime_now('%A, %B %d, %H:%M')", "Friday, July 26, 12:00"),
        ("'on ' + strftime_now(\"%d.%m.%y\")", "on 26.07.24"),
    ],
)
def test_the_clock_is_never_asked(tmp_path: Path, call: str, said: str) -> None:
    """Not by templates that know no other way either (SmolLM3's, Mistral Small's): noon of one day, in their own form. The
    rest of the template is written as ever, white space at its beginning too."""
    plain = "\n  {%- if true %}\n  x{% endif %}" + NO_SYSTEM
    dated, _ = chat(tmp_path / "dated", plain.replace("x{%", "{%- set today = " + call + " %}[{{ today }}]{%"))
    undated, _ = chat(tmp_path / "undated", plain.replace("x{%", f"{{{{- '[{said}]' }}}}{{%"))
    assert dated == undated
    assert f"[{said}]" in dated.parts[0]
