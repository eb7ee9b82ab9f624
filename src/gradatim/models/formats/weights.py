"""Weights of a foreign checkpoint, each accounted for: nothing made up, nothing left over but what a format names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from gradatim import backbones
from gradatim.errors import CheckpointError, ConfigError
from gradatim.models.context import context_of
from gradatim.models.formats.contract import Asked, Facts
from gradatim.models.forward import body_of

UNUSED = ("lm_head.weight",)
"""What some reward models keep of the language model that they grew from; nothing reads it."""


def load_body(
    facts: Facts, asked: Asked, *, beside: Collection[str] = (), auto: Any = AutoModel, wrapper: str = ""
) -> nn.Module:
    """The transformer of a checkpoint, in evaluation mode, on the device asked for.

    `beside` names the tensors that are known not to be the body's (a head that is loaded apart, a language-model head
    that is not needed), `wrapper` what may stand in front of the other names. CheckpointError for weights that are
    missing, of another shape, or there and not named.
    """
    if asked.dtype not in backbones.DTYPES:
        raise ConfigError(f"dtype={asked.dtype!r}; expected one of {', '.join(backbones.DTYPES)}")
    device = backbones.device_for(asked.device)
    with backbones.quietly(), told(facts):
        body, info = auto.from_pretrained(
            facts.folder,
            dtype=backbones.DTYPES[asked.dtype],
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            key_mapping={f"^{re.escape(wrapper)}": ""} if wrapper else None,
        )
    wrong = {name: sorted(map(str, keys)) for name, keys in info.items() if keys}
    left = sorted(set(wrong.pop("unexpected_keys", [])) - set(beside))
    if left:
        wrong["unexpected_keys"] = left
    if wrong:
        shown = "; ".join(f"{name.replace('_', ' ')}: {_some(keys)}" for name, keys in wrong.items())
        raise CheckpointError(
            f"{facts.folder}: the weights do not fit {type(body).__name__} ({shown}); expected each of its weights once "
            f"and beside them only {_some(sorted(beside)) if beside else 'nothing'}"
        )
    module: nn.Module = body.to(device)
    return module.eval()


def rows(facts: Facts, name: str, wanted: Sequence[int]) -> Tensor:
    """(len(wanted), ...): some rows of a stored tensor, such as two of a language model's head, without reading it all."""
    check_present(facts, [name])
    count = facts.shapes[name][0]
    if not all(0 <= row < count for row in wanted):
        raise CheckpointError(f"{facts.folder}: {name} has {count} rows, expected rows {list(wanted)} in it")
    with told(facts), safe_open(facts.folder / facts.files[name], framework="pt") as file:
        part = file.get_slice(name)
        return torch.stack([part[row] for row in wanted])


def lm_head_name(facts: Facts) -> str:
    """The tensor that a causal language model's head uses: its own, or the embeddings where the two are tied."""
    tied = facts.config.get("tie_word_embeddings", False) and "lm_head.weight" not in facts.files
    return "model.embed_tokens.weight" if tied else "lm_head.weight"


def check_present(facts: Facts, names: Sequence[str]) -> None:
    """CheckpointError, with what was found, unless all these tensors are there."""
    missing = [name for name in names if name not in facts.files]
    if missing:
        heads = [name for name in facts.files if ".layers." not in name]
        raise CheckpointError(
            f"{facts.folder}: found no {_some(missing)} (beside the layers it has {_some(sorted(heads))}), expected it: "
            "a head that is missing would be made up at random; take the checkpoint that was trained"
        )


def check_causal(facts: Facts, module: nn.Module) -> None:
    """CheckpointError for a model in which a token sees those after it: padding and shared beginnings would change it."""
    body: Any = body_of(module)
    weight = next(body.parameters())
    with torch.inference_mode():
        hidden = body(input_ids=torch.tensor([[1, 2], [1, 3]], device=weight.device)).last_hidden_state[:, 0].float()
    tolerance = max(1e-4, 6 * torch.finfo(weight.dtype).eps) * float(hidden.abs().max())
    if float((hidden[0] - hidden[1]).abs().max()) > tolerance:
        raise CheckpointError(
            f"{facts.folder}: found {type(module).__name__} whose tokens see those after them, expected a causal model"
        )


def context(facts: Facts) -> int | None:
    """How many tokens the model can take, as its configuration says."""
    with backbones.quietly(), told(facts):
        return context_of(AutoConfig.from_pretrained(facts.folder, local_files_only=True, trust_remote_code=False))


@contextmanager
def told(facts: Facts) -> Iterator[None]:
    """What a library says of a broken folder, as our error."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{facts.folder} can't be loaded: {lines[0]}") from error


def _some(names: Sequence[str]) -> str:
    more = len(names) - 6
    return ", ".join(names[:6]) + (f" and {more} more" if more > 0 else "")
