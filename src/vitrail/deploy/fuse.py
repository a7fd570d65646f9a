"""Steps before a model is shipped: fusing modules for speed, and layers of PyTorch's own type."""

import copy
from typing import TypeVar

from torch import nn

from vitrail.layers.linear import Linear

Model = TypeVar("Model", bound=nn.Module)


def fuse(model: Model) -> Model:
    """Fuses what needs no module of its own in evaluation.

    Batch norms are folded into the convolutions and linear layers before them, and LayerScales into
    the linear layers before them. A module says how by a method `fuse_for_inference`. The logits
    change by rounding only.

    Hooks see less afterwards: what was folded is an `nn.Identity`, and the layer before it returns
    the folded result. A fused model has other parameters: save and train the original.

    Args:
        model: any module; it is left unchanged.

    Returns:
        A copy in evaluation mode whose parameters take no gradients.

    Example:
        >>> from vitrail.layers.conv import ConvNorm
        >>> fuse(ConvNorm(3, 8)).norm
        Identity()
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(fused.modules()):
        if callable(step := getattr(module, "fuse_for_inference", None)):
            step()
    return fused.requires_grad_(False)  # folding makes new parameters


def plain_linear(model: Model) -> Model:
    """Replaces each `vitrail.layers.linear.Linear` by a layer of the exact type `nn.Linear`.

    For tools that look for that type, such as `torch.ao.quantization.quantize_dynamic`. The
    products are then PyTorch's, which are slower on AMD processors. Layers with a `forward` of
    their own, such as BEiT's query, key and value layer, remain as they are.

    Args:
        model: any module; it is left unchanged.

    Returns:
        A copy with the same weights.

    Example:
        >>> from vitrail.layers.mlp import Mlp
        >>> type(plain_linear(Mlp(8, 16)).fc1) is nn.Linear
        True
    """
    result = copy.deepcopy(model)
    replacements: dict[nn.Module, nn.Module] = {}  # by layer, because models may share layers
    for module in list(result.modules()):
        for name, child in list(module.named_children()):
            if type(child) is Linear:
                replacements.setdefault(child, _plain(child))
                setattr(module, name, replacements[child])
    return result


def _plain(layer: Linear) -> nn.Linear:
    has_bias = layer.bias is not None
    plain = nn.Linear(layer.in_features, layer.out_features, has_bias, device="meta")
    plain.weight, plain.bias = layer.weight, layer.bias
    return plain.train(layer.training)
