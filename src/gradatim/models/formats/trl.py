"""TRL's PRMTrainer (format "trl") and PURE's reading of the same checkpoint (format "pure").

    ids = [BOS, if the tokenizer has one] + tok(question) + for each step: tok(step) + tok(separator)

Every piece is tokenised alone, with no chat template and nothing between the question and the first step. (The inference
example in TRL's documentation joins the texts instead: tokens merge across the joints, and it reads others than were
trained.) A step is read at the last token of its separator.

Head: two labels a token (`*ForTokenClassification`); label 1 is a good step. "trl": the score is softmax(logits)[1], as
in TRL's loss. "pure": softmax(logits)[1] - softmax(logits)[0], from -1 to 1, so that 0 is the threshold. Solutions are
judged by their worst step.

The separator is not in TRL's checkpoints (where we write one it is: `step_separator` in config.json, and that is taken).
Option `separator`: a line end where none is given, which is TRL's default and PURE's; "trl" warns of it. Recipes of some
published models pass `--step_separator="\\n\\n"` in bash, which is four characters (two backslashes, two n) and no line
end: for a model trained so give them as `literal_separator`.

Sources: huggingface/trl, prm_trainer.py (tokenize_row); CJReinforce/PURE, its model card and reward code.
"""

from __future__ import annotations

import warnings
from functools import partial

from transformers import AutoModelForTokenClassification

from gradatim.errors import CheckpointError, ConfigError
from gradatim.models.encoding import EncoderSettings, StepEncoder, line_ends
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.weights import check_causal, context, load_body
from gradatim.models.model import RewardModel

DEFAULT = "\n"
"""TRL's default separator."""
_OPTIONS = {
    "separator": "what ended each step in training; a line end if not given",
    "literal_separator": "the same, but taken letter by letter: backslash and n are two characters",
}


def _match(facts: Facts) -> Match:
    if not facts.architecture.endswith("ForTokenClassification"):
        return Match(False)
    return Match(not (missing := _faults(facts)), (f"a {facts.architecture}",), tuple(missing))


def _match_pure(facts: Facts) -> Match:
    found = _match(facts)
    missing = "nothing in a checkpoint says that its score is p1 - p0: expected format='pure'"
    return Match(False, found.found, (*found.missing, missing))


def _faults(facts: Facts) -> list[str]:
    """What keeps it from being a classifier of tokens with LABEL_0 and LABEL_1."""
    shapes = [facts.shapes.get(f"{name}.weight") for name in ("score", "classifier")]
    labels = facts.config.get("id2label") or {}
    faults = []
    if not any(shape is not None and shape[0] == 2 for shape in shapes):
        faults.append(f"found head weights score {shapes[0]}, classifier {shapes[1]}, expected one with two rows")
    if labels and labels not in ({"0": "LABEL_0", "1": "LABEL_1"}, {0: "LABEL_0", 1: "LABEL_1"}):
        faults.append(
            f"found labels {dict(labels)}, expected LABEL_0 and LABEL_1: which is a good step? "
            "If it is label 1, rename them in config.json"
        )
    return faults


def _separator(facts: Facts, asked: Asked, name: str) -> str:
    given = dict(asked.options)
    for option, value in given.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{option}={value!r}; expected the text that ended each step in training")
    if len(given) == 2:
        raise ConfigError("found both separator and literal_separator, expected one of them")
    if "literal_separator" in given:
        return str(given["literal_separator"])
    if "separator" in given:
        try:
            return line_ends(given["separator"])
        except ConfigError as error:
            raise ConfigError(f"{error}; for a model trained with these characters give literal_separator") from None
    if isinstance(said := facts.config.get("step_separator"), str):
        return said
    if name == "trl":
        warnings.warn(
            f"{facts.name}: the checkpoint does not say which separator ended its steps in training; TRL's default, a "
            "line end, is taken. Give the option separator (literal_separator for four characters '\\n\\n')",
            stacklevel=2,
        )
    return DEFAULT


def _load(facts: Facts, asked: Asked, name: str) -> RewardModel:
    if faults := _faults(facts):
        raise CheckpointError(f"{facts.folder}: {'; '.join(faults)}")
    settings = EncoderSettings(separator=_separator(facts, asked, name), prompt_template="{prompt}")
    module = load_body(facts, asked, auto=AutoModelForTokenClassification)
    check_causal(facts, module)
    return RewardModel(
        module=module,
        encoder=StepEncoder(facts.tokenizer, settings, max_length=context(facts)),
        kind="prm",
        name=f"{name} {facts.name}",
        threshold=0.5 if name == "trl" else 0.0,
        activation="sigmoid" if name == "trl" else "centered",
    )


TRL = Format(name="trl", options=_OPTIONS, match=_match, load=partial(_load, name="trl"))
"""What TRL trains; its score is a probability."""

PURE = Format(name="pure", options=_OPTIONS, match=_match_pure, load=partial(_load, name="pure"))
"""The same checkpoint as PURE's authors read it. It must be named."""
