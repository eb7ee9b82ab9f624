"""One form of a checkpoint -> another, where the scores stay exactly the same; anything else is refused.

gradatim  ours: `gradatim.load` takes it, training goes on from it
trl       what TRL's PRMTrainer writes; its configuration also says the separator (`step_separator`)
vllm      `*ForSequenceClassification` with a head of one or two rows and no bias, which every vLLM with pooling
          models serves token by token. What a bias adds to the log-odds is on the card, for the client to add. A
          language model that judges by two tokens keeps those two rows of its head; its configuration says which
          format it is in (`gradatim_format`), and `gradatim.load` takes the folder too. A public format has no card:
          what asks the server for its scores is not ours (`gradatim score --server` needs the card).
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from gradatim import backbones
from gradatim.errors import ConfigError
from gradatim.models import checkpoint as checkpoints
from gradatim.models import served
from gradatim.models.encoding import StepEncoder
from gradatim.models.formats import pqm, skywork_prm
from gradatim.models.forward import body_of, head_of
from gradatim.models.model import Readable, RewardModel
from gradatim.models.served import Served

Form = Literal["gradatim", "trl", "vllm"]


def convert(model: Readable, folder: str | Path, *, to: Form, format: str | None = None, checkpoint: str = "") -> str:
    """Write a loaded model to a new or empty folder in another form; returns how to use what was written.

    `format` is the public format in which the model was loaded: needed if it is not ours and goes to "vllm". `checkpoint`
    is the model's identity, which its scores go on to bear when it is served. ConfigError if the form can't hold the
    model exactly.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; give a new folder")
    if not isinstance(model, RewardModel):
        raise ConfigError(f"{model.name} is more than one model with a head: there is no other form of it")
    if to == "gradatim":
        return _to_own(model, folder)
    return _to_trl(model, folder) if to == "trl" else _to_vllm(model, folder, format, checkpoint)


def _to_own(model: RewardModel, folder: Path) -> str:
    _check_activation(model, "ours")
    _ = model.own_encoder
    checkpoints.save(model, folder)
    return f"gradatim score --model {folder}"


def _to_trl(model: RewardModel, folder: Path) -> str:
    _check_activation(model, "TRL's")
    settings, tokenizer = model.own_encoder.settings, model.own_encoder.tokenizer
    if model.kind != "prm":
        raise ConfigError(f"{model.name} is an {model.kind}; TRL's PRMTrainer writes process reward models")
    if settings.prompt_template != "{prompt}" or not (settings.bos or tokenizer.bos_token_id is None):
        raise ConfigError(
            f"{model.name} encodes with prompt_template={settings.prompt_template!r} and bos={settings.bos}, expected "
            "'{prompt}' and True: TRL writes nothing around a prompt but BOS"
        )
    module: Any = model.module
    _save(module, {"step_separator": settings.separator}, tokenizer, folder)
    return f"AutoModelForTokenClassification.from_pretrained({str(folder)!r}), step_separator={settings.separator!r}"


def _check_activation(model: RewardModel, whose: str) -> None:
    if model.activation != "sigmoid":
        raise ConfigError(f"{model.name} scores with activation={model.activation!r}, expected sigmoid in {whose} form")


def _to_vllm(model: RewardModel, folder: Path, format: str | None, checkpoint: str) -> str:
    own = isinstance(model.encoder, StepEncoder)
    if not own and format is None:
        raise ConfigError(f"{model.name} is written in a public format; say which with format= (--format)")
    if format in (skywork_prm.NAME, pqm.NAME):
        raise ConfigError(
            f"{model.name} has a value head ({format}), which no form for vLLM holds; score it here (gradatim score --model)"
        )
    module, offset = _without_bias(model)
    if not own and offset:
        raise ConfigError(f"the head of {model.name} has a bias, which its form for vLLM can't hold")
    _save(module, {} if own else {"gradatim_format": format}, model.encoder.tokenizer, folder)
    if own:
        served.write(Served.of(model, offset=offset, checkpoint=checkpoint), folder)
    use = f"vllm serve {folder} --runner pooling --convert classify"
    return (
        use if own else f"{use}  # {format}: for a client of your own, `gradatim score --server` takes no public format"
    )


def _without_bias(model: RewardModel) -> tuple[Any, float]:
    """The same body under a stock sequence classifier, and what the head's bias adds to the log-odds."""
    head, body = head_of(model.module), body_of(model.module)
    if not isinstance(head, nn.Linear) or head.out_features > 2:
        raise ConfigError(f"{model.name} has a head of more than one layer; serve the checkpoint as it was published")
    config: Any = deepcopy(body.config)
    labels = head.out_features
    config.id2label = {label: f"LABEL_{label}" for label in range(labels)}
    config.label2id = {name: label for label, name in config.id2label.items()}
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            module: Any = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise ConfigError(f"transformers has no sequence classifier around {type(body).__name__}") from error
    if type(body_of(module)) is not type(body):
        raise ConfigError(f"{type(module).__name__} has another body than {model.name}'s {type(body).__name__}")
    target = head_of(module)
    if not isinstance(target, nn.Linear) or target.bias is not None or target.weight.shape != head.weight.shape:
        raise ConfigError(f"{type(module).__name__} has another head than a layer of {labels} rows without a bias")
    setattr(module, str(module.base_model_prefix), body)
    target.weight = head.weight
    bias = [0.0] if head.bias is None else head.bias.detach().float().tolist()
    return module, bias[-1] - bias[0] if labels == 2 else bias[0]


def _save(module: Any, said: dict[str, Any], tokenizer: Any, folder: Path) -> None:
    """Weights, configuration with what is said beside it, and tokenizer."""
    config = module.config
    module.config = deepcopy(config)
    module.config.update(said)
    try:
        with backbones.quietly():
            module.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    finally:
        module.config = config
