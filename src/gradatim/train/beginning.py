"""What a training begins from: a language model, or a reward model that `gradatim train` wrote and that it goes on with."""

from __future__ import annotations

from pathlib import Path

from gradatim.errors import ConfigError
from gradatim.models import checkpoint
from gradatim.models.encoding import EncoderSettings, StepEncoder
from gradatim.models.model import Recipe, RewardModel
from gradatim.train.config import TrainConfig
from gradatim.train.goals import IMPLICIT


def folder_of(config: TrainConfig) -> Path | None:
    """The reward model that is gone on with, head included; None where the backbone is a language model."""
    folder = Path(config.backbone).expanduser()
    return folder if config.objective not in IMPLICIT and (folder / checkpoint.CARD).is_file() else None


def reward_model(config: TrainConfig, device: str) -> RewardModel:
    """What the training changes. ConfigError where a reward model does not fit what is asked for."""
    settings = EncoderSettings(separator=config.separator)
    if (folder := folder_of(config)) is None:
        return RewardModel.create(
            config.backbone,
            kind=config.kind,
            name=config.name,
            settings=settings,
            reduction=config.step_reduction,
            seed=config.seed,
            device=device,
        )
    encoder_of(config, folder)  # before weights are loaded
    begun = checkpoint.load(folder, device=device)
    return RewardModel(
        module=begun.module,
        encoder=begun.encoder,
        kind=begun.kind,
        name=config.name or f"{begun.kind} on {config.backbone}",
        reduction=begun.reduction if config.reduction is None else config.reduction,
        recipe=Recipe(backbone=config.backbone),
    )


def encoder_of(config: TrainConfig, folder: Path) -> StepEncoder:
    """How the reward model in a folder writes tokens; ConfigError where it can't be what is asked for."""
    kind, encoder = checkpoint.load_kind(folder), checkpoint.load_encoder(folder)
    if kind != config.kind:
        raise ConfigError(
            f"kind={config.kind!r}, and backbone={config.backbone!r} is a reward model of kind {kind!r}; give that one, or "
            "name the language model that it grew from"
        )
    if encoder.settings.separator != config.separator:
        raise ConfigError(
            f"separator={config.separator!r}, and backbone={config.backbone!r} is a reward model that reads its steps at "
            f"{encoder.settings.separator!r}; give that one"
        )
    return encoder
