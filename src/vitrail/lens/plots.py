"""What a model attends to in an image, as rows of pictures and as one figure."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.errors import TierError
from vitrail.lens.features import pca_colors
from vitrail.lens.layer_keys import sorted_indices
from vitrail.lens.pictures import enlarge, heat_map, outline_patches, repeat_cells, to_picture
from vitrail.lens.record import AttentionTrace
from vitrail.lens.theme import LIGHT
from vitrail.messages import _
from vitrail.models.features import Features

PER_ROW = 8  # heads side by side that are still legible
WIDTH, GAP, LINE = 12.0, 0.09, 0.27  # inches: of a figure, between pictures, of a caption
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei",
)  # fmt: skip


class Panel(NamedTuple):
    """A picture with its caption.

    Args:
        caption: one line of text.
        pixels: (H, W, 3) within 0..1.

    Example:
        >>> Panel("black", np.zeros((2, 2, 3))).caption
        'black'
    """

    caption: str
    pixels: np.ndarray


def panels(
    image: Tensor,
    trace: AttentionTrace | Sequence[Features],
    *,
    index: int = 0,
    layers: Sequence[int] = (-1,),
    heads: Sequence[int] | None = None,
) -> list[list[Panel]]:
    """An image and what the model attends to in it, in rows of pictures.

    The first row holds the image, the mean over heads of the last of the layers, the rollout, and
    the patch features as colors. One row per layer follows with a heat map per head.

    Args:
        image: uint8 (C, H, W), cropped as the model sees it.
        trace: what `observe` returns for a batch with the image; of features alone, the result is
            that of `stage_panels`.
        index: position of the image in that batch. Colors mean the same in all of its images.
        layers: attention layers to draw, by position; negative ones count from the end.
        heads: heads to draw; None: all.

    Returns:
        Rows of panels.

    Raises:
        ConfigError: a layer or a head does not exist.
        TierError: the images are not flat.

    Example:
        >>> from vitrail.lens.record import observe
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> rows = panels(image, observe(model, image[None].float()))
        >>> [panel.caption for panel in rows[1]]
        ['layer 0, head 0', 'layer 0, head 1']
    """
    if not isinstance(trace, AttentionTrace):
        return stage_panels(image, trace, index)
    image = enlarge(image.cpu())
    positions = sorted_indices(layers, trace.depth, _("attention layer"))
    grid = _flat(trace.features.grid)
    last = positions[-1]
    mean = heat_map(image, trace.attention[last][index].mean(0))
    rollout = heat_map(image, trace.rollout[index])
    size = _("image, {rows} × {columns} patches").format(rows=grid[0], columns=grid[1])
    rows = [
        [
            Panel(size, outline_patches(to_picture(image), grid)),
            Panel(_("layer {layer}, mean of heads").format(layer=trace.keys[last]), mean),
            Panel(_("rollout, all layers"), rollout),
            Panel(_("patch features (PCA)"), _colors(trace.features, index, image)),
        ]
    ]
    for layer in positions:
        maps = trace.attention[layer][index]
        numbers = range(len(maps)) if heads is None else sorted_indices(heads, len(maps), _("head"))
        names = trace.head_names[layer] or [_("head {n}").format(n=n) for n in range(len(maps))]
        key = _("layer {layer}").format(layer=trace.keys[layer])
        rows.append([Panel(f"{key}, {names[n]}", heat_map(image, maps[n])) for n in numbers])
    return rows


def stage_panels(image: Tensor, stages: Sequence[Features], index: int = 0) -> list[list[Panel]]:
    """An image and the patch features of some stages as colors, for models without attention maps.

    Args:
        image: uint8 (C, H, W), cropped as the model sees it.
        stages: features of a batch with the image, of each stage.
        index: position of the image in that batch.

    Returns:
        One row of panels.

    Raises:
        TierError: the images are not flat.

    Example:
        >>> features = Features.from_map(torch.rand(1, 2, 2, 8))
        >>> rows = stage_panels(torch.zeros(3, 8, 8, dtype=torch.uint8), [features])
        >>> rows[0][1].caption
        'stage 1, 2 × 2 (PCA)'
    """
    image = enlarge(image.cpu())
    row = [Panel(_("image"), to_picture(image))]
    for number, features in enumerate(stages, 1):
        grid = _flat(features.grid)
        caption = _("stage {n}, {rows} × {columns} (PCA)")
        caption = caption.format(n=number, rows=grid[0], columns=grid[1])
        row.append(Panel(caption, _colors(features, index, image)))
    return [row]


def _flat(grid: tuple[int, ...]) -> tuple[int, ...]:
    """The grid, which has two axes, or the figures of this module cannot show it."""
    if len(grid) != 2:
        raise TierError(f"only flat images are drawn: this grid of patches is {grid}.")
    return grid


def _colors(features: Features, index: int, image: Tensor) -> np.ndarray:
    """Patch features of one image of a batch as colors, of the size of `image`."""
    colors = pca_colors(features)[index].cpu().numpy() / 255.0
    return outline_patches(repeat_cells(colors, image.shape[1:]), features.grid)


def attention_figure(
    image: Tensor,
    trace: AttentionTrace | Sequence[Features],
    *,
    index: int = 0,
    layers: Sequence[int] = (-1,),
    heads: Sequence[int] | None = None,
    title: str = "",
    origin: str = "",
) -> Figure:
    """The rows of `panels` as one figure.

    Args:
        image: uint8 (C, H, W), cropped as the model sees it.
        trace: what `observe` returns for a batch with the image.
        index: position of the image in that batch.
        layers: attention layers to draw, by position; negative ones count from the end.
        heads: heads to draw; None: all.
        title: text above the pictures.
        origin: where the weights come from, a line below the pictures.

    Returns:
        A figure, which `savefig` writes.

    Raises:
        ConfigError: a layer or a head does not exist.
        TierError: the images are not flat.

    Example:
        >>> from vitrail.lens.record import observe
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> len(attention_figure(image, observe(model, image[None].float())).axes)
        6
    """
    rows = panels(image, trace, index=index, layers=layers, heads=heads)
    return panel_figure(rows, image.shape[1] / image.shape[2], title=title, origin=origin)


def explanation_panels(image: Tensor, weights: Tensor, caption: str) -> list[list[Panel]]:
    """An image and an explanation of it.

    Args:
        image: uint8 (C, H, W), cropped as the model sees it.
        weights: map over patches or pixels (H', W'), as `explain` returns it for one image.
        caption: name of the explanation.

    Returns:
        One row of panels.

    Raises:
        TierError: the images are not flat.

    Example:
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> [panel.caption for panel in explanation_panels(image, torch.eye(2), "rollout")[0]]
        ['image', 'rollout']
    """
    _flat(tuple(weights.shape))
    image = enlarge(image.cpu())
    return [[Panel(_("image"), to_picture(image)), Panel(caption, heat_map(image, weights))]]


def panel_figure(
    rows: Sequence[Sequence[Panel]], shape: float, *, title: str = "", origin: str = ""
) -> Figure:
    """Rows of panels as one figure.

    Args:
        rows: the panels; a long row becomes several lines.
        shape: height of a picture over its width.
        title: text above the pictures.
        origin: where the weights come from, a line below the pictures.

    Returns:
        A figure, which `savefig` writes.

    Example:
        >>> len(panel_figure([[Panel("black", np.zeros((2, 2, 3)))]], 1.0).axes)
        1
    """
    lines: list[Sequence[Panel]] = []
    first, *others = rows
    across = columns_per_row(max(map(len, others), default=1), len(first))
    for row in others:
        lines += [row[start : start + across] for start in range(0, len(row), across)]
    sides = [_side(len(first))] + [_side(across)] * len(lines)
    head, foot = (0.45 if title else 0.0), (0.3 if origin else 0.08)
    height = head + sum(side * shape + LINE + GAP for side in sides) + foot
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    top = height - head
    for side, line in zip(sides, [first, *lines], strict=True):
        top -= LINE + side * shape
        for number, panel in enumerate(line):
            x = GAP + number * (side + GAP)
            bounds = (x / WIDTH, top / height, side / WIDTH, side * shape / height)
            axis = figure.add_axes(bounds)
            axis.imshow(panel.pixels, interpolation="antialiased", aspect="auto")
            axis.set_title(panel.caption, fontsize=9, loc="left", pad=3, color=LIGHT["ink"])
            axis.axis("off")
        top -= GAP
    family = ["DejaVu Sans", *_installed(CHINESE)]
    style: dict[str, Any] = {"fontfamily": family, "parse_math": False, "ha": "left"}
    if title:
        corner = (GAP / WIDTH, 1 - 0.13 / height)
        style_of_title = {"fontsize": 13, "fontweight": "bold", "va": "top", **style}
        figure.text(*corner, title, color=LIGHT["ink"], **style_of_title)
    if origin:
        figure.text(GAP / WIDTH, 0.1 / height, origin, fontsize=8.5, color=LIGHT["quiet"], **style)
    return figure


def columns_per_row(count: int, minimum: int) -> int:
    """The number of pictures per row, so that rows are about equally long.

    Args:
        count: number of pictures, at least 1.
        minimum: smallest number per row.

    Returns:
        At most `PER_ROW`, or `minimum` where that is more.

    Example:
        >>> columns_per_row(12, 4)
        6
    """
    return max(minimum, math.ceil(count / math.ceil(count / PER_ROW)))


def _side(count: int) -> float:
    """The width in inches of each of `count` pictures side by side."""
    return (WIDTH - GAP * (count + 1)) / count


def _installed(names: Sequence[str]) -> list[str]:
    """The fonts among `names` that this machine has."""
    fonts = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in names if name in fonts]
