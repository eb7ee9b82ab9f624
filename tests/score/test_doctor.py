"""The doctor finds every planted fault, names it, and lets healthy models pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from gradatim import records
from gradatim.core import Prefix, Score
from gradatim.errors import ConfigError, InputError
from gradatim.models import checkpoint, sheets
from gradatim.models.encoding import Encoder, EncoderSettings, Encoding, StepEncoder
from gradatim.models.forward import body_of, head_of
from gradatim.models.model import Kind, RewardModel
from gradatim.progress import Progress
from gradatim.score.checks.golden import golden_rows, read_golden
from gradatim.score.checks.patient import Patient
from gradatim.score.checks.probes import ORDINARY
from gradatim.score.doctor import doctor_stage, examine, table
from gradatim.score.engine import ModelScorer
from gradatim.trees import Block
from tiny_models import bpe_tokenizer, reward_model


def trained(kind: Kind = "prm", architecture: str = "llama", **changes: Any) -> RewardModel:
    """A random model whose head has a bias, as training leaves it."""
    model = reward_model(kind, architecture, **changes)
    head = head_of(model.module)
    if isinstance(head, nn.Linear) and head.bias is not None:
        with torch.no_grad():
            head.bias.copy_(torch.linspace(-0.4, 0.7, len(head.bias)))
    return model


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return checkpoint.save(trained(), tmp_path / "model")


def failed(patient: Patient) -> dict[str, str]:
    """Name -> evidence of the checks that failed."""
    return {name: found.evidence for name, found in examine(patient).items() if found.outcome == "fail"}


# Healthy models


@pytest.mark.parametrize("kind", ["prm", "orm"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gpt2"])
def test_healthy_models_pass(kind: Kind, architecture: str) -> None:
    """No check fails, with or without a window, for step and for outcome models."""
    settings = EncoderSettings(separator=" <step>\n", prompt_template="Q: {prompt}\n")

    assert failed(Patient(ModelScorer(trained(kind, architecture, settings=settings)))) == {}


def test_a_healthy_checkpoint_passes_with_evidence(folder: Path, tmp_path: Path) -> None:
    """Template, weights and golden scores are compared with what is on disk, and say what they saw."""
    scorer = ModelScorer(checkpoint.load(folder))
    doctor_stage(scorer, folder, record=str(tmp_path / "golden.jsonl"))

    found = examine(Patient(ModelScorer(checkpoint.load(folder)), folder, read_golden(tmp_path / "golden.jsonl")))

    assert {name for name, one in found.items() if one.outcome != "pass"} == {
        "names of the labels",
        "right above wrong",
    }
    assert scorer.model.encoder.digest in found["template and tokenizer"].evidence
    assert "unchanged since it was saved" in found["weights of the checkpoint"].evidence
    assert "can't tell" in found["right above wrong"].evidence or "does not know" in found["right above wrong"].evidence


def test_half_precision_is_no_illness(folder: Path) -> None:
    """bfloat16 rounds otherwise in other batches; that is allowed for."""
    assert failed(Patient(ModelScorer(checkpoint.load(folder, dtype="bfloat16")), folder)) == {}


def test_the_shipped_model_passes() -> None:
    """The lab's PRM, whose logits happen to lie in the range of probabilities."""
    assert failed(Patient(ModelScorer(checkpoint.load("lab")), checkpoint.find("lab"))) == {}


# Planted faults


def moved(one: Encoding, by: int) -> Encoding:
    """Reads every step some tokens away from where it should be read."""
    return Encoding(one.ids, tuple(None if read is None else min(read + by, one.last) for read in one.reads))


class Shifted(StepEncoder):
    """Our own encoder, one token off."""

    by = -1

    def _assemble(self, prefix: Prefix, tokens: dict[str, list[int]]) -> Encoding:
        return moved(super()._assemble(prefix, tokens), self.by)


class Foreign(Encoder):
    """Another's encoder, some tokens off."""

    def __init__(self, inner: Encoder, by: int) -> None:
        self.inner, self.by = inner, by
        self.tokenizer, self.max_length, self.digest = inner.tokenizer, inner.max_length, inner.digest

    def try_encode(self, prefixes: Sequence[Prefix]) -> list[Encoding | InputError]:
        found = self.inner.try_encode(prefixes)
        return [one if isinstance(one, InputError) else moved(one, self.by) for one in found]


@pytest.mark.parametrize("separator", ["\n", "\n\n", " <step>\n"])
@pytest.mark.parametrize("by", [-1, 1])
def test_a_shifted_read_position_is_found(by: int, separator: str) -> None:
    """One token off, either way, without anything to compare with."""
    model = trained(settings=EncoderSettings(separator=separator))
    encoder = Shifted(model.encoder.tokenizer, model.own_encoder.settings, max_length=512)
    encoder.by = by

    assert "read where the step ends" in failed(Patient(ModelScorer(replace(model, encoder=encoder))))


@pytest.mark.parametrize("by", [-1, 1])
def test_a_shifted_read_position_of_a_foreign_encoder_is_found(by: int) -> None:
    """By the tokens that are read, which differ from step to step."""
    model = trained()

    found = failed(Patient(ModelScorer(replace(model, encoder=Foreign(model.encoder, by)))))
    assert "read where the step ends" in found


def test_a_shifted_outcome_is_found() -> None:
    """An ORM that is read one token before the end."""

    class Early(RewardModel):
        def reads(self, encoding: Encoding) -> tuple[int, ...]:
            return tuple(read - 1 for read in super().reads(encoding))

    model = trained("orm")
    early = Early(module=model.module, encoder=model.encoder, kind="orm", name="m", reduction="outcome")

    assert "read where the step ends" in failed(Patient(ModelScorer(early)))


def test_a_shift_that_keeps_the_token_is_found_by_golden_scores(tmp_path: Path) -> None:
    """Where a foreign encoder's reads all fall on one wrong token, nothing but what was recorded can tell."""
    model = trained(settings=EncoderSettings(separator="<step><step>"))
    doctor_stage(ModelScorer(model), record=str(tmp_path / "golden.jsonl"))
    shifted = replace(model, encoder=Foreign(model.encoder, -1))

    found = failed(Patient(ModelScorer(shifted), golden=read_golden(tmp_path / "golden.jsonl")))
    assert set(found) == {"golden scores"}


def reinitialised(weights: dict[str, torch.Tensor]) -> None:
    weights["score.weight"] = torch.randn(2, 32, generator=torch.Generator().manual_seed(9)) * 0.02
    weights["score.bias"] = torch.zeros(2)


def swapped(weights: dict[str, torch.Tensor]) -> None:
    for name in ("score.weight", "score.bias"):
        weights[name] = weights[name].flip(0).clone()


FAULTS: dict[str, Callable[[dict[str, torch.Tensor]], None]] = {
    "a re-initialised head": reinitialised,
    "swapped labels": swapped,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_head_in_memory_is_found(folder: Path, fault: str) -> None:
    """The folder knows better: the loaded head is compared with it row by row."""
    model = checkpoint.load(folder)
    weights = {f"score.{name}": value for name, value in head_of(model.module).state_dict().items()}
    FAULTS[fault](weights)
    head_of(model.module).load_state_dict({name.removeprefix("score."): value for name, value in weights.items()})

    evidence = failed(Patient(ModelScorer(model), folder))["weights of the checkpoint"]
    assert ("labels are swapped" if fault == "swapped labels" else "nowhere on disk") in evidence


@pytest.mark.parametrize("card", ["with digests", "without digests"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_head_on_disk_is_found(folder: Path, tmp_path: Path, fault: str, card: str) -> None:
    """By the digests in the card, and, for older cards, by golden scores: nothing else could tell."""
    golden = tmp_path / "golden.jsonl"
    doctor_stage(ModelScorer(checkpoint.load(folder)), folder, record=str(golden))
    weights = load_file(folder / "model.safetensors")
    FAULTS[fault](weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    if card == "without digests":
        path = folder / "gradatim.json"
        told = json.loads(path.read_text())
        told.pop("weights")
        path.write_text(json.dumps(told))

    alone = failed(Patient(ModelScorer(checkpoint.load(folder)), folder))
    helped = failed(Patient(ModelScorer(checkpoint.load(folder)), folder, read_golden(golden)))
    assert set(alone) == ({"weights of the checkpoint"} if card == "with digests" else set())
    assert set(helped) == {*alone, "golden scores"}
    assert ("labels are swapped" in helped["golden scores"]) == (fault == "swapped labels")


class Knowing(ModelScorer):
    """A model that knows sums: a solution under another problem than its own scores low, or high if `swapped`."""

    swapped = False

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        scores = super().score(prefixes, shown=shown)
        return [replace(one, logits=self._known(one), steps=()) for one in scores]

    def _known(self, one: Score) -> tuple[float, ...]:
        assert one.prefix is not None
        numbers = {word for word in one.prefix.prompt.replace("?", "").split() if word.isdigit()}
        right = numbers <= set(one.prefix.steps[0].text.split()) if one.prefix.steps else False
        return tuple((1.0 if right != self.swapped else -1.0) for _ in one.prefix.steps)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_model_that_knows_sums_shows_swapped_labels(swapped: bool) -> None:
    """Without folder and golden scores a competent model gives itself away; others are told apart from it."""
    scorer = Knowing(trained())
    scorer.swapped = swapped

    found = examine(Patient(scorer))["right above wrong"]
    assert found.outcome == ("fail" if swapped else "pass")
    assert ("swapped" in found.evidence) == swapped


@pytest.mark.parametrize("seed", range(6))
def test_a_model_that_knows_nothing_is_not_accused(seed: int) -> None:
    """Random weights like some texts better than others; that is no sign of swapped labels."""
    assert examine(Patient(ModelScorer(reward_model(seed=seed))))["right above wrong"].outcome == "not applicable"


def test_named_labels_the_wrong_way_round_are_found() -> None:
    """A configuration that calls label 0 "correct" is read the other way round by everyone."""
    model = trained()
    model.module.config.id2label = {0: "correct", 1: "incorrect"}

    assert "names of the labels" in failed(Patient(ModelScorer(model)))


@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_a_head_that_activates_already_is_found(kind: Kind) -> None:
    """Probabilities taken for logits: softmax or sigmoid inside the head, and once more by us."""
    model = trained(kind)
    inner: Any = model.module
    inner.score = nn.Sequential(inner.score, nn.Softmax(-1) if kind == "prm" else nn.Sigmoid())

    assert "activated once" in failed(Patient(ModelScorer(model)))


def test_a_score_activated_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's activation, applied to its own result."""
    from gradatim.models.activation import sigmoid
    from gradatim.score import assemble

    monkeypatch.setattr(assemble, "activate", lambda _, logit: sigmoid(sigmoid(logit)))

    assert "activated once" in failed(Patient(ModelScorer(trained())))


def test_a_hook_on_the_head_is_found() -> None:
    """A sigmoid that hangs on the head unseen changes what the plain weights would give."""
    model = trained("orm")
    head_of(model.module).register_forward_hook(lambda _, __, out: out.sigmoid())

    assert "activated once" in failed(Patient(ModelScorer(model)))


def test_a_changed_separator_is_found(folder: Path, tmp_path: Path) -> None:
    """By the card where there is one, and by golden scores, which keep the encoder's digest, where there is none."""
    golden = tmp_path / "golden.jsonl"
    model = checkpoint.load(folder)
    doctor_stage(ModelScorer(model), folder, record=str(golden))
    other = StepEncoder(model.encoder.tokenizer, EncoderSettings(separator="\n\n"), max_length=512)
    changed = ModelScorer(replace(model, encoder=other))

    by_card = failed(Patient(changed, folder))
    by_golden = failed(Patient(changed, golden=read_golden(golden)))
    assert "separator '\\n' became '\\n\\n'" in by_card["template and tokenizer"]
    assert "recorded with steps@" in by_golden["golden scores"]


class Unmasked(RewardModel):
    """Runs a tree as if it were one sequence, in which every token sees all before it."""

    def logits(self, blocks: Sequence[Block], nodes: Sequence[Sequence[int]]) -> torch.Tensor:
        chains = [
            replace(
                block, depth=(*range(len(block)),), parent=(*range(-1, len(block) - 1),), end=(len(block),) * len(block)
            )
            for block in blocks
        ]
        return super().logits(chains, nodes)


def test_a_tree_without_its_mask_is_found() -> None:
    """A model that runs trees itself, and drops the mask: plain rows and a run by hand disagree."""
    model = trained()

    class Other:
        """Not a `RewardModel`, so that its own `logits` are used."""

        def __init__(self) -> None:
            self.inner = Unmasked(module=model.module, encoder=model.encoder, kind="prm", name="m")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    found = failed(Patient(ModelScorer(Other())))  # type: ignore[arg-type]
    assert {"trees, increments, plain rows", "plain forward pass", "batches and order"} <= set(found)


def test_the_engine_without_its_mask_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token of the engine's own attention sees all that is at hand."""
    kernel = sheets._kernel
    monkeypatch.setattr(
        sheets, "_kernel", lambda query, key, value, mask, scale: kernel(query, key, value, mask * 0, scale)
    )
    monkeypatch.setattr(torch.Tensor, "triu", lambda self, diagonal=0: torch.zeros_like(self))

    found = failed(Patient(ModelScorer(trained())))
    assert {"trees, increments, plain rows", "plain forward pass"} <= set(found)


def test_a_dropped_padding_mask_is_found() -> None:
    """A transformer that ignores its attention mask: padding on the left would be read as text."""
    model = trained()
    body: Any = body_of(model.module)
    forward = body.forward

    def deaf(**given: Any) -> Any:
        if given.get("attention_mask") is not None and given["attention_mask"].ndim == 2:
            del given["attention_mask"]
        return forward(**given)

    body.forward = deaf

    assert "padding side" in failed(Patient(ModelScorer(model)))


def test_a_constant_head_is_found() -> None:
    """A head of zeros gives every step one score."""
    model = trained()
    with torch.no_grad():
        head_of(model.module).weight.zero_()

    assert "scores move with content" in failed(Patient(ModelScorer(model)))


class Cutting(StepEncoder):
    """Drops what does not fit, steps from the end."""

    def _assemble(self, prefix: Prefix, tokens: dict[str, list[int]]) -> Encoding:
        limit, self.max_length = self.max_length, None
        whole = super()._assemble(prefix, tokens)
        self.max_length = limit
        return Encoding(whole.ids[:limit], tuple(r for r in whole.reads if r is not None and r < (limit or 0)))


def test_truncation_is_found() -> None:
    """An encoder that shortens instead of refusing."""
    model = trained()

    found = failed(Patient(ModelScorer(replace(model, encoder=Cutting(bpe_tokenizer(), max_length=512)))))
    assert "too long is refused" in found


def test_a_longer_limit_than_the_model_has_is_found() -> None:
    """Positions that were never trained."""
    model = trained()

    found = failed(Patient(ModelScorer(replace(model, encoder=StepEncoder(bpe_tokenizer(), max_length=4096)))))
    assert "too long is refused" in found


class Gullible(StepEncoder):
    """Lets texts write control tokens."""

    def _untrusted(self, texts: list[str]) -> list[list[int]]:
        return [self._trusted(text) for text in texts]

    def _harmless(self, prefix: Prefix, place: str, text: str, tokens: dict[str, list[int]]) -> list[int]:
        return tokens[text]


def test_forged_control_tokens_are_found() -> None:
    """A step that spells a special token out gets the token."""
    model = trained()

    found = failed(Patient(ModelScorer(replace(model, encoder=Gullible(bpe_tokenizer(), max_length=512)))))
    assert "no step can be forged" in found


class Forgetful(ModelScorer):
    """Leaves out the scores of empty steps."""

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        return [
            replace(one, steps=tuple(x for x, step in zip(one.steps, prefix.steps, strict=True) if step.text.strip()))
            for prefix, one in zip(prefixes, super().score(prefixes, shown=shown), strict=True)
        ]


def test_a_lost_step_is_found() -> None:
    """Fewer scores than steps, for some texts only."""
    assert "a score for every step" in failed(Patient(Forgetful(trained())))


def test_a_check_that_stumbles_has_failed() -> None:
    """Whatever a broken model raises is evidence, and the other checks are carried through."""
    model = trained()

    class Broken(ModelScorer):
        def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
            raise RuntimeError("no such layer")

    found = examine(Patient(Broken(model)))
    assert found["a score for every step"].evidence == "RuntimeError: no such layer"
    assert found["too long is refused"].outcome == "pass"


# Golden scores, and the command


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "Q", "steps": ["a", "b"], "scores": [0.5]}, "1 scores for 2 steps"),
        ({"problem": "Q", "steps": ["a"]}, "neither 'scores' nor 'value'"),
        ({"problem": "Q", "steps": ["a"], "scores": ["high"]}, "scores"),
        ({"steps": ["a"], "scores": [0.5]}, "problem"),
    ],
)
def test_malformed_golden_rows_are_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    """With the line and what was expected."""
    path = tmp_path / "golden.jsonl"
    path.write_text(json.dumps(row) + "\n")

    with pytest.raises(InputError, match=message) as error:
        read_golden(path)
    assert error.value.line == 1


def test_golden_scores_that_are_all_alike_prove_nothing() -> None:
    """A file of equal scores would let a constant model pass."""
    scorer = ModelScorer(trained())
    (score,) = scorer.score([ORDINARY[0].first(1)])
    rows = list(golden_rows([score] * 2, scorer.model.encoder.digest))

    assert rows[0]["scores"] == [score.value]
    golden = [replace_prefix(score)] * 2
    assert examine(Patient(scorer, golden=tuple(golden)))["golden scores"].outcome == "not applicable"


def replace_prefix(score: Score) -> Any:
    from gradatim.score.checks.golden import Golden

    assert score.prefix is not None
    return Golden(score.prefix, score.steps, score.value, None, "here:1")


def test_the_command_exits_with_1_if_a_check_fails(folder: Path, tmp_path: Path) -> None:
    """A healthy model is 0, a wrong one 1; `--json` prints every check with outcome and evidence."""
    from gradatim.cli import app

    golden = tmp_path / "golden.jsonl"
    well = CliRunner().invoke(app, ["doctor", str(folder), "--record", str(golden), "--json"])
    rows = [json.loads(line) for line in golden.read_text().splitlines()]
    rows[0]["scores"][0] += 0.1
    golden.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ill = CliRunner().invoke(app, ["doctor", str(folder), "--golden", str(golden), "--json"])

    assert (well.exit_code, ill.exit_code) == (0, 1)
    assert json.loads(well.stdout)["failed"] == []
    found = json.loads(ill.stdout)
    assert found["failed"] == ["golden scores"]
    assert {tuple(one) for one in found["checks"]} == {("check", "outcome", "evidence")}
    assert "golden scores" in table(found)
    assert "1 of 15 checks failed" in table(found)


def test_trusted_scores_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    """To compare with a file and to record into it is refused before anything is scored; the file stays."""
    golden = tmp_path / "golden.jsonl"
    golden.write_text(json.dumps({"problem": "How many?", "steps": ["a"], "scores": [0.5]}) + "\n")
    before = golden.read_bytes()

    with pytest.raises(ConfigError, match="would replace what is read from it"):
        doctor_stage(ModelScorer(checkpoint.load(folder)), folder, golden=str(golden), record=str(golden))
    assert golden.read_bytes() == before


def test_golden_rows_are_read_as_any_row_of_steps(tmp_path: Path) -> None:
    """Bare steps have a blank line between them, or what `joiner` says; what was recorded is read back as it was."""
    path = tmp_path / "golden.jsonl"
    row = {"problem": "How many?", "steps": ["So 12.", {"text": "look", "kind": "query"}, "It is 12."], "value": 1.0}
    path.write_text("".join(json.dumps({**row, **more}) + "\n" for more in ({}, {"joiner": "\n"}, {"joiner": ""})))
    plain, lines, bare = (one.prefix for one in read_golden(path))
    assert plain.text == "So 12.\n\nlook\n\nIt is 12."
    assert plain.steps == records.solution_from(next(iter(records.read_rows(path)))).prefix.steps
    assert (lines.text, bare.text) == ("So 12.\nlook\nIt is 12.", "So 12.lookIt is 12.")

    scorer = ModelScorer(trained("orm"))
    recorded = scorer.score([*ORDINARY, plain, lines])
    records.write_rows(path, golden_rows(recorded, scorer.model.encoder.digest))
    assert [one.prefix.steps for one in read_golden(path)] == [one.prefix.steps for one in recorded if one.prefix]
