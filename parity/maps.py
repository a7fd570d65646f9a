"""Our weights in vit-pytorch's modules that work on maps with channels first."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def conv_of(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """The 1 × 1 convolution that does what a linear layer with these weights does."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    conv.weight.copy_(weight[..., None, None])
    if bias is not None:
        conv.bias.copy_(bias)
    return conv


def convs_of(linear: nn.Linear, widths: list[int]) -> list[nn.Conv2d]:
    """The 1 × 1 convolutions of a linear layer's outputs, cut into pieces of these widths."""
    biases = [None] * len(widths) if linear.bias is None else linear.bias.split(widths)
    return [conv_of(*pair) for pair in zip(linear.weight.split(widths), biases, strict=True)]


@torch.no_grad()
def fill_norm(theirs: nn.Module, ours: nn.Module) -> nn.Module:
    """Copies a norm over channels into theirs, and gives theirs."""
    theirs.g.copy_(ours.weight.view_as(theirs.g))
    theirs.b.copy_(ours.bias.view_as(theirs.b))
    return theirs


@torch.no_grad()
def fill_mlp(theirs: nn.Module, norm: nn.Module, ours: nn.Module) -> None:
    """Copies a norm and the MLP after it; theirs is a `Sequential`, or holds one as `net`."""
    layers = getattr(theirs, "net", theirs)
    fill_norm(layers[0], norm)
    first, second = (m for m in layers if isinstance(m, nn.Conv2d))
    for conv, linear in ((first, ours.fc1), (second, ours.fc2)):
        conv.load_state_dict(conv_of(linear.weight, linear.bias).state_dict())
