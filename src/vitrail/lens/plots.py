"""What a model attends to in an image, as rows of pictures and as one figure."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.lens.features import pca_colors
from vitrail.lens.flat import cells, heat, picture
from vitrail.lens.layer_keys import sorted_indices
from vitrail.lens.record import AttentionTrace
from vitrail.lens.theme import LIGHT
from vitrail.messages import _
from vitrail.models.features import Features

Sample = Annotated[Tensor, Axes(2, 3, 4)]  # (C, *size)
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


@checked
def panels(
    image: Sample,
    trace: AttentionTrace | Sequence[Features],
    *,
    index: int = 0,
    layers: Sequence[int] = (-1,),
    heads: Sequence[int] | None = None,
) -> list[list[Panel]]:
    """An image and what the model attends to in it, in rows of pictures.

    The first row holds the image, the mean over heads of the last of the layers, the rollout, and
    the patch features as colors. One row per layer follows with a heat map per head. Pictures of
    clips, volumes and signals are wide, and each has a row of its own.

    Args:
        image: uint8 (C, *size), cropped as the model sees it.
        trace: what `observe` returns for a batch with the image; of features alone, the result is
            that of `stage_panels`.
        index: position of the image in that batch. Colors mean the same in all of its images.
        layers: attention layers to draw, by position; negative ones count from the end.
        heads: heads to draw; None: all.

    Returns:
        Rows of panels.

    Raises:
        ConfigError: a layer or a head does not exist.
        TierError: the patches have other axes than the image.

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
    (index,) = sorted_indices([index], len(trace.logits), _("image"))
    positions = sorted_indices(layers, trace.depth, _("attention layer"))
    grid = trace.features.grid
    last = positions[-1]
    mean = heat(image, trace.attention[last][index].mean(0))
    rollout = heat(image, trace.rollout[index])
    size = _("image, {grid} patches").format(grid=" × ".join(map(str, grid)))
    rows = [
        [
            Panel(size, picture(image, grid)),
            Panel(_("layer {layer}, mean of heads").format(layer=trace.keys[last]), mean),
            Panel(_("rollout, all layers"), rollout),
            Panel(_("patch features (PCA)"), cells(image, pca_colors(trace.features)[index])),
        ]
    ]
    for layer in positions:
        maps = trace.attention[layer][index]
        numbers = range(len(maps)) if heads is None else sorted_indices(heads, len(maps), _("head"))
        names = trace.head_names[layer] or [_("head {n}").format(n=n) for n in range(len(maps))]
        key = _("layer {layer}").format(layer=trace.keys[layer])
        rows.append([Panel(f"{key}, {names[n]}", heat(image, maps[n])) for n in numbers])
    return _in_rows(image, rows)


def _in_rows(image: Tensor, rows: list[list[Panel]]) -> list[list[Panel]]:
    """The rows, with a row for each picture where pictures are wide."""
    return rows if image.ndim == 3 else [[panel] for row in rows for panel in row]


@checked
def stage_panels(image: Sample, stages: Sequence[Features], index: int = 0) -> list[list[Panel]]:
    """An image and the patch features of some stages as colors, for models without attention maps.

    Args:
        image: uint8 (C, *size), cropped as the model sees it.
        stages: features of a batch with the image, of each stage.
        index: position of the image in that batch.

    Returns:
        One row of panels; of clips, volumes and signals a row for each.

    Raises:
        TierError: the patches have other axes than the image.

    Example:
        >>> features = Features.from_map(torch.rand(1, 2, 2, 8))
        >>> rows = stage_panels(torch.zeros(3, 8, 8, dtype=torch.uint8), [features])
        >>> rows[0][1].caption
        'stage 1, 2 × 2 (PCA)'
    """
    row = [Panel(_("image"), picture(image))]
    for number, features in enumerate(stages, 1):
        caption = _("stage {n}, {grid} (PCA)")
        caption = caption.format(n=number, grid=" × ".join(map(str, features.grid)))
        colors = pca_colors(features)
        (position,) = sorted_indices([index], len(colors), _("image"))
        row.append(Panel(caption, cells(image, colors[position])))
    return _in_rows(image, [row])


@checked
def attention_figure(
    image: Sample,
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
        image: uint8 (C, *size), cropped as the model sees it.
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
        TierError: the patches have other axes than the image.

    Example:
        >>> from vitrail.lens.record import observe
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> len(attention_figure(image, observe(model, image[None].float())).axes)
        6
    """
    rows = panels(image, trace, index=index, layers=layers, heads=heads)
    return panel_figure(rows, title=title, origin=origin)


def explanation_panels(image: Tensor, weights: Tensor, caption: str) -> list[list[Panel]]:
    """An image and an explanation of it.

    Args:
        image: uint8 (C, *size), cropped as the model sees it.
        weights: map over patches or pixels, as `explain` returns it for one image.
        caption: name of the explanation.

    Returns:
        One row of panels; of clips, volumes and signals a row for each.

    Raises:
        TierError: the map has other axes than the image.

    Example:
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> [panel.caption for panel in explanation_panels(image, torch.eye(2), "rollout")[0]]
        ['image', 'rollout']
    """
    row = [Panel(_("image"), picture(image)), Panel(caption, heat(image, weights))]
    return _in_rows(image, [row])


def panel_figure(rows: Sequence[Sequence[Panel]], *, title: str = "", origin: str = "") -> Figure:
    """Rows of panels as one figure.

    Args:
        rows: the panels, of one shape; a long row becomes several lines.
        title: text above the pictures.
        origin: where the weights come from, a line below the pictures.

    Returns:
        A figure, which `savefig` writes.

    Example:
        >>> len(panel_figure([[Panel("black", np.zeros((2, 2, 3)))]]).axes)
        1
    """
    lines: list[Sequence[Panel]] = []
    first, *others = rows
    shape = first[0].pixels.shape[0] / first[0].pixels.shape[1]
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
