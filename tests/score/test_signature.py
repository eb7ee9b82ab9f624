"""Two models may bear one name: what was made for the scores of one is not given those of the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gradatim
from gradatim import records
from gradatim.core import Score
from gradatim.errors import ConfigError
from gradatim.models import checkpoint, served
from gradatim.models.convert import convert
from gradatim.models.encoding import EncoderSettings
from gradatim.score.calibrate import CalibratedScorer, Calibration
from gradatim.score.combine import blend, ensemble
from gradatim.score.signature import same_model
from tiny_models import prefixes, reward_model

MAP = Calibration(
    method="temperature", scale="probability", numbers={"temperature": (2.0,)}, truth="validity", target="valid",
    scorer="prm", checkpoint="aaaa", items=1, problems=1,
)  # fmt: skip


def saved(folder: Path, *, dtype: str | None = None, **settings: Any) -> Any:
    """A tiny model saved there and loaded again."""
    encoder = {"settings": EncoderSettings(**settings)} if settings else {}
    checkpoint.save(reward_model(**encoder), folder, dtype=dtype)
    return gradatim.load(folder, device="cpu")


def test_a_checkpoint_is_its_weights_and_its_encoder(tmp_path: Path) -> None:
    """The same wherever it lies and however it is computed in; another after a step of training, or with another
    separator."""
    first = saved(tmp_path / "a")
    assert len(first.checkpoint) == 16
    assert saved(tmp_path / "b").checkpoint == first.checkpoint
    assert (
        gradatim.load(tmp_path / "a", device="cpu", dtype="bfloat16", reduction="last").checkpoint == first.checkpoint
    )
    assert saved(tmp_path / "c", separator="\n\n").checkpoint != first.checkpoint

    others = set()
    for name in [name for name, _ in first.model.module.named_parameters()]:
        trained = reward_model()
        with torch.no_grad():
            dict(trained.module.named_parameters())[name].add_(1e-3)
        checkpoint.save(trained, tmp_path / name)
        others.add(gradatim.load(tmp_path / name, device="cpu").checkpoint)
    assert len(others - {first.checkpoint}) == len(others) == len(list(first.model.module.parameters()))


def test_a_public_checkpoint_has_one_too(tmp_path: Path) -> None:
    """With the options that it was opened with, which change what is read."""
    convert(reward_model(settings=EncoderSettings(separator="\n\n", prompt_template="{prompt}")), tmp_path, to="trl")
    plain = gradatim.load(tmp_path, device="cpu").checkpoint

    assert plain == gradatim.load(str(tmp_path), format="trl", device="cpu").checkpoint
    assert plain != gradatim.load(tmp_path, format="pure", device="cpu").checkpoint


def test_scores_are_signed_with_it(tmp_path: Path) -> None:
    """From a model, into a file, and back; behind a server it is that of the model that was converted."""
    scorer = saved(tmp_path / "model")
    [score, *_] = scorer.score(prefixes())
    records.write_scores(tmp_path / "scores.jsonl", [("s", score)])
    convert(scorer.model, tmp_path / "served", to="vllm", checkpoint=scorer.checkpoint)

    assert score.checkpoint == scorer.checkpoint
    assert records.read_scores(tmp_path / "scores.jsonl")[0][1].checkpoint == scorer.checkpoint
    assert served.read(tmp_path / "served").checkpoint == scorer.checkpoint


def test_several_models_together_are_all_of_them() -> None:
    """A blend and an ensemble have a checkpoint where every member has one."""
    one = Score(value=0.5, steps=(0.5,), reduction="min", by="a", checkpoint="a1")
    other = replace(one, by="b", checkpoint="b1")
    assert blend(one, other).checkpoint == "a1+b1"
    assert ensemble([[one], [other]])[0].score.checkpoint == "a1+b1"
    assert ensemble([[one], [other]], over="steps")[0].score.checkpoint == "a1+b1"
    assert ensemble([[one], [replace(other, checkpoint="")]])[0].score.checkpoint == ""


def test_a_map_is_refused_by_another_checkpoint_of_the_name(tmp_path: Path) -> None:
    """Before anything is scored, with both checkpoints and what to do; a map that knows the name only says so."""
    scorer = saved(tmp_path)
    mine = replace(MAP, scorer=scorer.name, checkpoint=scorer.checkpoint)

    assert CalibratedScorer(scorer, mine).stats.notes == ()
    with pytest.raises(ConfigError, match=rf"checkpoint aaaa.*checkpoint {scorer.checkpoint}.*gradatim calibrate"):
        CalibratedScorer(scorer, replace(mine, checkpoint="aaaa"))
    [note] = CalibratedScorer(scorer, replace(mine, checkpoint="")).stats.notes
    assert note == f"a calibration does not say which checkpoint of {scorer.name!r}: only the name was compared"


def test_what_is_not_known_is_named() -> None:
    """One of the two, or both."""
    [note] = same_model("a rule", ("m", "aaaa"), ("m", ""), "do")
    assert note.startswith("the scores do not say which checkpoint")
    [note] = same_model("a rule", ("m", ""), ("m", ""), "do")
    assert note.startswith("a rule does and the scores do not say")
    with pytest.raises(ConfigError, match=r"can't take scores by 'n'; do"):
        same_model("a rule", ("m", ""), ("n", ""), "do")
