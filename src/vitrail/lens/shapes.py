"""The shape of every stage of a model, its parameters and its multiply-adds."""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitrail.models.base import Backbone, Features
from vitrail.ops.selective_scan.op import FLOPS


class PyramidStage(NamedTuple):
    """What one stage gives for one image."""

    name: str
    shape: str
    parameters: int
    multiply_adds: int


def shapes(model: Backbone, image_size: tuple[int, ...] | None = None) -> list[PyramidStage]:
    """Every stage of a forward pass of one image, in order, then the total.

    Matrix products, convolutions, attention and scans are counted, as papers count them: one
    multiply-add for each pair of factors. The model is rebuilt on the meta device, so this costs
    nothing, whatever its size.
    """
    with torch.device("meta"):
        twin = type(model)(**model.config).eval().requires_grad_(False)
    size = image_size or model.image_size
    image = torch.empty(1, model.channels, *size, device="meta")
    counter = FlopCounterMode(display=False, custom_mapping=FLOPS)
    seen: dict[nn.Module, tuple[str, int]] = {}  # a module's output and its multiply-adds

    def before(module: nn.Module, _: Any) -> None:
        seen[module] = ("", counter.get_total_flops())

    def after(module: nn.Module, _: Any, output: Any) -> None:
        seen[module] = (describe(output), (counter.get_total_flops() - seen[module][1]) // 2)

    for module in (*twin.blocks, twin.head):
        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
    with torch.no_grad(), counter:
        embedded = twin.embed(image)
        embedding_work = counter.get_total_flops() // 2
        encoded = twin.encode(embedded)
        pooled = twin.pool(encoded)
        twin.head(pooled)

    def parameters(prefix: str) -> int:
        return sum(p.numel() for n, p in twin.named_parameters() if n.startswith(prefix))

    blocks = [
        PyramidStage(f"block {i}", seen[block][0], parameters(f"blocks.{i}."), seen[block][1])
        for i, block in enumerate(twin.blocks)
    ]
    outside = ("blocks.", "norm.", "head.")
    embedding = sum(p.numel() for n, p in twin.named_parameters() if not n.startswith(outside))
    return [
        PyramidStage("image", describe(image), 0, 0),
        PyramidStage("embed", describe(embedded), embedding, embedding_work),
        *blocks,
        PyramidStage("norm", describe(encoded), parameters("norm."), 0),
        PyramidStage("pool", describe(pooled), 0, 0),
        PyramidStage("head", seen[twin.head][0], parameters("head."), seen[twin.head][1]),
        PyramidStage("total", "", parameters(""), counter.get_total_flops() // 2),
    ]


def describe(value: Any) -> str:
    """A shape without its batch: "197 x 192", or a prefix and a grid of patches."""
    if isinstance(value, Features):
        width = value.patches.shape[2]
        grid = " x ".join(map(str, value.grid))
        prefix = f"{value.prefix.shape[1]} + " if value.prefix.shape[1] else ""
        return f"{prefix}{grid} tokens x {width}"
    return " x ".join(map(str, value.shape[1:]))
