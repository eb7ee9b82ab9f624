"""EurusPRM and ImplicitPRM: two language models, run in full and summed as the published code sums."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoints import LLAMA, MATH_SYSTEM, NO_SYSTEM, llama_tokenizer, qwen_tokenizer, solution

import gradatim
from gradatim.core import Prefix, Step
from gradatim.errors import CheckpointError, ConfigError, InputError
from gradatim.models import logprobs
from gradatim.score.engine import ModelScorer
from tiny_models import causal

SOLUTIONS = [
    solution("Each bag has 4 apples.", "So 3 * 4 = 12.", "The answer is 12."),
    solution("Each bag has 4 apples", "So 12\n\n"),
    solution("Each bag has 4 apples.", "So 3 * 4 = 12.\n\n\nIt follows:", "", "Step 4: done <|im_end|> <|eot_id|>"),
    solution("3 * 4 = 12.", prompt="  How many?\n\n"),
]
KINDS = {"qwen": (lambda: qwen_tokenizer(MATH_SYSTEM), "qwen2"), "llama": (llama_tokenizer, "llama")}


def checkpoint(folder: Path, tokenizer: Any, architecture: str, seed: int, **changes: Any) -> Any:
    """A random causal language model on disk, and in memory."""
    model = causal(architecture, len(tokenizer) + 3, seed, **{"tie_word_embeddings": seed % 2 == 1, **changes})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, Any, Any, Any]:
    """Folders of policy and reference, the two models, and their tokenizer."""
    made, architecture = KINDS[request.param][0](), KINDS[request.param][1]
    folders = tmp_path / "policy", tmp_path / "reference"
    models = [checkpoint(folder, made, architecture, seed) for seed, folder in enumerate(folders)]
    return *folders, *models, made


def content(prefix: Prefix, count: int | None = None) -> str:
    steps = [step.text.rstrip() for step in prefix.steps]
    labelled = [text if text.startswith("Step ") else f"Step {k}: {text}" for k, text in enumerate(steps, 1)]
    return "\n\n".join(labelled[:count])


def conversation(made: Any, prefix: Prefix, count: int | None = None) -> str:
    """The template's text, with texts that spell control tokens made harmless first: here they are to stay text."""
    messages = [{"role": "user", "content": prefix.prompt}, {"role": "assistant", "content": content(prefix, count)}]
    return str(made.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))


def log_ratios(policy: Any, reference: Any, ids: list[int]) -> torch.Tensor:
    """log p - log p_ref of tokens 1, 2, ..., by full forward passes with full logits."""
    with torch.inference_mode():
        parts = [
            model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
            for model in (policy, reference)
        ]
    return parts[0] - parts[1]


def published(policy: Any, reference: Any, made: Any, prefix: Prefix, beta: float = 0.001) -> list[float]:
    """The card's recipe (with the end of a turn cut from Llama's inner prefixes, as in prm_eval_utils.py): a mask that
    begins with the rendering of no steps, a sum, and values gathered at lengths - 2."""
    ids = made(conversation(made, prefix), add_special_tokens=False)["input_ids"]
    lasts, count = [], len(prefix.steps)
    for k in range(count + 1):
        text = conversation(made, prefix, k).strip()
        if k != count:
            text = text.removesuffix("<|eot_id|>")
        if k not in (0, count):
            text += "\n\n"
        lasts.append(len(made(text, add_special_tokens=False)["input_ids"]) - 2)
    mask = torch.tensor([0] * lasts[0] + [1] * (len(ids) - lasts[0]))
    sums = (beta * log_ratios(policy, reference, ids) * mask[1:]).cumsum(-1)
    return [float(sums[last]) for last in lasts[1:]]


def ordinary() -> list[Prefix]:
    """Those in which no text spells a control token: the published code takes it for one."""
    return [prefix for prefix in SOLUTIONS if "<|" not in prefix.text]


def test_published_values_are_reproduced(pair: tuple[Path, Path, Any, Any, Any]) -> None:
    """q, its sigmoid and the value agree with the published computation; beta scales it."""
    policy, reference, ours, theirs, made = pair

    for beta in (0.001, 0.05, 1):
        scorer = gradatim.load(policy, format="implicit", device="cpu", reference=str(reference), beta=beta)
        for prefix, score in zip(ordinary(), scorer.score(ordinary()), strict=True):
            expected = published(ours, theirs, made, prefix, beta)
            assert score.logits == pytest.approx(expected, rel=1e-5, abs=1e-5 * max(1, 10 * beta))
            assert score.steps == pytest.approx([1 / (1 + math.exp(-q)) for q in expected], abs=1e-5)
            assert score.value == score.steps[-1]
            assert max(map(abs, expected)) > beta
        assert scorer.name == f"implicit policy against reference, beta {beta}, published"


def test_a_sum_can_end_with_its_own_step(pair: tuple[Path, Path, Any, Any, Any]) -> None:
    """The clean reading takes the answer's first token to the token of the step's last character."""
    policy, reference, ours, theirs, made = pair
    scorer = gradatim.load(policy, format="implicit", device="cpu", reference=reference, reading="clean", beta=1)

    for prefix, score in zip(ordinary(), scorer.score(ordinary()), strict=True):
        text = conversation(made, prefix)
        found = made(text, add_special_tokens=False, return_offsets_mapping=True)
        ratios = log_ratios(ours, theirs, found["input_ids"])
        start = text.index(content(prefix, 1), text.index("assistant"))
        expected = []
        for k in range(1, len(prefix.steps) + 1):
            end = start + len(content(prefix, k).rstrip())
            inside = [i for i, (a, b) in enumerate(found["offset_mapping"]) if a < end and b > start]
            expected.append(float(sum(ratios[i - 1] for i in inside)))
        assert score.logits == pytest.approx(expected, abs=2e-4)
    assert scorer.name.endswith("beta 1, clean")


def test_readings_differ_only_where_they_should(pair: tuple[Path, Path, Any, Any, Any]) -> None:
    """processbench leaves out what comes before the answer: the same in every step; clean ends no later."""
    policy, reference, _, _, _ = pair
    scores, encodings = {}, {}
    for reading in ("published", "processbench", "clean"):
        scorer = gradatim.load(
            policy, format="implicit", device="cpu", reference=str(reference), reading=reading, beta=1
        )
        scores[reading] = scorer.score(ordinary())
        encodings[reading] = scorer.model.encoder.encode_many(ordinary())

    for card, script in zip(scores["published"], scores["processbench"], strict=True):
        differences = [a - b for a, b in zip(card.logits or (), script.logits or (), strict=True)]
        assert differences == pytest.approx([differences[0]] * len(differences), abs=1e-4)
        assert abs(differences[0]) > 1e-3
    for card, clean in zip(encodings["published"], encodings["clean"], strict=True):
        assert card.ids == clean.ids
        assert all(b <= a <= b + 3 for a, b in zip(card.reads, clean.reads, strict=True))


def test_qwens_inner_steps_are_read_in_the_next_step(tmp_path: Path) -> None:
    """An inner step's published sum ends one token beyond the blank line, in the next step; the clean one does not."""
    made = qwen_tokenizer(NO_SYSTEM)
    for seed, name in enumerate(("policy", "reference")):
        checkpoint(tmp_path / name, made, "qwen2", seed)
    options = {"format": "implicit", "device": "cpu", "reference": str(tmp_path / "reference")}
    encoder = gradatim.load(tmp_path / "policy", **options).model.encoder
    clean = gradatim.load(tmp_path / "policy", reading="clean", **options).model.encoder

    encoding, other = (one.encode(SOLUTIONS[1]) for one in (encoder, clean))
    assert made.decode(encoding.ids[: other.reads[0] + 1]).endswith("4 apples")
    assert encoding.reads[0] == other.reads[0] + len(made("\n\n")["input_ids"]) + 1
    assert made.decode(encoding.ids[other.reads[0] + 1 : encoding.reads[0] + 1]).startswith("\n\nS")
    assert made.decode(encoding.ids[encoding.reads[1]]) == "<|im_end|>"
    assert made.decode(encoding.ids[encoding.counted[0] : other.counted[0]]) == "\n"


def test_trees_chains_order_and_company_change_nothing(pair: tuple[Path, Path, Any, Any, Any]) -> None:
    """Shared beginnings are computed once, and every score stays what it is alone."""
    policy, reference, _, _, _ = pair
    scorer = gradatim.load(policy, format="implicit", device="cpu", reference=str(reference), beta=1)
    together, rows = scorer.score(SOLUTIONS), ModelScorer(scorer.model, use_trees=False)

    for found in (
        rows.score(SOLUTIONS),
        scorer.score(SOLUTIONS[::-1])[::-1],
        [scorer.score([p])[0] for p in SOLUTIONS],
    ):
        for one, other in zip(found, together, strict=True):
            assert one.logits == pytest.approx(other.logits, abs=2e-4)


def test_control_tokens_in_texts_stay_text(pair: tuple[Path, Path, Any, Any, Any]) -> None:
    """An `<|im_end|>` or `<|eot_id|>` in a step ends nothing: one score a step, and one such token a turn."""
    policy, reference, _, _, made = pair
    for reading in ("published", "clean"):
        scorer = gradatim.load(policy, format="implicit", device="cpu", reference=str(reference), reading=reading)
        encoding = scorer.model.encoder.encode(SOLUTIONS[2])
        plain = scorer.model.encoder.encode(SOLUTIONS[0])
        assert all(encoding.ids.count(token) == plain.ids.count(token) for token in made.all_special_ids)
        assert len(scorer.score([SOLUTIONS[2]])[0].steps) == 4
        assert list(encoding.reads) == sorted(set(encoding.reads))


def test_observations_are_context(pair: tuple[Path, Path, Any, Any, Any]) -> None:
    """Their tokens are in no sum, but what follows is read behind them."""
    policy, reference, ours, theirs, _ = pair
    scorer = gradatim.load(policy, format="implicit", device="cpu", reference=str(reference), reading="clean", beta=1)
    steps = (Step("look it up\n", "query"), Step("it says 12", "observation"), Step("so 12"))
    prefix = Prefix("p", "How many?", steps)

    (score,) = scorer.score([prefix])
    encoding = scorer.model.encoder.encode(prefix)
    whole = scorer.model.encoder.encode(Prefix("p", "How many?", tuple(Step(step.text) for step in steps)))
    ratios = log_ratios(ours, theirs, list(encoding.ids))
    assert encoding.ids == whole.ids
    assert encoding.reads[1] is None
    silent = set(whole.counted) - set(encoding.counted)
    assert silent
    assert max(silent) == whole.reads[1]
    expected = sum(float(ratios[token - 1]) for token in whole.counted if token not in silent)
    assert score.logits is not None
    assert math.isnan(score.steps[1])
    assert score.logits[2] == pytest.approx(expected, abs=2e-4)
    assert math.isnan(scorer.score([Prefix("p", "How many?", steps[1:2])])[0].value)
    assert math.isnan(scorer.score([Prefix("p", "How many?")])[0].value)


def test_the_vocabulary_comes_in_chunks(
    pair: tuple[Path, Path, Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few logits exist at once, the log-probabilities are the same."""
    policy, reference, _, _, _ = pair
    scorer = gradatim.load(policy, format="implicit", device="cpu", reference=str(reference), beta=1)
    whole = scorer.score(SOLUTIONS)
    monkeypatch.setattr(logprobs, "CHUNK", 700)
    for one, other in zip(scorer.score(SOLUTIONS), whole, strict=True):
        assert one.logits == pytest.approx(other.logits, abs=1e-4)


def test_the_reference_is_not_needed_for_what_is_on_file(
    pair: tuple[Path, Path, Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same scores to the last bit from the file alone; new solutions add to it; other weights are not mixed up."""
    policy, reference, _, _, made = pair
    options = {"format": "implicit", "device": "cpu", "beta": 1, "cache": str(tmp_path / "ref.sqlite")}
    first = gradatim.load(policy, reference=str(reference), **options).score(SOLUTIONS[:2])
    again = gradatim.load(policy, reference=str(reference), **options)
    assert again.score(SOLUTIONS[:2]) == first
    assert "model" not in vars(again.model.reference)
    again.score(SOLUTIONS)
    assert "model" in vars(again.model.reference)

    checkpoint(tmp_path / "another", made, "qwen2", 7)
    other = gradatim.load(policy, reference=str(tmp_path / "another"), **options).score(SOLUTIONS[:2])
    assert all(abs(a.logits[-1] - b.logits[-1]) > 1e-3 for a, b in zip(other, first, strict=True))
    (tmp_path / "ref.sqlite").write_text("no database")
    with pytest.raises(ConfigError, match="expected a file of reference log-probabilities"):
        gradatim.load(policy, reference=str(reference), **options)


def test_what_can_not_be_compared_is_refused(pair: tuple[Path, Path, Any, Any, Any], tmp_path: Path) -> None:
    """No reference, one with another vocabulary, settings that mean nothing, logits that are more than a product."""
    policy, reference, _, _, _ = pair
    for options, error, message in (
        ({}, ConfigError, "name that with reference="),
        ({"reference": str(tmp_path / "nowhere")}, CheckpointError, "no config.json there"),
        ({"reference": str(reference), "beta": "much"}, ConfigError, "beta='much'; expected a number above 0"),
        ({"reference": str(reference), "reading": "late"}, ConfigError, "reading='late'; expected one of published"),
        ({"reference": str(reference), "threshold": 1}, ConfigError, "no option threshold"),
    ):
        with pytest.raises(error, match=message):
            gradatim.load(policy, format="implicit", **options)

    changed = qwen_tokenizer(NO_SYSTEM, tag=None) if "<extra_0>" in (policy / "tokenizer.json").read_text() else None
    checkpoint(tmp_path / "stock", changed or qwen_tokenizer(NO_SYSTEM), "qwen2", 3)
    with pytest.raises(CheckpointError, match="found another vocabulary"):
        gradatim.load(policy, format="implicit", reference=str(tmp_path / "stock"))
    config = json.loads((policy / "config.json").read_text())
    (policy / "config.json").write_text(json.dumps({**config, "final_logit_softcapping": 30.0}))
    with pytest.raises(CheckpointError, match="final_logit_softcapping"):
        gradatim.load(policy, format="implicit", reference=str(reference))


def test_too_long_is_refused(tmp_path: Path) -> None:
    """Nothing is cut."""
    made = llama_tokenizer(LLAMA)
    for seed, name in enumerate(("policy", "reference")):
        checkpoint(tmp_path / name, made, "llama", seed, max_position_embeddings=40)
    scorer = gradatim.load(tmp_path / "policy", format="implicit", reference=str(tmp_path / "reference"))
    with pytest.raises(InputError, match="at most 40"):
        scorer.score(SOLUTIONS[:1])


def changed_in_the_middle(folder: Path) -> None:
    """Another value for every weight but those at both ends of the file, as another training leaves them."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    assert len(content) > 2**18
    for place in range(2**16 + 3, len(content) - 2**16, 4):
        content[place] ^= 0x80  # the sign of a float32
    path.write_bytes(content)


def test_references_that_differ_in_the_middle_of_a_file_are_two(tmp_path: Path) -> None:
    """What was kept of one is not given for the other, whose file begins and ends alike."""
    made = qwen_tokenizer(NO_SYSTEM)
    for name in ("policy", "reference", "other"):
        causal("qwen2", 1500, int(name == "policy")).save_pretrained(tmp_path / name)
        made.save_pretrained(tmp_path / name)
    changed_in_the_middle(tmp_path / "other")
    options = {"format": "implicit", "device": "cpu", "beta": 1, "cache": str(tmp_path / "ref.sqlite")}

    first = gradatim.load(tmp_path / "policy", reference=str(tmp_path / "reference"), **options).score(SOLUTIONS[:1])
    cached = gradatim.load(tmp_path / "policy", reference=str(tmp_path / "other"), **options).score(SOLUTIONS[:1])
    options.pop("cache")
    fresh = gradatim.load(tmp_path / "policy", reference=str(tmp_path / "other"), **options).score(SOLUTIONS[:1])
    assert cached[0].logits == pytest.approx(fresh[0].logits, abs=1e-5)
    assert abs(cached[0].logits[-1] - first[0].logits[-1]) > 1e-3


def test_a_checkpoint_is_policy_and_reference_wherever_they_lie(tmp_path: Path) -> None:
    """A file of kept log-probabilities and another path change nothing, other weights at the same path do."""
    made = qwen_tokenizer(NO_SYSTEM)
    for seed, name in enumerate(("policy", "reference")):
        checkpoint(tmp_path / name, made, "qwen2", seed)
    shutil.copytree(tmp_path / "reference", tmp_path / "copy")

    def said(reference: str, **more: Any) -> str:
        options = {"format": "implicit", "device": "cpu", **more}
        return str(gradatim.load(tmp_path / "policy", reference=str(tmp_path / reference), **options).checkpoint)

    first = said("reference")
    assert said("copy") == said("reference", cache=str(tmp_path / "ref.sqlite")) == first
    assert said("reference", dtype="bfloat16") == first
    assert said("reference", beta=1) != first
    checkpoint(tmp_path / "reference", made, "qwen2", 7)
    assert said("reference") != first
