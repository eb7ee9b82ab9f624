"""Critics played by a model on this machine: tokens as published, and the same labels in any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from papers import first, lab_solutions
from transformers import LlamaConfig, LlamaForCausalLM

from gradatim.core import Continuation, Prefix, Step
from gradatim.judges.critics import CRITICS, CriticName
from gradatim.judges.genprm import GENPRM
from gradatim.judges.stage import JudgeConfig, judge_stage
from gradatim.records import read_labels
from gradatim.solutions.local import TextCodec
from gradatim.solutions.local.policy import LocalPolicy
from gradatim.solutions.settings import PolicySettings
from tiny_models import GROUPED, bpe_tokenizer

TURNS = ["<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"]


@pytest.fixture(scope="module", name="tokenizer")
def _tokenizer() -> Any:
    tokenizer = bpe_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": TURNS})
    return tokenizer


def test_genprm_tokens_are_those_of_the_rendered_text(tokenizer: Any) -> None:
    """Turn by turn the ids equal the whole text tokenised at once with its control tokens, and nothing else is one."""
    codec = TextCodec(tokenizer, "{prompt}")
    conversation = GENPRM.converse(GENPRM.exam(lab_solutions()[0]))
    (asked,) = next(conversation)
    for _ in range(3):
        whole = asked.prompt + asked.text
        assert codec.encode(asked) == tokenizer(whole, add_special_tokens=False)["input_ids"]
        (asked,) = conversation.send([Continuation("so it is</analyze>", "stop", 1)])
        (asked,) = conversation.send([Continuation("{Yes}$\n</output>", "stop", 1)])
    control = set(tokenizer.convert_tokens_to_ids(TURNS))
    ids = codec.encode(Prefix("p", TURNS[0], (Step(TURNS[1]), Step(TURNS[0], kind="control"))))
    assert [one for one in ids if one in control] == [tokenizer.convert_tokens_to_ids(TURNS[0])]


@pytest.mark.parametrize("name", sorted(CRITICS))
def test_a_local_model_can_play_every_critic(tmp_path: Path, tokenizer: Any, name: CriticName) -> None:
    """A model that knows nothing abstains, with reasons; batches change nothing."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **GROUPED))
    settings = PolicySettings(max_new_tokens=4, prompt_template="{prompt}" if CRITICS[name].turns else "auto")
    policy, solutions = LocalPolicy(model, tokenizer, settings, name="tiny"), lab_solutions()[:2]
    found = []
    for batch in (1, 2):
        out = tmp_path / f"{batch}.jsonl"
        result = judge_stage(JudgeConfig(critic=name, draws=2, batch=batch), policy, solutions, out, quiet=True)
        found.append(out.read_bytes())
        assert sum(result["abstained"].values()) == result["critiques"] == 4
        assert all(not row.error_known for row in read_labels(out))
    assert found[0] == found[1]
    assert first(CRITICS[name], solutions[0]).problem_id == solutions[0].prefix.problem_id
