"""Pictures: what a model looks at, and how training went."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps, font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.errors import TierError
from vitrail.lens.features import pca_colours, stretch
from vitrail.lens.theme import LIGHT
from vitrail.lens.record import AttentionTrace, pick
from vitrail.models.base import Features

HEAT = colormaps["inferno"]  # even steps, and told apart by the colour-blind
COMMON = {"step", "split", "epoch", "loss", "lr", "grad_norm", "top1", "top5"}
COARSE = 12  # grids with fewer patches a side are drawn patch by patch
ACROSS = 8  # heads side by side that are still legible
WIDTH, GAP, LINE = 12.0, 0.09, 0.27  # of a figure, in inches: all, between pictures, of a caption
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei",
)  # fmt: skip


Point = tuple[float, float]  # epoch, value


class Panel(NamedTuple):
    """A picture with its caption."""

    caption: str
    pixels: np.ndarray  # (H, W, 3) within 0..1


def panels(
    image: Tensor,
    look: AttentionTrace | Sequence[Features],
    *,
    index: int = 0,
    layers: Sequence[int] = (-1,),
    heads: Sequence[int] | None = None,
) -> list[list[Panel]]:
    """One image and what the model makes of it, in rows.

    First the image, the mean over heads in the last chosen layer, rollout, patch colours; then
    each chosen layer's heads. image: uint8 (C, H, W), as the model got it; `index` is its place in
    the batch of `look`, whose patch colours mean the same in all its images. `look` is what
    `observe` gives: of features alone, these are `stage_panels`.
    """
    if not isinstance(look, AttentionTrace):
        return stage_panels(image, look, index)
    image = enlarge(image.cpu())
    chosen = pick(layers, look.depth, "attention layer")
    grid = look.features.grid
    if len(grid) != 2:
        raise TierError(f"only flat images are drawn: this grid of patches is {grid}.")
    last = chosen[-1]
    colours = pca_colours(look.features)[index].cpu().numpy() / 255.0
    rows = [
        [
            Panel(f"image, {grid[0]} × {grid[1]} patches", leaded(as_picture(image), grid)),
            Panel(f"layer {last}, mean of heads", heat(image, look.attention[last][index].mean(0))),
            Panel("rollout, all layers", heat(image, look.rollout[index])),
            Panel("patch features (PCA)", leaded(spread(colours, image.shape[1:]), grid)),
        ]
    ]
    for layer in chosen:
        maps = look.attention[layer][index]
        shown = range(len(maps)) if heads is None else pick(heads, len(maps), "head")
        names = look.names[layer] or [f"head {n}" for n in range(len(maps))]
        rows.append([Panel(f"layer {layer}, {names[n]}", heat(image, maps[n])) for n in shown])
    return rows


def stage_panels(image: Tensor, stages: Sequence[Features], index: int = 0) -> list[list[Panel]]:
    """One image and the patch colours of each stage, in a row: for what no map of attention shows.

    image: uint8 (C, H, W), as the model got it; `index` is its place in the batch of `stages`.
    """
    image = enlarge(image.cpu())
    row = [Panel("image", as_picture(image))]
    for number, features in enumerate(stages, 1):
        grid = features.grid
        if len(grid) != 2:
            raise TierError(f"only flat images are drawn: this grid of patches is {grid}.")
        colours = pca_colours(features)[index].cpu().numpy() / 255.0
        picture = leaded(spread(colours, image.shape[1:]), grid)
        row.append(Panel(f"stage {number}, {grid[0]} × {grid[1]} (PCA)", picture))
    return [row]


def heat(image: Tensor, weights: Tensor) -> np.ndarray:
    """Attention (H', W') laid over an image uint8 (C, H, W) → (H, W, 3) within 0..1.

    The image turns grey and dim where the model does not look, and glows where it does. The scale
    is the picture's own, from its least weight to its greatest, see `stretch`.
    """
    strength = stretch(weights.float().cpu().flatten()).reshape(weights.shape)
    if max(weights.shape) < COARSE:
        strength = torch.from_numpy(spread(strength.numpy(), image.shape[1:]))
    else:
        size = (image.shape[1], image.shape[2])
        strength = F.interpolate(strength[None, None], size, mode="bicubic")[0, 0].clamp(0, 1)
    part = strength.numpy()[..., None]
    picture = as_picture(image)
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.45
    glow = HEAT(part[..., 0])[..., :3]
    lit = np.clip(grey * (1 - 0.75 * part) + picture * 0.2 * part + glow * 0.9 * part, 0, 1)
    return leaded(lit, tuple(weights.shape))


def as_picture(image: Tensor) -> np.ndarray:
    """uint8 (C, H, W) → (H, W, 3) within 0..1; of other than 1 or 3 channels, the mean."""
    if image.shape[0] not in (1, 3):
        image = image.float().mean(0, keepdim=True)
    picture: np.ndarray = image.expand(3, -1, -1).permute(1, 2, 0).numpy() / 255.0
    return picture


def spread(cells: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A coarse grid (h, w, ...) as blocks of pixels (*size, ...)."""
    rows = np.arange(size[0]) * cells.shape[0] // size[0]
    columns = np.arange(size[1]) * cells.shape[1] // size[1]
    return cells[rows[:, None], columns]


def leaded(picture: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """A picture with the outline of its patches, where they are few enough to tell apart."""
    if max(grid) >= COARSE:
        return picture
    picture = picture.copy()
    for axis, count in enumerate(grid):
        lines = np.arange(1, count) * picture.shape[axis] // count
        picture.swapaxes(0, axis)[lines] *= 0.55
    return picture


def enlarge(image: Tensor, least: int = 224) -> Tensor:
    """Repeats the pixels of small images, so that drawing over them has room."""
    factor = -(-least // max(image.shape[1:]))
    return image.repeat_interleave(factor, 1).repeat_interleave(factor, 2) if factor > 1 else image


def look_figure(
    image: Tensor,
    look: AttentionTrace | Sequence[Features],
    *,
    index: int = 0,
    layers: Sequence[int] = (-1,),
    heads: Sequence[int] | None = None,
    title: str = "",
    origin: str = "",
) -> Figure:
    """`panels` as one picture, with a title, and at its foot where the weights come from."""
    lines: list[list[Panel]] = []
    first, *others = panels(image, look, index=index, layers=layers, heads=heads)
    across = columns(max(map(len, others), default=1), len(first))
    for row in others:
        lines += [row[start : start + across] for start in range(0, len(row), across)]
    shape = image.shape[1] / image.shape[2]
    sizes = [_side(len(first))] + [_side(across)] * len(lines)
    head, foot = (0.45 if title else 0.0), (0.3 if origin else 0.08)
    height = head + sum(side * shape + LINE + GAP for side in sizes) + foot
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    family = ["DejaVu Sans", *_installed(CHINESE)]
    words: dict[str, Any] = {"fontfamily": family, "parse_math": False, "ha": "left"}
    top = height - head
    for side, line in zip(sizes, [first, *lines], strict=True):
        top -= LINE + side * shape
        for number, panel in enumerate(line):
            left = GAP + number * (side + GAP)
            axis = figure.add_axes(
                (left / WIDTH, top / height, side / WIDTH, side * shape / height)
            )
            axis.imshow(panel.pixels, interpolation="antialiased", aspect="auto")
            axis.set_title(panel.caption, fontsize=9, loc="left", pad=3, color=LIGHT["ink"])
            axis.axis("off")
        top -= GAP
    if title:
        place = (GAP / WIDTH, 1 - 0.13 / height)
        figure.text(
            *place, title, fontsize=13, fontweight="bold", va="top", color=LIGHT["ink"], **words
        )
    if origin:
        figure.text(GAP / WIDTH, 0.1 / height, origin, fontsize=8.5, color=LIGHT["quiet"], **words)
    return figure


def columns(count: int, least: int) -> int:
    """Pictures side by side: even rows of at most `ACROSS`, of at least `least`."""
    return max(least, math.ceil(count / math.ceil(count / ACROSS)))


def curves(lines: Sequence[dict[str, Any]]) -> list[Figure]:
    """Loss, accuracy, learning rate and a method's own figures, from the lines of metrics.jsonl.

    A chart over the epochs each, for those that the lines tell of.
    """
    charts = []
    told = dict.fromkeys(key for line in lines for key in line if line["split"] == "train")
    own = [(key, key.replace("_", " "), 1.0, ".3f") for key in told if key not in COMMON]
    for key, name, scale, form in (
        ("loss", "loss", 1.0, ".3f"),
        ("top1", "accuracy, %", 100.0, ".1f"),
        *own,
        ("lr", "learning rate", 1.0, ""),
    ):
        points = {
            split: [
                (line["epoch"], scale * line[key])
                for line in lines
                if line["split"] == split and math.isfinite(line.get(key, math.nan))
            ]
            for split in ("train", "val")
        }
        if any(points.values()):
            charts.append(_chart(points["train"], points["val"], name, form))
    return charts


def _chart(train: list[Point], held: list[Point], name: str, form: str) -> Figure:
    """A chart of one quantity; with `form`, the last value is written beside its point."""
    figure = Figure(figsize=(3.7, 2.9), layout="constrained")
    figure.patch.set_alpha(0)
    axis = figure.subplots()
    colour = LIGHT["glass"] if form else LIGHT["amber"]
    smooth = _draw(axis, train, "training", LIGHT["lead"] if held else colour)
    marks = _draw(axis, held, "validation", colour)
    values = [value for _, value in (*smooth, *marks)]
    margin = 0.14 * (max(values) - min(values)) or 0.14 * abs(max(values)) or 1.0
    axis.set_ylim(min(values) - margin, max(values) + margin)
    if form:
        end = (marks or smooth)[-1]
        below = end[1] < (max(values) + min(values)) / 2
        axis.annotate(
            f"{end[1]:{form}}", end, xytext=(0, -14 if below else 7), textcoords="offset points",
            ha="right", fontsize=9, color=colour, fontweight="bold",
        )  # fmt: skip
    if smooth and marks:
        axis.legend(fontsize=8.5, frameon=False, labelcolor=LIGHT["ink"])
    axis.patch.set_alpha(0)
    axis.set_title(name, loc="left", fontsize=10.5, fontweight="bold", color=LIGHT["ink"])
    axis.set_xlabel("epoch", fontsize=9, color=LIGHT["quiet"])
    axis.tick_params(labelsize=8.5, labelcolor=LIGHT["quiet"], color=LIGHT["line"])
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["bottom", "left"]].set_color(LIGHT["line"])
    axis.grid(color=LIGHT["line"], linewidth=0.7)
    axis.set_axisbelow(True)
    return figure


def _draw(axis: Axes, points: list[Point], label: str, colour: str) -> list[Point]:
    """Draws a line; a noisy one faintly, and its running mean → the points it goes through."""
    if not points:
        return []
    values = [value for _, value in points]
    turns = sum(
        (b - a) * (c - b) < 0 for a, b, c in zip(values, values[1:], values[2:], strict=False)
    )
    if len(points) >= 40 and turns > len(points) / 4:
        axis.plot(*zip(*points, strict=True), color=colour, linewidth=0.8, alpha=0.3)
        window = len(points) // 20
        points = [
            (epoch, sum(values[max(0, i - window + 1) : i + 1]) / min(i + 1, window))
            for i, (epoch, _) in enumerate(points)
        ]
    style: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(points) < 40 else {}
    axis.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.6, **style)
    return points


def _side(count: int) -> float:
    """The width in inches of each of so many pictures side by side."""
    return (WIDTH - GAP * (count + 1)) / count


def _installed(names: Sequence[str]) -> list[str]:
    """Those of the fonts that this machine has."""
    have = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in names if name in have]
