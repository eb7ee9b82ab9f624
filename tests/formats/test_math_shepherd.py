"""Math-Shepherd, Math-psa and ER-PRM: tags in running text, read as the published code reads them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from token_checkpoints import AWKWARD, SOLUTIONS, all_logits, byte_level, sentencepiece, value_head, write

from gradatim.core import Prefix, Step
from gradatim.errors import CheckpointError
from gradatim.models import formats
from gradatim.score.engine import ModelScorer

MADE = {
    "math-shepherd": (sentencepiece, "mistral"),
    "math-psa": (lambda: byte_level(bos=False), "qwen2"),
    "er-prm": (byte_level, "llama"),
}
"""Name -> the kind of tokenizer and of model that was published."""
ANSWERS = {"math-shepherd": ("ки", "+ -"), "math-psa": (" \n\n\n\n\n", " + -"), "er-prm": (" ки", " + -")}
"""Name -> what the published code encodes to find the tag (the last token) and the answers (the last two)."""


def text_of(format: str, prefix: Prefix) -> str:
    """The whole text, as the published code joins it."""
    steps = [step.text.strip() for step in prefix.steps]
    if format == "math-shepherd":
        return f"{prefix.prompt} " + "\n".join(f"Step {k}: {step} ки" for k, step in enumerate(steps, 1))
    if format == "math-psa":
        return f"{prefix.prompt} " + "".join(f"{step} \n\n\n\n\n " for step in steps)
    return f"{prefix.prompt} " + "".join(f"{step} ки" for step in steps)


def published(model: Any, tokenizer: Any, format: str, prefix: Prefix) -> list[float]:
    """The published recipe: encode the whole text, find the tag's token, softmax the two answers there."""
    tag, answers = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ANSWERS[format])
    ids = tokenizer(text_of(format, prefix))["input_ids"]
    scores = all_logits(model, ids)[:, answers[-2:]].softmax(dim=-1)[:, 0]
    return [float(score) for token, score in zip(ids, scores, strict=True) if token == tag[-1]]


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any, Any, ModelScorer]:
    """(format, language model, tokenizer, scorer) of a random checkpoint."""
    tokenizer, architecture = MADE[request.param][0](), MADE[request.param][1]
    model = write(tmp_path, tokenizer, architecture)
    return request.param, model, tokenizer, ModelScorer(formats.load(tmp_path, format=request.param, device="cpu"))


def test_scores_are_those_of_the_published_recipe(made: tuple[str, Any, Any, ModelScorer]) -> None:
    """A full forward pass over the whole text, with all logits, gives the same to 1e-5."""
    format, model, tokenizer, scorer = made

    for prefix, score in zip(SOLUTIONS, scorer.score(SOLUTIONS), strict=True):
        expected = published(model, tokenizer, format, prefix)
        assert len(expected) == len(prefix.steps)
        assert score.steps == pytest.approx(expected, abs=1e-5)
        assert score.value == min(score.steps)
    assert len({round(step, 3) for score in scorer.score(SOLUTIONS) for step in score.steps}) > 3


def test_tokens_are_those_of_the_whole_text(made: tuple[str, Any, Any, ModelScorer]) -> None:
    """What the encoder writes is what the tokenizer makes of the joined text, its beginning included."""
    format, _, tokenizer, scorer = made

    for prefix in SOLUTIONS:
        found = scorer.model.encoder.encode(prefix)
        assert list(found.ids) == tokenizer(text_of(format, prefix))["input_ids"]


def test_every_step_has_one_score_whatever_is_in_the_text(made: tuple[str, Any, Any, ModelScorer]) -> None:
    """Tags in texts forge no step, empty steps and merging letters lose none, observations have none."""
    _, _, tokenizer, scorer = made
    encoding = scorer.model.encoder.encode(AWKWARD)
    (score,) = scorer.score([AWKWARD])

    read = [encoding.ids[place] for place in encoding.reads if place is not None]
    assert len(set(read)) == 1
    assert tokenizer.decode(read[0]).strip(" ") in ("ки", "\n\n\n\n\n")
    assert [math.isnan(step) for step in score.steps] == [step.kind == "observation" for step in AWKWARD.steps]
    control = set(tokenizer.all_special_ids)
    assert not control & set(encoding.ids[1:])


def test_a_tag_that_merges_with_the_next_step_is_kept_whole(tmp_path: Path) -> None:
    """Behind ER-PRM's tag comes the step itself: its letters may take the tag away, and its score with it."""
    tokenizer, prefix = byte_level(), Prefix("p", "Q?", (Step("a"), Step("т b")))
    model = write(tmp_path, tokenizer)
    scorer = ModelScorer(formats.load(tmp_path, format="er-prm", device="cpu"))

    assert len(published(model, tokenizer, "er-prm", prefix)) == 1
    (score,) = scorer.score([prefix])
    assert score.steps[0] == pytest.approx(published(model, tokenizer, "er-prm", prefix.first(1))[0], abs=1e-5)
    assert not math.isnan(score.steps[1])


def test_scores_do_not_depend_on_what_comes_later(made: tuple[str, Any, Any, ModelScorer]) -> None:
    """A step scores the same in the whole solution and where it is the last one."""
    _, _, _, scorer = made

    whole = scorer.score([SOLUTIONS[0]])[0].steps
    parts = scorer.score([SOLUTIONS[0].first(k) for k in (1, 2)])
    assert [part.steps[-1] for part in parts] == pytest.approx(whole[:2], abs=1e-5)


def test_a_label_in_front_of_a_step_is_not_written_twice(tmp_path: Path) -> None:
    """ "Step 1: " is written where it is missing, and only there."""
    write(tmp_path, sentencepiece(), "mistral")
    encoder = formats.load(tmp_path, format="math-shepherd", device="cpu").encoder

    labelled = Prefix("p", "Q?", (Step("Step 1: 3 + 12 = 15\n"), Step("Step 2: 15.\n")))
    assert encoder.encode(labelled) == encoder.encode(Prefix("p", "Q?", (Step("3 + 12 = 15"), Step("15."))))


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    """Without a head of its own the model's answers come from its embeddings."""
    tokenizer = byte_level(bos=False)
    model = write(tmp_path, tokenizer, "qwen2", tie_word_embeddings=True)
    scorer = ModelScorer(formats.load(tmp_path, format="math-psa", device="cpu"))

    expected = published(model, tokenizer, "math-psa", SOLUTIONS[0])
    assert scorer.score(SOLUTIONS[:1])[0].steps == pytest.approx(expected, abs=1e-5)


def test_a_tokenizer_in_which_the_tag_is_no_token_is_refused(tmp_path: Path) -> None:
    """Reading at the last of several tokens would be another place than was trained."""
    from tiny_models import bpe_tokenizer

    write(tmp_path, bpe_tokenizer())

    with pytest.raises(CheckpointError, match="for ' ки' behind a word, expected one token"):
        formats.load(tmp_path, format="math-shepherd", device="cpu")


def test_a_tokenizer_that_ends_texts_is_refused(tmp_path: Path) -> None:
    """Only a beginning may be added: an end behind the steps would be something that was never trained."""
    from token_checkpoints import with_tag
    from tokenizers import processors

    tokenizer = with_tag(byte_level(), "<other>")
    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", pair="$A $B:1", special_tokens=[("<|end|>", end)]
    )
    write(tmp_path, tokenizer)

    with pytest.raises(CheckpointError, match=re.escape(f"adds the tokens [{end}] to a text")):
        formats.load(tmp_path, format="er-prm", device="cpu")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"without": ("lm_head.weight",)}, "found no lm_head.weight"),
        ({"without": ("model.norm.weight",)}, "missing keys: norm.weight"),
        ({"extra": value_head()}, "unexpected keys: v_head"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, changes: Any, told: str) -> None:
    """Nothing is made up, and nothing left over is passed over."""
    write(tmp_path, byte_level(), **changes)

    with pytest.raises(CheckpointError, match=told):
        formats.load(tmp_path, format="er-prm", device="cpu")


def test_a_plain_language_model_must_be_named(tmp_path: Path) -> None:
    """No weight tells these formats apart, so that none is guessed."""
    write(tmp_path, byte_level())

    with pytest.raises(CheckpointError, match=r"fits several formats \(.*math-shepherd.*er-prm.*\)"):
        formats.load(tmp_path, device="cpu")
