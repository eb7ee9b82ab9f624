"""What is trained: a reward model, or a language model that is one implicitly; made, saved and loaded again."""

from __future__ import annotations

from pathlib import Path

from gradatim.errors import CheckpointError
from gradatim.models import checkpoint, opening
from gradatim.models.formats import own_implicit
from gradatim.models.implicit import ImplicitModel
from gradatim.models.model import RewardModel
from gradatim.train import beginning, implicit
from gradatim.train.config import TrainConfig
from gradatim.train.goals import IMPLICIT

Trained = RewardModel | ImplicitModel


def fresh(config: TrainConfig, device: str) -> Trained:
    """A model to train: on the backbone, or the reward model that is the backbone."""
    if config.objective in IMPLICIT:
        return implicit.fresh(config, device)
    return beginning.reward_model(config, device)


def save(model: Trained, folder: Path) -> None:
    """Write it where `gradatim.load` finds it."""
    if isinstance(model, ImplicitModel):
        own_implicit.save(model, folder)
    else:
        checkpoint.save(model, folder)


def load(folder: Path, device: str) -> Trained:
    """What `save` wrote; CheckpointError for anything else."""
    model = opening.open_model(folder, device=device)
    if not isinstance(model, RewardModel | ImplicitModel):
        raise CheckpointError(f"{folder}: found {model.name}, expected a model that `gradatim train` wrote")
    return model
