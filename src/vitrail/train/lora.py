"""Low-rank adaptation (Hu et al. 2021, https://arxiv.org/abs/2106.09685), by the library peft.

Beside each projection W of the blocks stands a product of two thin matrices: W x + α/r · B A x.
Only these and the head learn. B begins at zero, so training starts from what the weights compute.
At the end the products are added to the weights they stand beside, and nothing of them is left.
"""

from typing import Any

import torch
from torch import nn

from vitrail.errors import ConfigError, check_range
from vitrail.layers.linear import Linear
from vitrail.models.base import Backbone

MARK = ".lora_"  # in the names of what the adapters add


def adapt(backbone: Backbone, rank: int, alpha: float | None = None) -> Backbone:
    """Puts adapters of `rank` beside the projections of the blocks, and freezes the rest.

    The head goes on learning. alpha: the adapters' factor is alpha / rank; None: twice the rank,
    a factor of 2.

    Raises `ConfigError` if peft is not installed, or no block has a projection.
    """
    check_range("lora", rank, 1)
    alpha = 2.0 * rank if alpha is None else alpha
    if not alpha > 0:
        raise ConfigError(f"lora_alpha={alpha!r} is not above 0: leave it out, or try {2 * rank}.")
    layers = _called(backbone)
    if not layers:
        raise ConfigError(
            f"no block of this {type(backbone).__name__} has a projection to adapt: set lora=0."
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as problem:
        if problem.name == "peft":
            raise ConfigError("lora needs the package peft: pip install 'vitrail[lora]'") from None
        raise ConfigError(f"lora needs peft, which cannot be imported: {_root(problem)}") from None
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers)  # type: ignore[arg-type]
    inject_adapter_in_model(config, backbone)
    for parameter in backbone.head.parameters():
        parameter.requires_grad = True
    return backbone


def _called(backbone: Backbone) -> list[str]:
    """Names of the projections that the blocks call.

    Some blocks fold a weight into the norm that follows and never call its layer, nor would they
    call an adapter in its place.
    """
    called: set[nn.Module] = set()
    projections = {
        f"blocks.{name}": module
        for name, module in backbone.blocks.named_modules()
        if isinstance(module, Linear)
    }
    hooks = [
        module.register_forward_hook(lambda layer, *_: called.add(layer))
        for module in projections.values()
    ]
    was_training, like = backbone.training, next(backbone.parameters())
    with torch.no_grad():
        backbone.eval()(like.new_zeros(1, backbone.channels, *backbone.image_size))
    backbone.train(was_training)
    for hook in hooks:
        hook.remove()
    return [name for name, module in projections.items() if module in called]


def _root(problem: BaseException) -> BaseException:
    while (cause := problem.__cause__ or problem.__context__) is not None:
        problem = cause
    return problem


def check_learns(backbone: Backbone, method: str) -> None:
    """Raises `ConfigError` unless, the head aside, the adapters learn and nothing else does."""
    for name, parameter in backbone.named_parameters():
        if not name.startswith("head.") and parameter.requires_grad != (MARK in name):
            raise ConfigError(
                f"method {method!r} says itself which weights learn, and so does model.lora: set "
                "model.lora=0, or take a method that trains them all, such as supervised."
            )


def merge(backbone: Backbone) -> Backbone:
    """Adds what adapters learned to the weights; a backbone without any stays as it is."""
    for parent in list(backbone.modules()):
        layer: Any
        for name, layer in list(parent.named_children()):
            if hasattr(layer, "lora_A"):
                layer.merge()
                setattr(parent, name, layer.get_base_layer())
    vars(backbone).pop("peft_config", None)
    return backbone
