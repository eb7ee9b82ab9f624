"""Weights spread over the processes (FSDP): each holds a part of every weight, and gathers a layer while it computes it.

What is trained is a copy. The model itself stays whole in each process, in the memory of the CPU, and takes the weights
back in the end, so that what is saved is the stock model.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from gradatim.models.forward import body_of, head_of
from gradatim.models.layers import layers_of
from gradatim.train.workers import Workers


def spread(module: nn.Module, workers: Workers) -> nn.Module:
    """A copy of a stock model, whose weights are divided over the processes and lie on their devices."""
    copy = deepcopy(module)
    mesh = init_device_mesh(torch.device(workers.device).type, (workers.count,))
    # The body and the head are called apart, so each is a root of its own.
    for part in (*layers_of(body_of(copy)), body_of(copy), head_of(copy)):
        fully_shard(part, mesh=mesh)
    return copy


def gather(copy: nn.Module, module: nn.Module) -> None:
    """Set the trained weights of a model from those of its copy that is spread."""
    found = {name: weight.detach() for name, weight in copy.named_parameters() if weight.requires_grad}
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name in found:
                weight.copy_(whole(found[name]))


def whole(weight: Tensor) -> Tensor:
    """A tensor itself, gathered from all processes if it is spread over them: then all have to call this."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def divided_like(whole: Tensor, weight: Tensor) -> Tensor:
    """A whole tensor as this process holds `weight`: its part of it, or all."""
    if not isinstance(weight, DTensor) or isinstance(whole, DTensor):
        return whole
    return distribute_tensor(whole.to(weight.device), weight.device_mesh, weight.placements)
