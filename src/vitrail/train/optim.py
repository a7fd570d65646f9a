"""Which parameters learn how fast, and the exponential moving average (EMA) of the weights."""

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from vitrail.errors import ConfigError, check_range, suggest
from vitrail.methods.base import Method
from vitrail.models.base import Backbone
from vitrail.models.parameters import undecayed


@dataclasses.dataclass(frozen=True)
class ParameterOptim:
    """How some parameters are optimized differently.

    Args:
        lr_scale: factor on their learning rate; None leaves it.
        weight_decay_scale: factor on the weight decay, 0 for none; None leaves it, so that vectors,
            tokens and positions are not decayed and all else is.

    Raises:
        ConfigError: a factor is negative.

    Example:
        >>> ParameterOptim(lr_scale=0.1).weight_decay_scale is None
        True
    """

    lr_scale: float | None = None
    weight_decay_scale: float | None = None

    def __post_init__(self) -> None:
        for name in ("lr_scale", "weight_decay_scale"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 0)


def parameter_groups(
    method: Method,
    *,
    lr: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    per_module: Mapping[str, ParameterOptim] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer.

    Weight decay spares vectors, tokens and positions. With layer-wise decay the learning rate is
    multiplied by `layer_decay` to the power of a parameter's distance from the head, in blocks
    (BEiT, Bao et al. 2021, https://arxiv.org/abs/2106.08254). What the method adds to the backbone
    learns as fast as the head.

    Args:
        method: method whose parameters are optimized; frozen ones are left out.
        lr: learning rate of the head.
        weight_decay: weight decay of what is decayed.
        layer_decay: factor on the learning rate per block.
        per_module: what differs, by patterns over parameter names such as "backbone.embed.*". The
            last pattern that matches a parameter wins.

    Returns:
        Groups with "params", "lr", "weight_decay" and "weight_decay_scale", the factor in the last.

    Raises:
        ConfigError: a pattern matches no parameter.

    Example:
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> groups = parameter_groups(Supervised(model), lr=0.1, weight_decay=0.05)
        >>> sorted(group["weight_decay"] for group in groups)
        [0.0, 0.05]
    """
    backbone, no_decay = method.backbone, undecayed(method)
    top, layers = backbone.depth + 1, backbone.layer_ids()
    layer_of = {id(p): layers[name] for name, p in backbone.named_parameters()}
    parameters = {name: p for name, p in method.named_parameters() if p.requires_grad}
    overrides = _matches(list(parameters), per_module or {})
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        override = overrides.get(name, ParameterOptim())
        lr_scale = layer_decay ** (top - layer_of.get(id(parameter), top))
        lr_scale *= 1.0 if override.lr_scale is None else override.lr_scale
        decay_scale = override.weight_decay_scale
        if decay_scale is None:
            decay_scale = float(name not in no_decay)
        group = groups.setdefault(
            (lr_scale, decay_scale),
            {
                "params": [],
                "lr": lr * lr_scale,
                "weight_decay": weight_decay * decay_scale,
                "weight_decay_scale": decay_scale,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def _matches(
    names: list[str], per_module: Mapping[str, ParameterOptim]
) -> dict[str, ParameterOptim]:
    overrides: dict[str, ParameterOptim] = {}
    for pattern, override in per_module.items():
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise ConfigError(
                f"no parameter that learns is called {pattern!r}.{suggest(pattern, names)} There "
                f"are names such as {', '.join(names[:3])}."
            )
        overrides |= dict.fromkeys(matches, override)
    return overrides


def make_ema(backbone: Backbone, decay: float) -> AveragedModel:
    """The exponential moving average of a backbone's weights.

    After u updates the decay is at most (1 + u) / (10 + u), so that the first weights fade soon.

    Args:
        backbone: model whose weights are averaged.
        decay: factor on the old average, 0 <= decay < 1.

    Returns:
        torch's averaged model; `update_parameters(backbone)` updates it, `module` holds it.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> make_ema(model, 0.9).module.depth
        1
    """

    def update(averages: Any, weights: Any, updates: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(updates)) / (10 + int(updates)))
        with torch.no_grad():
            for old, new in zip(averages, weights, strict=True):
                old.lerp_(new, weight)

    return AveragedModel(backbone, multi_avg_fn=update)
