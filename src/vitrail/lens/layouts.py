"""Where the attention weights of each layer lie on the image.

Most layers of a ViT attend from all tokens to all tokens. Those of a pyramid attend on a finer grid
than the last one, within windows, or to a coarser grid of keys. A layout says which cell of the
image each query and each key is, so that any of them can be drawn as maps.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.errors import TierError
from vitrail.lens.explanations.windows import Windows, recorded_windows
from vitrail.lens.layer_keys import LayerKey, layer_paths
from vitrail.lens.record import recording
from vitrail.models.base import Backbone
from vitrail.models.features import Features

Grid = tuple[int, int]  # (rows, columns)


class AttentionLayout(NamedTuple):
    """Which cell of the image each query and each key of an attention layer is.

    Args:
        heads: number of heads.
        grid: (rows, columns) of the queries.
        key_grid: (rows, columns) of the keys, which may be coarser.
        prefix: number of prefix tokens, which come first among queries and among keys.
        cells: (windows, T), the cell of each token of each window, -1 for padding; None for a layer
            without windows.

    Example:
        >>> layout = AttentionLayout(2, (2, 2), (2, 2), 1, None)
        >>> layout.by_head(torch.zeros(1, 2, 5, 5)).shape
        torch.Size([2, 5, 5])
    """

    heads: int
    grid: Grid
    key_grid: Grid
    prefix: int
    cells: Tensor | None

    def by_head(self, weights: Tensor) -> Tensor:
        """Brings the weights of one image into one shape, heads first.

        Args:
            weights: (1, heads, P + N, P + M), or (windows, heads, T, T).

        Returns:
            (heads, P + N, P + M), or (heads, windows, T, T).
        """
        return weights[0] if self.cells is None else weights.transpose(0, 1)


@checked
@torch.inference_mode()
def attention_layouts(model: Backbone, images: Tensor) -> dict[LayerKey, AttentionLayout | str]:
    """The layout of every attention layer that an image passes.

    Args:
        model: the model, in evaluation mode.
        images: one normalized image (1, C, H, W).

    Returns:
        By the keys of `layer_paths`, the layout; or, in one line, why the layer has no maps.

    Raises:
        TierError: the model has no attention, or there is more than one image.

    Example:
        >>> model = vitrail.Swin(16, 4, num_classes=5, dim=(8, 16), depth=(2, 1), heads=(2, 2),
        ...                      window=2).eval()
        >>> layouts = attention_layouts(model, torch.zeros(1, 3, 16, 16))
        >>> [layout.grid for layout in layouts.values()]
        [(4, 4), (4, 4), (2, 2)]
    """
    if len(images) != 1:
        raise TierError(f"there are {len(images)} images, and layouts are of one: give one.")
    paths = layer_paths(model)
    shapes: dict[LayerKey, torch.Size] = {}
    windows: dict[LayerKey, Windows] = {}
    around: dict[str, Grid] = {}
    embedded = model.embed(images)
    with (
        _noted_grids(model, around),
        recorded_windows(model, windows),
        recording(model, lambda key, weights: shapes.update({key: weights.shape})),
    ):
        features = model.encode(embedded)
    prefixes = {embedded.prefix.shape[1], features.prefix.shape[1], 0}
    layouts: dict[LayerKey, AttentionLayout | str] = {}
    for key, shape in shapes.items():
        if key in windows:
            cells, size = windows[key]
            layouts[key] = AttentionLayout(shape[1], size, size, 0, cells)
        else:
            grids = [around[path] for path in _outwards(paths[key]) if path in around]
            finest = (embedded.grid[0], embedded.grid[1])
            layouts[key] = _layout(shape, [*grids, finest], prefixes)
    return layouts


def _layout(shape: torch.Size, grids: Sequence[Grid], prefixes: set[int]) -> AttentionLayout | str:
    """The layout of weights (B, heads, N, M) on the first grid that fits, or why none does."""
    batch, heads, queries, keys = shape
    for grid in grids if batch == 1 else ():
        for prefix in prefixes:
            if queries == prefix + math.prod(grid):
                key_grid = grid if keys == queries else _coarser(grid, keys - prefix)
                if key_grid is not None:
                    return AttentionLayout(heads, grid, key_grid, prefix, None)
    parts = f" in {batch} parts" if batch > 1 else ""
    return f"{queries} queries and {keys} keys{parts} are not the cells of a grid."


def _coarser(grid: Grid, count: int) -> Grid | None:
    """The coarser grid of so many cells that a strided convolution or pooling leaves."""
    rows, columns = grid
    for stride in range(2, max(grid) + 1):
        for coarser in (
            (-(-rows // stride), -(-columns // stride)),
            (rows // stride, columns // stride),
        ):
            if math.prod(coarser) == count:
                return coarser
    side = math.isqrt(max(count, 0))
    return (side, side) if side and side * side == count < math.prod(grid) else None


def _outwards(path: str) -> list[str]:
    """The paths of the modules around a module, the nearest first."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


@contextlib.contextmanager
def _noted_grids(model: Backbone, grids: dict[str, Grid]) -> Iterator[None]:
    """Within the context, modules note the grid of the map (B, H, W, D) that they are called with,
    and the entries of `blocks` that of the Features that they return."""
    stages = set(model.blocks)

    def noting(path: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def note(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            if module in stages and isinstance(output, Features):
                grids[path] = (output.grid[0], output.grid[1])
            elif inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim == 4:
                grids[path] = (inputs[0].shape[1], inputs[0].shape[2])

        return note

    with contextlib.ExitStack() as hooks:
        for path, module in model.named_modules():
            hooks.callback(module.register_forward_hook(noting(path)).remove)
        yield
