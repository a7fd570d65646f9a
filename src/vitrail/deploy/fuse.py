"""Steps before a model is shipped: fusing modules for speed, and layers of PyTorch's own type."""

import copy
from typing import TypeVar

from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.hub.fitting import unwrapped
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import GELU
from vitrail.layers.norm import BatchNorm2d

Model = TypeVar("Model", bound=nn.Module)


@checked
def fuse(model: Model) -> Model:
    """Fuses what needs no module of its own in evaluation.

    Batch norms are folded into the convolutions and linear layers before them, and LayerScales into
    the linear layers before them. A module says how by a method `fuse_for_inference`. The logits
    change by rounding only.

    Hooks see less afterwards: what was folded is an `nn.Identity`, and the layer before it returns
    the folded result. A fused model has other parameters: save and train the original.

    Args:
        model: any module, compiled or parallel too; it is left unchanged.

    Returns:
        A copy in evaluation mode whose parameters take no gradients.

    Example:
        >>> from vitrail.layers.conv import ConvNorm
        >>> fuse(ConvNorm(3, 8)).norm
        Identity()
    """
    fused = copied(module_in(model)).eval().requires_grad_(False)
    for module in list(fused.modules()):
        if callable(step := getattr(module, "fuse_for_inference", None)):
            step()
    return fused.requires_grad_(False)  # folding makes new parameters


# Layers of Vitrail that differ from PyTorch's own in how they compute, and in nothing else.
PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    Linear: nn.Linear,
    BatchNorm2d: nn.BatchNorm2d,
    GELU: nn.GELU,
}


@checked
def plain_layers(model: Model) -> Model:
    """Gives each linear layer, batch norm and GELU PyTorch's own type.

    For tools that look for exact types, such as `torch.ao.quantization.quantize_dynamic` for
    `nn.Linear`. The model then computes as PyTorch does, which is slower on a CPU. Layers with a
    `forward` of their own, such as BEiT's layer of queries, keys and values, remain as they are.

    Args:
        model: any module; it is left unchanged.

    Returns:
        A copy with the same weights.

    Example:
        >>> from vitrail.layers.mlp import Mlp
        >>> type(plain_layers(Mlp(8, 16)).fc1) is nn.Linear
        True
    """
    plain = copied(module_in(model))
    for module in plain.modules():
        # The type is all that differs: parameters, buffers and hooks are the same attributes.
        module.__class__ = PLAIN.get(type(module), type(module))
    return plain


def module_in(model: Model) -> Model:
    """The module inside `torch.compile`'s and parallel wrappers.

    Args:
        model: any module.

    Returns:
        The module itself if it is not wrapped.

    Raises:
        ConfigError: it is no module.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> module_in(nn.DataParallel(layer)) is layer
        True
        >>> module_in("vit_tiny")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: 'vit_tiny' is no model: give a module, as vitrail.load ...
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{model!r} is no model: give a module, as vitrail.load returns one.")
    return unwrapped(model)  # type: ignore[return-value]


def copied(model: Model) -> Model:
    """A copy of a module.

    Args:
        model: any module.

    Returns:
        The copy.

    Raises:
        ConfigError: a weight is computed from others by a hook, such as of pruning, so that PyTorch
            cannot copy it.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> copied(layer).weight is layer.weight
        False
    """
    try:
        return copy.deepcopy(model)
    except RuntimeError:
        for path, module in model.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and not value.is_leaf:
                    raise ConfigError(
                        f"{path}.{name} is computed from other weights, and cannot be copied: end "
                        "it first, as torch.nn.utils.prune.remove ends pruning."
                    ) from None
        raise
