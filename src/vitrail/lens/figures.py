"""Pictures with captions, color bars and numbers, and figures of rows of them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vitrail.lens.fonts import font_families, wrap_text
from vitrail.lens.heat import Scale
from vitrail.lens.theme import DARK, LIGHT

PER_ROW = 8  # heads side by side that are still legible
DPI = 120  # dots per inch at which pictures begin and end at whole pixels
WIDTH, GAP, LINE = 12.0, 0.1, 0.25  # inches: of a figure, between pictures, of a caption
LETTERS = 150  # of a line below the title
BAR, NUMBERS = 0.07, 0.15  # inches: height of a color bar, of a line of numbers
ROOM = 0.5  # inches between the 0 of a bar and its ends, from which on all three are legible


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
    sentences = wrap_text(subtitle, LETTERS)
    head = head_height(title, sentences)
    below = 0.32 if origin else 0.08
    tall = zip(sides, feet, strict=True)
    height = _whole(head + sum(_whole(s * shape) + LINE + f + GAP for s, f in tall) + below)
    figure = Figure(figsize=(WIDTH, height), facecolor=colors["paper"], dpi=DPI)
    texts = [
        f"{panel.caption} {' '.join(panel.numbers)}" for line in [first, *lines] for panel in line
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
    draw_texts(figure, title, sentences, origin, colors)
    return figure


def head_height(title: str, sentences: Sequence[str]) -> float:
    """The height of the texts above the pictures of a figure.

    Args:
        title: the title, "" for none.
        sentences: lines below it.

    Returns:
        Inches.

    Example:
        >>> round(head_height("cat.jpg", ["Attention."]), 2)
        0.64
    """
    return (0.45 if title else 0.0) + 0.19 * len(sentences)


def draw_texts(
    figure: Figure, title: str, sentences: Sequence[str], origin: str, colors: dict[str, str]
) -> None:
    """Draws the texts above and below the pictures of a figure.

    Args:
        figure: the figure, which has `head_height` inches of room above.
        title: text in bold, "" for none.
        sentences: lines below it.
        origin: a line at the bottom.
        colors: `LIGHT` or `DARK`.

    Example:
        >>> draw_texts(figure := Figure(), "cat.jpg", ["Attention."], "", LIGHT)
        >>> [text.get_text() for text in figure.texts]
        ['cat.jpg', 'Attention.']
    """
    width, height = figure.get_size_inches()
    style: dict[str, Any] = {
        "fontfamily": font_families(title, *sentences, origin), "parse_math": False,
        "color": colors["quiet"],
    }  # fmt: skip
    left = GAP / width
    if title:
        bold = {**style, "color": colors["ink"], "fontweight": "bold"}
        figure.text(left, 1 - 0.13 / height, title, fontsize=13, va="top", **bold)
    for number, line in enumerate(sentences):
        y = 1 - ((0.42 if title else 0.06) + 0.19 * number) / height
        figure.text(left, y, line, fontsize=9.5, va="top", **style)
    if origin:
        figure.text(left, 0.1 / height, origin, fontsize=8.5, **style)


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
    figure.add_artist(_bar_image(figure, panel.scale, (x, y, side), height))
    plain = {"fontsize": 7, "color": colors["quiet"], "va": "top", **style}
    low, high = (f"{end:.3g}" for end in panel.scale)
    zero = panel.scale.zero
    if zero is not None:  # a mark across the bar, with its number where there is room
        middle = (x + zero * side) / WIDTH
        ends = ((y - 0.005) / height, (y + BAR + 0.045) / height)
        figure.add_artist(Line2D([middle] * 2, ends, color=colors["ink"], linewidth=1))
        if zero * side > ROOM and (1 - zero) * side > ROOM:
            figure.text(middle, (y - 0.02) / height, "0", ha="center", **plain)
    y -= 0.02
    figure.text(x / WIDTH, y / height, low, ha="left", **plain)
    figure.text((x + side) / WIDTH, y / height, high, ha="right", **plain)
    y -= NUMBERS
    for line in filter(None, panel.numbers):
        figure.text(x / WIDTH, y / height, line, ha="left", **plain)
        y -= NUMBERS


def _bar_image(
    figure: Figure, scale: Scale, corner: tuple[float, float, float], height: float
) -> Any:
    """The colors from low to high as an artist of a figure."""
    from matplotlib.image import BboxImage
    from matplotlib.transforms import Bbox, TransformedBbox

    x, y, side = corner
    box = Bbox.from_bounds(x / WIDTH, y / height, side / WIDTH, BAR / height)
    image = BboxImage(TransformedBbox(box, figure.transFigure), interpolation="bilinear")
    image.set_data(scale.bar(256)[None])
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
