"""Pictures: what a model looks at, how training went, where it errs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.lens.features import pca_colours
from vitrail.lens.record import Look, to_grid
from vitrail.lens.rollout import rollout

# Glass colours, told apart by the colour-blind too (after Okabe & Ito).
COBALT, AMBER, RUBY, MOSS = "#1f5fa8", "#d9820f", "#b23a48", "#2f7d5b"
GLASS = LinearSegmentedColormap.from_list("glass", ["#f3f5f9", "#9db8dc", COBALT, "#0c2447"])
HEAT = colormaps["inferno"]
MAX_HEADS = 12  # columns that are still legible


def heat(image: Tensor, weights: Tensor) -> np.ndarray:
    """Attention (H', W') laid over an image uint8 (C, H, W) → (H, W, 3) within 0..1.

    The image turns grey and dim where the model does not look, and glows where it does.
    """
    size = (image.shape[1], image.shape[2])
    grown = F.interpolate(weights[None, None].float(), size, mode="bicubic")[0, 0]
    high = grown.quantile(0.995).clamp(min=1e-12)
    strength = (grown / high).clamp(0, 1).numpy()[..., None]
    picture = as_picture(image)
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.45
    glow = HEAT(strength[..., 0])[..., :3]
    return np.clip(
        grey * (1 - 0.75 * strength) + picture * 0.25 * strength + glow * 0.8 * strength, 0, 1
    )


def as_picture(image: Tensor) -> np.ndarray:
    """uint8 (1 or 3, H, W) → (H, W, 3) within 0..1."""
    picture: np.ndarray = image.expand(3, -1, -1).permute(1, 2, 0).numpy() / 255.0
    return picture


def look_figure(
    image: Tensor,
    look: Look,
    *,
    index: int = 0,
    layers: Sequence[int] = (-1,),
    heads: Sequence[int] | None = None,
    title: str = "",
    origin: str = "",
) -> Figure:
    """One image and what the model makes of it.

    First row: the image, the last chosen layer's mean over heads, rollout, patch colours. Then a
    row for each chosen layer, with its heads. image: uint8 (C, H, W), as the model got it; `index`
    is its place in the batch of `look`.
    """
    image = enlarge(image.cpu())
    depth = len(look.maps)
    chosen = sorted({layer % depth for layer in layers})
    count = look.maps[0].shape[1]
    shown = list(range(min(count, MAX_HEADS))) if heads is None else [h % count for h in heads]
    columns = max(4, len(shown))
    figure = Figure(figsize=(2.1 * columns, 2.35 * (1 + len(chosen)) + 0.5), layout="constrained")
    axes = figure.subplots(1 + len(chosen), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    flow = to_grid(
        rollout([look.maps[n][index : index + 1] for n in range(depth)]), look.grid, look.prefix
    )
    mean = look.attention(chosen[-1])[index].mean(0)
    colours = pca_colours(look.features)[index]
    _show(axes[0, 0], as_picture(image), "image")
    _show(axes[0, 1], heat(image, mean), f"layer {chosen[-1]}, mean of heads")
    _show(axes[0, 2], heat(image, flow[0]), "rollout, all layers")
    _show(axes[0, 3], colours.numpy(), "patch features (PCA)")
    for row, layer in enumerate(chosen, 1):
        attention = look.attention(layer)[index]
        for column, head in enumerate(shown):
            _show(axes[row, column], heat(image, attention[head]), f"layer {layer}, head {head}")
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    if origin:
        figure.supxlabel(origin, fontsize=8, color="#667", x=0.01, ha="left")
    return figure


def enlarge(image: Tensor, least: int = 224) -> Tensor:
    """Repeats the pixels of small images, so that drawing over them has room."""
    factor = -(-least // max(image.shape[1:]))
    return image.repeat_interleave(factor, 1).repeat_interleave(factor, 2) if factor > 1 else image


def curves_figure(lines: Sequence[dict[str, Any]]) -> Figure:
    """Loss, accuracy and learning rate over the epochs, from the lines of metrics.jsonl."""
    figure = Figure(figsize=(10, 3.0), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    train = [line for line in lines if line["split"] == "train"]
    held = [line for line in lines if line["split"] == "val"]

    def draw(axis: Axes, part: list[dict[str, Any]], key: str, colour: str, label: str) -> None:
        points = [(line["epoch"], line[key]) for line in part if key in line]
        if points:
            style: dict[str, Any] = {"marker": "o", "markersize": 3} if len(points) < 40 else {}
            axis.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.4, **style)

    draw(loss, train, "loss", "#9aa7b8", "training batches")
    draw(loss, held, "loss", COBALT, "validation")
    draw(accuracy, train, "top1", "#9aa7b8", "training batches")
    draw(accuracy, held, "top1", MOSS, "validation")
    draw(rate, train, "lr", AMBER, "learning rate")
    for axis, name in ((loss, "loss"), (accuracy, "accuracy"), (rate, "learning rate")):
        axis.set_title(name, loc="left", fontsize=10, fontweight="bold")
        axis.set_xlabel("epoch", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
    for axis in (loss, accuracy):
        if axis.lines:
            axis.legend(fontsize=7, frameon=False)
    return figure


def confusion_figure(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Counts of truth (rows) against prediction (columns), coloured by the part of the row."""
    counts = np.asarray(confusion, dtype=float)
    parts = counts / counts.sum(1, keepdims=True).clip(min=1)
    side = min(max(4.2, 0.55 * len(labels)), 14)
    figure = Figure(figsize=(side, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(parts, cmap=GLASS, vmin=0, vmax=1)
    places = range(len(labels))
    axis.set_xticks(places, labels, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(places, labels, fontsize=8)
    axis.set_xlabel("predicted", fontsize=9)
    axis.set_ylabel("truth", fontsize=9)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    if len(labels) <= 20:
        for row in places:
            for column in places:
                if counts[row, column]:
                    ink = "white" if parts[row, column] > 0.5 else "#223"
                    number = f"{counts[row, column]:.0f}"
                    axis.text(column, row, number, ha="center", va="center", fontsize=7, color=ink)
    return figure


def _show(axis: Axes, picture: np.ndarray, caption: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(caption, fontsize=8.5, loc="left", pad=3)
