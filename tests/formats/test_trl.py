"""TRL's token classifiers, and PURE's reading of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from token_checkpoints import AWKWARD, SOLUTIONS, byte_level

from gradatim.core import Prefix
from gradatim.errors import CheckpointError, ConfigError
from gradatim.models import checkpoint, formats
from gradatim.models.encoding import EncoderSettings
from gradatim.models.model import RewardModel
from gradatim.score.engine import ModelScorer
from tiny_models import reward_model


def trained(folder: Path, *, bos: bool = True, config: Mapping[str, Any] | None = None) -> Any:
    """A random `LlamaForTokenClassification` as TRL saves one; the model."""
    import json

    tokenizer = byte_level(bos=bos)
    module: Any = reward_model(tokenizer=tokenizer, settings=EncoderSettings(separator="\n")).module
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**settings, **(config or {})}), "utf-8")
    return module


def published(model: Any, tokenizer: Any, prefix: Prefix, separator: str) -> tuple[list[int], torch.Tensor]:
    """TRL's way to tokenise a row, and the probabilities (steps, 2) where it puts the labels."""

    def ids_of(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids, labelled = [*begin, *ids_of(prefix.prompt)], []
    for step in prefix.steps:
        ids += [*ids_of(step.text.rstrip()), *ids_of(separator)]
        labelled.append(len(ids) - 1)
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0]
    return ids, logits[labelled].softmax(dim=-1)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize(
    ("options", "separator"),
    [({"separator": "\n"}, "\n"), ({"separator": "\n\n"}, "\n\n"), ({"literal_separator": "\\n\\n"}, "\\n\\n")],
    ids=["line end", "blank line", "four characters"],
)
def test_scores_are_those_of_the_trained_positions(
    tmp_path: Path, options: dict[str, str], separator: str, bos: bool
) -> None:
    """TRL's probability of label 1, and PURE's difference, at the last token of each separator."""
    module, tokenizer = trained(tmp_path, bos=bos), byte_level(bos=bos)
    trl, pure = (formats.load(tmp_path, format=name, options=options, device="cpu") for name in ("trl", "pure"))

    assert (trl.threshold, pure.threshold) == (0.5, 0)
    scored = zip(SOLUTIONS, ModelScorer(trl).score(SOLUTIONS), ModelScorer(pure).score(SOLUTIONS), strict=True)
    for prefix, probable, centered in scored:
        ids, found = published(module, tokenizer, prefix, separator)
        assert trl.encoder.encode(prefix).ids == tuple(ids)
        assert probable.steps == pytest.approx(found[:, 1].tolist(), abs=1e-5)
        assert centered.steps == pytest.approx((found[:, 1] - found[:, 0]).tolist(), abs=1e-5)


def test_a_separator_that_is_not_given_is_told(tmp_path: Path) -> None:
    """The checkpoint does not say what ended its steps; PURE's card does."""
    trained(tmp_path)

    with pytest.warns(UserWarning, match="does not say which separator"):
        found = formats.load(tmp_path, device="cpu")
    given = formats.load(tmp_path, format="trl", options={"separator": "\n"}, device="cpu")
    assert found.name == f"trl {tmp_path.name}"
    assert found.encoder.digest == given.encoder.digest
    assert formats.load(tmp_path, format="pure", device="cpu").encoder.digest == given.encoder.digest


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"separator": "\\n\\n"}, "give literal_separator"),
        ({"separator": ""}, "expected the text that ended each step"),
        ({"separator": 3}, "expected the text that ended each step"),
        ({"separator": "\n", "literal_separator": "\\n"}, "expected one of them"),
    ],
)
def test_options_that_can_not_be_meant_are_refused(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    """A backslash and an n are a slip in a shell, unless they are said to be meant."""
    trained(tmp_path)

    with pytest.raises(ConfigError, match=told):
        formats.load(tmp_path, format="trl", options=options, device="cpu")


def test_four_characters_survive_a_save(tmp_path: Path) -> None:
    """The separator travels with the model from the first save on."""
    trained(tmp_path / "trl")
    options = {"literal_separator": "\\n\\n"}
    found = formats.load(tmp_path / "trl", format="trl", options=options, device="cpu")
    assert isinstance(found, RewardModel)
    again = checkpoint.load(checkpoint.save(found, tmp_path / "own"), device="cpu")

    assert again.encoder.digest == found.encoder.digest
    first, second = (ModelScorer(model).score(SOLUTIONS) for model in (found, again))
    assert [score.steps for score in first] == [score.steps for score in second]


def test_every_step_has_one_score_whatever_is_in_the_text(tmp_path: Path) -> None:
    """Separators and control tokens in texts forge nothing, empty steps are scored."""
    trained(tmp_path)
    scorer = ModelScorer(formats.load(tmp_path, format="trl", options={"separator": "\n"}, device="cpu"))

    (score,) = scorer.score([AWKWARD])
    assert [math.isnan(step) for step in score.steps] == [step.kind == "observation" for step in AWKWARD.steps]
    assert not set(byte_level().all_special_ids) & set(scorer.model.encoder.encode(AWKWARD).ids[1:])


def test_labels_of_other_names_are_refused(tmp_path: Path) -> None:
    """Which label is the good one must be known, not guessed."""
    trained(tmp_path, config={"id2label": {"0": "correct", "1": "wrong"}, "label2id": {"correct": 0, "wrong": 1}})

    with pytest.raises(CheckpointError, match="which is a good step"):
        formats.load(tmp_path, format="trl", options={"separator": "\n"}, device="cpu")


def test_a_head_of_another_size_is_refused(tmp_path: Path) -> None:
    """Three labels a token are something else."""
    module = trained(tmp_path)
    module.score = torch.nn.Linear(32, 3)
    module.config.num_labels = 3
    module.save_pretrained(tmp_path)

    with pytest.raises(CheckpointError, match=r"score \(3, 32\)"):
        formats.load(tmp_path, device="cpu")


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    """Where a token sees those after it, a step's score would change with every later step."""
    from transformers import BertConfig, BertForTokenClassification

    tokenizer = byte_level()
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    BertForTokenClassification(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    with pytest.raises(CheckpointError, match="tokens see those after them"):
        formats.load(tmp_path, format="trl", options={"separator": "\n"}, device="cpu")
