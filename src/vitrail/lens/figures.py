"""Pictures with captions, color bars and numbers, and figures of rows of them."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from vitrail.lens.fonts import font_families
from vitrail.lens.heat import Scale, glow
from vitrail.lens.theme import DARK, LIGHT

PER_ROW = 8  # heads side by side that are still legible
DPI = 120  # dots per inch at which pictures begin and end at whole pixels
WIDTH, GAP, LINE = 12.0, 0.1, 0.25  # inches: of a figure, between pictures, of a caption
LETTERS = 150  # of a line below the title
BAR, NUMBERS = 0.07, 0.15  # inches: height of a color bar, of a line of numbers


class Panel(NamedTuple):
    """A picture with its caption.

    Args:
        caption: one line of text.
        pixels: (H, W, 3) within 0..1.
        scale: of a heat map, the numbers at the ends of its color bar; else None.
        numbers: short lines of text about a heat map.

    Example:
        >>> Panel("black", np.zeros((2, 2, 3))).caption
        'black'
    """

    caption: str
    pixels: np.ndarray
    scale: Scale | None = None
    numbers: tuple[str, ...] = ()


def panel_figure(
    rows: Sequence[Sequence[Panel]],
    *,
    title: str = "",
    subtitle: str = "",
    origin: str = "",
    dark: bool = False,
) -> Figure:
    """Rows of panels as one figure.

    Args:
        rows: the panels, of one shape; a long row becomes several lines.
        title: text above the pictures.
        subtitle: a smaller line below it.
        origin: where the weights come from, a line below the pictures.
        dark: whether the ground is dark.

    Returns:
        A figure, which `savefig` writes.

    Example:
        >>> len(panel_figure([[Panel("black", np.zeros((2, 2, 3)))]]).axes)
        1
    """
    colors = DARK if dark else LIGHT
    lines: list[Sequence[Panel]] = []
    first, *others = rows
    shape = first[0].pixels.shape[0] / first[0].pixels.shape[1]
    across = columns_per_row(max(map(len, others), default=1), len(first))
    for row in others:
        lines += [row[start : start + across] for start in range(0, len(row), across)]
    sides = [_side(len(first))] + [_side(across)] * len(lines)
    feet = [max(map(_foot, line)) for line in [first, *lines]]
    sentences = textwrap.wrap(subtitle, LETTERS)
    head = (0.45 if title else 0.0) + 0.19 * len(sentences)
    below = 0.32 if origin else 0.08
    tall = zip(sides, feet, strict=True)
    height = _whole(head + sum(_whole(s * shape) + LINE + f + GAP for s, f in tall) + below)
    figure = Figure(figsize=(WIDTH, height), facecolor=colors["paper"], dpi=DPI)
    texts = [
        title,
        subtitle,
        origin,
        *(panel.caption for line in [first, *lines] for panel in line),
    ]
    style: dict[str, Any] = {"fontfamily": font_families(*texts), "parse_math": False}
    top = height - head
    for side, foot, line in zip(sides, feet, [first, *lines], strict=True):
        top = top - LINE - _whole(side * shape)
        for number, panel in enumerate(line):
            x = GAP + number * (side + GAP)
            bounds = (x / WIDTH, top / height, side / WIDTH, _whole(side * shape) / height)
            axis = figure.add_axes(bounds)
            axis.imshow(panel.pixels, interpolation="antialiased", aspect="auto")
            axis.set_title(
                panel.caption, fontsize=8.5, loc="left", pad=3, color=colors["ink"], **style
            )
            axis.axis("off")
            _draw_foot(figure, panel, (x, top, side), height, colors, style)
        top -= foot + GAP
    style |= {"ha": "left", "color": colors["ink"]}
    if title:
        corner = (GAP / WIDTH, 1 - 0.13 / height)
        figure.text(*corner, title, fontsize=13, fontweight="bold", va="top", **style)
    style["color"] = colors["quiet"]
    for number, line_of_text in enumerate(sentences):
        corner = (GAP / WIDTH, 1 - ((0.42 if title else 0.06) + 0.19 * number) / height)
        figure.text(*corner, line_of_text, fontsize=9.5, va="top", **style)
    if origin:
        figure.text(GAP / WIDTH, 0.1 / height, origin, fontsize=8.5, **style)
    return figure


def _foot(panel: Panel) -> float:
    """The height in inches of what stands below a picture."""
    return (BAR + NUMBERS + 0.06 if panel.scale else 0.0) + NUMBERS * len(
        [line for line in panel.numbers if line]
    )


def _draw_foot(
    figure: Figure,
    panel: Panel,
    corner: tuple[float, float, float],
    height: float,
    colors: dict[str, str],
    style: dict[str, Any],
) -> None:
    """Draws the color bar and the numbers below a picture with a corner (x, y) and its width."""
    if panel.scale is None:
        return
    x, y, side = corner
    y -= 0.05 + BAR
    figure.add_artist(_bar_image(figure, (x, y, side), height))
    plain = {"fontsize": 7, "color": colors["quiet"], "va": "top", **style}
    y -= 0.02
    low, high = (f"{end:.3g}" for end in panel.scale)
    figure.text(x / WIDTH, y / height, low, ha="left", **plain)
    figure.text((x + side) / WIDTH, y / height, high, ha="right", **plain)
    y -= NUMBERS
    for line in filter(None, panel.numbers):
        figure.text(x / WIDTH, y / height, line, ha="left", **plain)
        y -= NUMBERS


def _bar_image(figure: Figure, corner: tuple[float, float, float], height: float) -> Any:
    """The colors from low to high as an artist of a figure."""
    from matplotlib.image import BboxImage
    from matplotlib.transforms import Bbox, TransformedBbox

    x, y, side = corner
    box = Bbox.from_bounds(x / WIDTH, y / height, side / WIDTH, BAR / height)
    image = BboxImage(TransformedBbox(box, figure.transFigure), interpolation="bilinear")
    image.set_data(glow(np.linspace(0, 1, 256))[None])
    return image


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
    return math.floor((WIDTH - GAP * (count + 1)) / count * DPI) / DPI


def _whole(inches: float) -> float:
    """A length of whole pixels."""
    return round(inches * DPI) / DPI
