from typing import Any

from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Model -> two groups for an optimizer, the decayed parameters first"""
    # <write>
    # en: Decayed are the weights of linear and convolution layers: tensors of 2 or more axes. Not
    # en: decayed are biases and norms (1 axis), class tokens and positions, whatever their shape.
    # zh: 要衰减的是线性层与卷积层的权重，即 2 维及以上的张量。不衰减的是偏置与归一化参数（1 维），
    # zh: 以及分类 token 与位置编码，无论形状如何。
    decayed, spared = [], []
    for name, parameter in model.named_parameters():
        # en: Frozen parameters belong to no group.
        # zh: 冻结的参数不放进任何一组。
        if not parameter.requires_grad:
            continue
        is_token = name.split(".")[-1] in ("cls_token", "pos_embed")
        if parameter.ndim >= 2 and not is_token:
            decayed.append(parameter)
        else:
            spared.append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    # </write>
