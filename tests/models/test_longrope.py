"""Models whose positions are turned otherwise in long passes: what shares a pass with a solution changes no score."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Phi3Config, Phi3ForCausalLM

import gradatim
from gradatim.core import Prefix, Step
from gradatim.errors import InputError
from gradatim.models.context import context_of
from gradatim.models.convert import convert
from gradatim.models.encoding import EncoderSettings
from gradatim.models.forward import head_of
from gradatim.models.model import RewardModel
from gradatim.score.engine import ModelScorer
from tiny_models import GROUPED, bpe_tokenizer

ORIGINAL = 64
SHORT = Prefix("p", "How many apples?", (Step("Start with 3 apples."), Step("The answer is 15.")))
LONG = Prefix("p", "How many apples?", (Step("Start with 3 apples."), *[Step("Then 3 + 12 = 15.")] * 9))


def phi() -> RewardModel:
    """A random PRM on Phi-3 with a context eight times its original one."""
    tokenizer = bpe_tokenizer()
    rope = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    config = Phi3Config(
        vocab_size=len(tokenizer),
        **GROUPED,
        max_position_embeddings=512,
        original_max_position_embeddings=ORIGINAL,
        rope_scaling=rope,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        causal = Phi3ForCausalLM(config).eval()
    settings = EncoderSettings(separator="\n\n", prompt_template="{prompt}")
    model = RewardModel.grow(causal, tokenizer, kind="prm", name="tiny", settings=settings)
    with torch.no_grad():
        head_of(model.module).weight.mul_(10)
    return model


def alone(model: RewardModel, ids: tuple[int, ...], reads: tuple[int, ...]) -> list[float]:
    """Logits by a plain pass of the stock model over one sequence."""
    with torch.inference_mode():
        rows = model.module(torch.tensor([ids])).logits[0]
    return [float(rows[read, 1] - rows[read, 0]) for read in reads]


@pytest.mark.parametrize("use_trees", [True, False])
def test_company_changes_no_score(use_trees: bool) -> None:
    """A long solution would change the scores of the short one beside it, and of its own first step: it is refused."""
    model = phi()
    encoding = model.encoder.encode(SHORT)
    reads = model.reads(encoding)
    expected = alone(model, encoding.ids, reads)
    longer = (*encoding.ids, *encoding.ids * 3)
    assert len(encoding.ids) <= ORIGINAL < len(longer)
    assert alone(model, longer, reads) != pytest.approx(expected, abs=1e-3)

    scorer = ModelScorer(model, use_trees=use_trees)
    kept, refused = scorer.refused([SHORT, LONG])
    assert kept is None
    assert refused is not None
    with pytest.raises(InputError, match=f"at most {ORIGINAL}, which is what the model can take"):
        scorer.score([SHORT, LONG])
    fitting = [SHORT, *(LONG.first(count) for count in range(10) if scorer.refused([LONG.first(count)]) == [None])]
    assert len(fitting) > 3
    assert scorer.score(fitting)[0].logits == pytest.approx(expected, abs=1e-4)


def test_a_public_checkpoint_says_so_in_its_configuration(tmp_path: Path) -> None:
    """What transformers makes of `config.json` decides."""
    convert(phi(), tmp_path, to="trl")
    assert gradatim.load(tmp_path, device="cpu").model.encoder.max_length == ORIGINAL


def test_other_ropes_take_all_that_the_configuration_says() -> None:
    """Plain, or stretched by one rule for all lengths."""
    plain = {"rope_theta": 10000.0, "rope_type": "default"}
    yarn = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": ORIGINAL}
    config = phi().module.config
    assert context_of(config) == ORIGINAL
    for rope in (plain, yarn, {"full_attention": plain, "sliding_attention": yarn}, None):
        config.rope_parameters = rope
        assert context_of(config) == 512
    config.rope_parameters = {
        "full_attention": plain,
        "sliding_attention": {"rope_type": "longrope", "original_max_position_embeddings": 32},
    }
    assert context_of(config) == 32
