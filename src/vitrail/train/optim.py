"""Which parameters learn how fast, and their moving average."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from vitrail.methods.base import Method
from vitrail.models.base import Backbone, undecayed


def parameter_groups(
    method: Method, lr: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups for AdamW: no decay on vectors, tokens and positions; lower layers learn slower.

    `scale` is a group's factor on the learning rate: layer_decay to the power of its distance
    from the head (BEiT, Bao et al. 2021, https://arxiv.org/abs/2106.08254). What the method adds
    to the backbone learns as the head does.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    backbone, no_decay = method.backbone, undecayed(method)
    top = backbone.depth + 1
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        inside = name.startswith("backbone.")
        layer = backbone.layer_of(name.removeprefix("backbone.")) if inside else top
        scale = layer_decay ** (top - layer)
        decayed = name not in no_decay
        fresh = {"params": [], "lr": lr * scale, "scale": scale, "decayed": decayed}
        fresh["weight_decay"] = weight_decay * decayed
        key = (layer if layer_decay < 1 else 0, name in no_decay)
        groups.setdefault(key, fresh)["params"].append(parameter)
    return list(groups.values())


def average(backbone: Backbone, decay: float) -> AveragedModel:
    """An exponential moving average of the weights; young averages forget faster."""

    def update(averaged: Any, current: Any, updates: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(updates)) / (10 + int(updates)))
        with torch.no_grad():
            for old, new in zip(averaged, current, strict=True):
                old.lerp_(new, weight)

    return AveragedModel(backbone, multi_avg_fn=update)
