"""The output shape, parameters and multiply-adds of every stage of a model."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vitrail.arguments import checked
from vitrail.layers.block import DropPath
from vitrail.layers.recording import RecordedMixer
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.limits import LARGEST
from vitrail.models.registry import new_model
from vitrail.models.tiers import PyramidBackbone
from vitrail.ops.selective_scan.op import FLOPS
from vitrail.values import PositiveInt, Range


class ShapeRow(NamedTuple):
    """One stage of a forward pass, or a part of the stage above.

    Args:
        name: "image", "embed", "block i" ("stage i" in a pyramid), the name of a module after the
            blocks, "pool", "head" or "total"; of a part the name of its module, or "q", "k", "v"
            and "attention" for what attention computes with.
        shape: output shape without the batch; "" where it is the stage before's.
        parameters: number of parameters.
        multiply_adds: number of multiply-adds.
        level: 1 for a stage, more for a part, whose numbers its stage has counted.
        sizes: output shape with the batch; tokens are counted with the prefix.

    Example:
        >>> ShapeRow("head", "1000", 193_000, 192_000).parameters
        193000
    """

    name: str
    shape: str
    parameters: int
    multiply_adds: int
    level: int = 1
    sizes: tuple[int, ...] = ()


class _Counts:
    """Output and multiply-adds of some modules during a forward pass, and what is in them.

    Args:
        modules: the stages.
        parts: the level and the name of each part that has a row.
        depth: the deepest level.
    """

    def __init__(
        self, modules: Sequence[nn.Module], parts: dict[nn.Module, tuple[int, str]], depth: int
    ) -> None:
        self.counter = FlopCounterMode(display=False, custom_mapping=FLOPS)
        self.outputs: dict[nn.Module, str] = {}
        self.work: Counter[nn.Module] = Counter()
        self.begin: dict[nn.Module, int] = {}
        self.sizes: dict[nn.Module, tuple[int, ...]] = {}
        self.rows: list[ShapeRow] = []  # of the parts of the stage that runs
        self.inside: dict[nn.Module, list[ShapeRow]] = {}
        self.outside: list[list[ShapeRow]] = []
        self.parts, self.depth = parts, depth
        self.outer = {p for p in parts for c in p.modules() if c is not p and c in parts}
        for module in modules:
            module.register_forward_pre_hook(self._before)
            module.register_forward_hook(self._after)
        for part in parts:
            part.register_forward_pre_hook(self._before_part)
            part.register_forward_hook(self._after_part)
        for mixer in {m for module in modules for m in module.modules()} if depth > 1 else ():
            if isinstance(mixer, RecordedMixer):
                mixer.register_forward_pre_hook(self._before_attention)

    def total(self) -> int:
        """Multiply-adds so far; the counter counts floating-point operations, two of each."""
        return self.counter.get_total_flops() // 2

    def stage_rows(self, modules: dict[str, nn.Module]) -> list[ShapeRow]:
        """A row for each stage, followed by those of its parts."""
        rows: list[ShapeRow] = []
        for name, module in modules.items():
            shape, sizes = self.outputs.get(module, ""), self.sizes.get(module, ())
            work, parameters = self.work[module], _parameters(module)
            rows.append(ShapeRow(name, shape, parameters, work, 1, sizes))
            rows += self.inside.get(module, ())
        return rows

    def take_rows(self) -> list[ShapeRow]:
        """The rows of the parts that ran since the last call."""
        rows, self.rows = self.rows, []
        return rows

    def _before(self, module: nn.Module, _: Any) -> None:
        self.begin[module] = self.total()
        self.outside.append(self.rows)
        self.inside[module] = self.rows = [*self.inside.get(module, ())]

    def _after(self, module: nn.Module, _: Any, output: Any) -> None:
        self.outputs[module] = describe_shape(output)
        self.sizes[module] = sizes_of(output)
        self.work[module] += self.total() - self.begin[module]
        self.rows = self.outside.pop()

    def _before_part(self, module: nn.Module, _: Any) -> None:
        self.begin[module] = self.total()
        if module in self.outer:  # it stands above its parts
            self._add_row(module, ())

    def _after_part(self, module: nn.Module, _: Any, output: Any) -> None:
        sizes = sizes_of(output)
        if module not in self.outer:
            self._add_row(module, sizes)
            return
        level, name = self.parts[module]
        work = self.total() - self.begin[module]
        for index in range(len(self.rows) - 1, -1, -1):
            row = self.rows[index]
            if (row.level, row.name, row.sizes) == (level, name, ()):
                self.rows[index] = row._replace(
                    shape=_joined(sizes[1:]), sizes=sizes, multiply_adds=work
                )
                return

    def _add_row(self, module: nn.Module, sizes: tuple[int, ...]) -> None:
        level, name = self.parts[module]
        work = self.total() - self.begin[module]
        shape = _joined(sizes[1:])
        self.rows.append(ShapeRow(name, shape, _parameters(module), work, level, sizes))

    def _before_attention(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Rows of q, k and v (B, heads, N, d), and of the weights (B, heads, N, M)."""
        tensors = [tuple(x.shape) for x in inputs[:3] if isinstance(x, Tensor) and x.ndim == 4]
        if len(tensors) < 3:
            return
        level = min(self.parts.get(module, (self.depth, ""))[0], self.depth)
        weights = (*tensors[0][:-1], tensors[1][-2])
        for name, sizes in zip(("q", "k", "v", "attention"), (*tensors, weights), strict=True):
            self.rows.append(ShapeRow(name, _joined(sizes[1:]), 0, 0, level, sizes))


@checked
def shapes(
    model: Backbone,
    image_size: tuple[PositiveInt, ...] | None = None,
    *,
    depth: PositiveInt = 1,
    batch: Annotated[int, Range(1, LARGEST)] = 1,
) -> list[ShapeRow]:
    """Output shape, parameters and multiply-adds of every stage, and of their parts.

    Matrix products, convolutions, attention and scans are counted, as papers count them. Every
    parameter and every multiply-add belongs to exactly one stage, so the stages, which are the rows
    of level 1, add up to the total.
    The model is built again on the meta device, so neither memory nor arithmetic is spent.

    Args:
        model: the model.
        image_size: pixels along each axis; None: the model's own.
        depth: deepest level. 1: the stages. 2: also what is in a stage, such as q, k, v, attention
            and MLP in a block. 3 and more: what is in those.
        batch: number of images. Multiply-adds are those of one.

    Returns:
        One row per stage in the order of the forward pass, each followed by its parts, and the
        total last.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> [(row.name, row.parameters) for row in shapes(model)][-2:]
        [('head', 27), ('total', 947)]
    """
    rows = _stages(model, image_size or model.image_size, depth, 1)
    if batch == 1:
        return rows
    whole = _stages(model, image_size or model.image_size, depth, batch)
    return [row._replace(sizes=each.sizes) for row, each in zip(rows, whole, strict=True)]


def _stages(model: Backbone, image_size: tuple[int, ...], depth: int, batch: int) -> list[ShapeRow]:
    """The rows of a forward pass of a batch, with the work of all its images."""
    with torch.device("meta"):
        twin = type(model)(**model.config).eval().requires_grad_(False)
    twin.to("meta")  # index buffers are built on the CPU wherever the parameters are
    image = torch.empty(batch, model.channels, *image_size, device="meta")
    kind = "stage" if isinstance(model, PyramidBackbone) else "block"
    blocks = {f"{kind} {i}": block for i, block in enumerate(twin.blocks)}
    after = _after_blocks(twin)
    stages = [*blocks.values(), *after.values(), twin.head]
    counts = _Counts(stages, _parts(twin, stages, depth), depth)
    with torch.no_grad(), counts.counter:
        embedded = twin.embed(image)
        in_embedding = counts.take_rows()
        embed_work = counts.total()
        in_embed = set(counts.outputs)
        encoded = twin.encode(embedded)
        encode_work = counts.total() - embed_work
        in_encode = set(counts.outputs)
        pooled = twin.pool(encoded)
        pool_work = counts.total() - embed_work - encode_work
        twin.head(pooled)
    # A module after the blocks belongs to the phase that calls it: CaiT embeds its class token.
    encoding = counts.stage_rows(
        blocks | {n: m for n, m in after.items() if m in in_encode - in_embed}
    )
    pooling = counts.stage_rows({n: m for n, m in after.items() if m not in in_encode})
    last_norm = getattr(twin, "norm", None)
    norm = _parameters(last_norm) if isinstance(last_norm, nn.Module) else 0
    head, total = _parameters(twin.head), _parameters(twin)
    staged = [r for r in encoding + pooling if r.level == 1]
    embedding = total - norm - head - sum(r.parameters for r in staged)
    encode_work -= sum(r.multiply_adds for r in encoding if r.level == 1)
    pool_work -= sum(r.multiply_adds for r in pooling if r.level == 1)
    return [
        ShapeRow("image", describe_shape(image), 0, 0, 1, sizes_of(image)),
        ShapeRow("embed", describe_shape(embedded), embedding, embed_work, 1, sizes_of(embedded)),
        *in_embedding,
        *encoding,
        ShapeRow("norm", describe_shape(encoded), norm, encode_work, 1, sizes_of(encoded)),
        *pooling,
        ShapeRow("pool", describe_shape(pooled), 0, pool_work, 1, sizes_of(pooled)),
        *counts.stage_rows({"head": twin.head}),
        ShapeRow("total", "", total, counts.total()),
    ]


def _parts(
    model: Backbone, stages: Sequence[nn.Module], depth: int
) -> dict[nn.Module, tuple[int, str]]:
    """The level and the name of every module that has a row as a part of a stage."""
    roots = set(stages)
    parts: dict[nn.Module, tuple[int, str]] = {}

    def descend(module: nn.Module, level: int, prefix: str) -> None:
        for name, child in module.named_children():
            if child in roots or (module is model and name == "norm") or level > depth:
                continue
            if isinstance(child, nn.ModuleList):  # is not called itself
                descend(child, level, f"{prefix}{name} ")
            elif not isinstance(child, nn.Identity | nn.Dropout | DropPath):
                parts.setdefault(child, (level, f"{prefix}{name}"))
                descend(child, level + 1, "")

    for stage in stages:
        descend(stage, 2, "")
    descend(model, 2, "")  # what is in no stage embeds
    return parts


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
    return _joined(value.shape[1:])


def sizes_of(value: Any) -> tuple[int, ...]:
    """The shape of what a module returns, with the batch.

    Args:
        value: a tensor; `Features`, whose tokens are counted with the prefix; or a tuple, of which
            the first such value counts.

    Returns:
        The sizes; () where there is no tensor.

    Example:
        >>> sizes_of((torch.zeros(2, 4, 8), (2, 2)))
        (2, 4, 8)
    """
    if isinstance(value, Features):
        batch, count, width = value.patches.shape
        return batch, value.prefix.shape[1] + count, width
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return next(filter(None, map(sizes_of, value)), ())
    return ()


def _joined(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
