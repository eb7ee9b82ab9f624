"""Chat templates: what is trimmed, what is inserted, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoints import CHATML, HELPFUL_SYSTEM, LLAMA, NO_SYSTEM, qwen_tokenizer

from gradatim.errors import CheckpointError
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
