"""The output shape, parameters and multiply-adds of every stage of a model."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitrail.arguments import checked
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.registry import new_model
from vitrail.models.tiers import PyramidBackbone
from vitrail.ops.selective_scan.op import FLOPS


class ShapeRow(NamedTuple):
    """One stage of a forward pass of one image.

    Args:
        name: "image", "embed", "block i" ("stage i" in a pyramid), the name of a module after the
            blocks, "pool", "head" or "total".
        shape: output shape without the batch; "" where it is the stage before's.
        parameters: number of parameters.
        multiply_adds: number of multiply-adds.

    Example:
        >>> ShapeRow("head", "1000", 193_000, 192_000).parameters
        193000
    """

    name: str
    shape: str
    parameters: int
    multiply_adds: int


class _Counts:
    """Output and multiply-adds of some modules during a forward pass."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.counter = FlopCounterMode(display=False, custom_mapping=FLOPS)
        self.outputs: dict[nn.Module, str] = {}
        self.work: Counter[nn.Module] = Counter()
        self.begin: dict[nn.Module, int] = {}
        for module in modules:
            module.register_forward_pre_hook(self._before)
            module.register_forward_hook(self._after)

    def total(self) -> int:
        """Multiply-adds so far; the counter counts floating-point operations, two of each."""
        return self.counter.get_total_flops() // 2

    def _before(self, module: nn.Module, _: Any) -> None:
        self.begin[module] = self.total()

    def _after(self, module: nn.Module, _: Any, output: Any) -> None:
        self.outputs[module] = describe_shape(output)
        self.work[module] += self.total() - self.begin[module]


@checked
def shapes(model: Backbone, image_size: tuple[int, ...] | None = None) -> list[ShapeRow]:
    """Output shape, parameters and multiply-adds of every stage for one image.

    Matrix products, convolutions, attention and scans are counted, as papers count them. Every
    parameter and every multiply-add belongs to exactly one row, so the rows add up to the total.
    The model is built again on the meta device, so neither memory nor arithmetic is spent.

    Args:
        model: the model.
        image_size: pixels along each axis; None: the model's own.

    Returns:
        One row per stage in the order of the forward pass, and the total last.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> [(row.name, row.parameters) for row in shapes(model)][-2:]
        [('head', 27), ('total', 947)]
    """
    with torch.device("meta"):
        twin = type(model)(**model.config).eval().requires_grad_(False)
    twin.to("meta")  # index buffers are built on the CPU wherever the parameters are
    image = torch.empty(1, model.channels, *(image_size or model.image_size), device="meta")
    kind = "stage" if isinstance(model, PyramidBackbone) else "block"
    blocks = {f"{kind} {i}": block for i, block in enumerate(twin.blocks)}
    after = _after_blocks(twin)
    counts = _Counts([*blocks.values(), *after.values(), twin.head])
    with torch.no_grad(), counts.counter:
        embedded = twin.embed(image)
        embed_work = counts.total()
        in_embed = set(counts.outputs)
        encoded = twin.encode(embedded)
        encode_work = counts.total() - embed_work
        in_encode = set(counts.outputs)
        pooled = twin.pool(encoded)
        pool_work = counts.total() - embed_work - encode_work
        twin.head(pooled)

    def rows(modules: dict[str, nn.Module]) -> list[ShapeRow]:
        return [
            ShapeRow(name, counts.outputs.get(m, ""), _parameters(m), counts.work[m])
            for name, m in modules.items()
        ]

    # A module after the blocks belongs to the phase that calls it: CaiT embeds its class token.
    encoding = rows(blocks | {n: m for n, m in after.items() if m in in_encode - in_embed})
    pooling = rows({n: m for n, m in after.items() if m not in in_encode})
    last_norm = getattr(twin, "norm", None)
    norm = _parameters(last_norm) if isinstance(last_norm, nn.Module) else 0
    head, total = _parameters(twin.head), _parameters(twin)
    embedding = total - norm - head - sum(row.parameters for row in encoding + pooling)
    encode_work -= sum(row.multiply_adds for row in encoding)
    pool_work -= sum(row.multiply_adds for row in pooling)
    return [
        ShapeRow("image", describe_shape(image), 0, 0),
        ShapeRow("embed", describe_shape(embedded), embedding, embed_work),
        *encoding,
        ShapeRow("norm", describe_shape(encoded), norm, encode_work),
        *pooling,
        ShapeRow("pool", describe_shape(pooled), 0, pool_work),
        ShapeRow("head", counts.outputs[twin.head], head, counts.work[twin.head]),
        ShapeRow("total", "", total, counts.total()),
    ]


def _after_blocks(model: Backbone) -> dict[str, nn.Module]:
    """The modules after the blocks by name, one each of a list of modules; not norm and head."""
    modules: dict[str, nn.Module] = {}
    for name, module in model.named_children():
        if name in model.after_blocks and name not in ("norm", "head"):
            if isinstance(module, nn.ModuleList):
                modules |= {f"{name} {i}": child for i, child in enumerate(module)}
            else:
                modules[name] = module
    return modules


def count_multiply_adds(variant: str) -> int:
    """Multiply-adds of a variant for one image of its size, counted on the meta device.

    Args:
        variant: name of a variant, as `list_models` lists them.

    Returns:
        The number of multiply-adds.

    Raises:
        ConfigError: there is no such variant.

    Example:
        >>> f"{count_multiply_adds('vit_tiny_patch16_224') / 1e9:.2f} G"
        '1.25 G'
    """
    with torch.device("meta"):
        model = new_model(variant)
    return shapes(model)[-1].multiply_adds


def describe_shape(value: Any) -> str:
    """The shape of a tensor or of features, without the batch.

    Args:
        value: a tensor or `Features`.

    Returns:
        Text such as "197 x 192", or with prefix and grid "1 + 14 x 14 tokens x 192".

    Example:
        >>> describe_shape(torch.zeros(1, 3, 32, 32))
        '3 x 32 x 32'
    """
    if isinstance(value, Features):
        width = value.patches.shape[2]
        grid = " x ".join(map(str, value.grid))
        prefix = f"{value.prefix.shape[1]} + " if value.prefix.shape[1] else ""
        return f"{prefix}{grid} tokens x {width}"
    return " x ".join(map(str, value.shape[1:]))


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
