"""Low-rank adaptation (LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685), by peft.

The product of two thin matrices is added to each linear layer W of the blocks: W x + α/r · B A x.
Only these matrices and the head learn. B starts at zero, so training starts from what the weights
compute. At the end the products are merged into the weights, and the model is a plain one again.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn

from vitrail.arguments import checked
from vitrail.errors import ConfigError, check_range, how_to_install
from vitrail.layers.batch_norms import keep_still
from vitrail.models.base import Backbone


@checked
def adapt(backbone: Backbone, rank: int, alpha: float | None = None) -> Backbone:
    """Adds adapters to every linear layer of the blocks, and freezes all else but the head.

    Batch norms that are frozen keep their statistics.

    Args:
        backbone: model to adapt, changed in place.
        rank: r, width of the thin matrices.
        alpha: α; None for twice the rank, a scale of 2.

    Returns:
        The same backbone.

    Raises:
        ConfigError: peft is not installed, no block has a linear layer, or the model has adapters.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> sum(p.numel() for p in adapt(model, rank=2).blocks.parameters() if p.requires_grad)
        160
    """
    check_range("rank", rank, 1)
    alpha = 2.0 * rank if alpha is None else alpha
    if not alpha > 0:
        raise ConfigError(f"alpha={alpha!r} is not above 0: leave it out, or try {2 * rank}.")
    if any(_adapted(backbone)):
        raise ConfigError(
            f"this {type(backbone).__name__} has adapters: call vitrail.train.merge(model) before "
            "it gets others."
        )
    layers = {
        f"blocks.{name}": module
        for name, module in backbone.blocks.named_modules()
        if isinstance(module, nn.Linear)
    }
    if not layers:
        raise ConfigError(
            f"no block of this {type(backbone).__name__} has a linear layer to adapt: train it "
            "without adapters."
        )
    check_range("rank", rank, 1, max(max(layer.weight.shape) for layer in layers.values()))
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as problem:
        if problem.name == "peft":
            raise ConfigError(f"lora needs the package peft: {how_to_install('peft')}") from None
        raise ConfigError(f"lora needs peft, which cannot be imported: {_root(problem)}") from None
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=[*layers])  # type: ignore[arg-type]
    inject_adapter_in_model(config, backbone)
    backbone.head.requires_grad_(True)
    keep_still(backbone)
    return backbone


def check_learns(backbone: Backbone, method: str) -> None:
    """Checks that, the head aside, the adapters learn and nothing else does.

    Args:
        backbone: an adapted model inside a method.
        method: name of the method, for the message.

    Raises:
        ConfigError: the method has frozen adapters, or made other weights learn.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> check_learns(adapt(model, rank=2), "supervised")
    """
    head = {id(p) for p in backbone.head.parameters()}
    adapters = {
        id(p)
        for _, _, layer in _adapted(backbone)
        for matrices in (layer.lora_A, layer.lora_B)
        for p in matrices.parameters()
    }
    for parameter in backbone.parameters():
        if id(parameter) not in head and parameter.requires_grad != (id(parameter) in adapters):
            raise ConfigError(
                f"method {method!r} decides itself which weights learn, and so does lora: train "
                "without adapters, or by a method that trains all weights, such as supervised."
            )


@checked
def merge(backbone: Backbone) -> Backbone:
    """Adds the adapters' products to the weights, and removes the adapters.

    Args:
        backbone: a model, changed in place; one without adapters stays as it is.

    Returns:
        The same backbone.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> names = set(model.state_dict())
        >>> names == set(merge(adapt(model, rank=2)).state_dict())
        True
    """
    for parent, name, layer in list(_adapted(backbone)):
        layer.merge()
        setattr(parent, name, layer.get_base_layer())
    vars(backbone).pop("peft_config", None)
    return backbone


def _adapted(backbone: Backbone) -> Iterator[tuple[nn.Module, str, Any]]:
    """(parent, name, layer) of each layer that peft has wrapped."""
    for parent in backbone.modules():
        for name, layer in parent.named_children():
            if hasattr(layer, "lora_A"):
                yield parent, name, layer


def _root(problem: BaseException) -> BaseException:
    while (cause := problem.__cause__ or problem.__context__) is not None:
        problem = cause
    return problem
