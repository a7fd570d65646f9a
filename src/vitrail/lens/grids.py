"""Pictures of what a method has learned so far, each one array for a board or a page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.lens.theme import LIGHT
from vitrail.lens.plots import as_picture, enlarge, heat
from vitrail.lens.record import AttentionTrace

SIDE, GAP = 112, 4  # pixels: of a small image enlarged, between two
CELL = 0.55  # inches: of a number in a matrix
LONGEST = 28  # characters of a caption that are shown


def tiles(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Rows of equal pictures (H, W, 3) within 0..1 as one, uint8, on white."""
    lines = []
    for row in rows:
        framed = [np.pad(p, ((0, GAP), (0, GAP), (0, 0)), constant_values=1.0) for p in row]
        lines.append(np.concatenate(framed, axis=1))
    whole = np.concatenate(lines, axis=0)[:-GAP, :-GAP]
    return (whole * 255).round().astype(np.uint8)


def reconstructions(pictures: Tensor) -> np.ndarray:
    """uint8 (3, B, C, H, W), given, masked and rebuilt, in three rows."""
    return tiles([[as_picture(enlarge(image, SIDE)) for image in row] for row in pictures.cpu()])


def attention(images: Tensor, look: AttentionTrace) -> np.ndarray:
    """Images uint8 (B, C, H, W), and below each where the last layer looks, mean of heads."""
    shown = [enlarge(image, SIDE) for image in images.cpu()]
    maps = look.attention[-1].mean(1)
    glowing = [heat(image, weights) for image, weights in zip(shown, maps, strict=True)]
    return tiles([[as_picture(image) for image in shown], glowing])


def similarity(images: Tensor, captions: Sequence[str], cosines: Tensor) -> np.ndarray:
    """Images uint8 (B, C, H, W) down, captions (T) across, cosines (B, T) between them."""
    values = cosines.detach().float().cpu().numpy()
    told = [c if len(c) <= LONGEST else f"{c[: LONGEST - 1]}…" for c in captions]
    head = 0.35 + 0.06 * max(map(len, told))  # inches, for captions that lean
    height = head + CELL * len(images)
    figure = Figure(figsize=(2.2 + CELL * len(captions), height), dpi=110)
    canvas = FigureCanvasAgg(figure)
    axis = figure.add_axes((0.12, 0.02, 0.8, 0.98 - head / height))
    axis.imshow(values, cmap="Blues", aspect="auto")
    middle = (values.max() + values.min()) / 2
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
        ink = "white" if value > middle else LIGHT["ink"]
        axis.text(column, row, f"{value:.2f}", color=ink, **style)
    axis.xaxis.tick_top()
    axis.set_xticks(range(len(told)), told, rotation=40, ha="left", fontsize=9, parse_math=False)
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    box = axis.get_position()
    each = box.height / len(images)
    for number, image in enumerate(images.cpu()):
        place = (0.01, box.y1 - (number + 0.95) * each, 0.1, 0.9 * each)
        thumb = figure.add_axes(place)
        thumb.imshow(as_picture(image))
        thumb.axis("off")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
