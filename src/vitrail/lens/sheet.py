"""The attention of all layers and heads on one sheet, each map in its cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import TierError
from vitrail.lens import html
from vitrail.lens.figures import DPI, LETTERS, WIDTH, draw_texts, head_height
from vitrail.lens.fonts import font_families, wrap_text
from vitrail.lens.heat import Scale, ScaleChoice, glow, shared_scales
from vitrail.lens.layer_keys import sorted_indices
from vitrail.lens.map_numbers import map_numbers
from vitrail.lens.plots import query_text
from vitrail.lens.theme import DARK, LIGHT
from vitrail.lens.trace import AttentionTrace
from vitrail.messages import _

LEFT, NAMES, CELL, GAP, TEXT = 0.75, 0.28, 1.3, 0.06, 0.16  # inches
NARROWEST = 8.0  # inches of a sheet


@checked
def attention_sheet(
    trace: AttentionTrace,
    *,
    index: int = 0,
    scale: ScaleChoice = "head",
    title: str = "",
    origin: str = "",
    dark: bool = False,
) -> Figure:
    """A figure of all layers (rows) and heads (columns), with the largest weight of each map.

    Args:
        trace: attention of a batch.
        index: position of the image in that batch.
        scale: "head", each map from 0 to its largest weight; "layer", one scale per layer; or
            "shared", one for all.
        title: text above the maps.
        origin: where the weights come from, a line below the maps.
        dark: whether the ground is dark.

    Returns:
        A figure, which `savefig` writes.

    Raises:
        ConfigError: the batch has no such image.
        TierError: the patches are no two-dimensional grid.

    Example:
        >>> from vitrail.lens.trace import trace_attention
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=3, heads=2, mlp_dim=8)
        >>> len(attention_sheet(trace_attention(model, torch.zeros(1, 3, 8, 8))).axes)
        6
    """
    rows, scales = _rows(trace, index, scale)
    colors = DARK if dark else LIGHT
    heads = max(map(len, rows))
    side = min(CELL, (WIDTH - LEFT - GAP * heads) / heads)
    width = max(LEFT + heads * (side + GAP) + 0.1, NARROWEST)
    high, wide = rows[0][0].shape
    line = side * high / wide + TEXT + GAP
    text = f"{query_text(trace)} {scale_text(scale, scales[0])}"
    sentences = wrap_text(text, int(LETTERS * width / WIDTH))
    top = head_height(title, sentences) + NAMES
    height = top + len(rows) * line + (0.32 if origin else 0.08)
    figure = Figure(figsize=(width, height), facecolor=colors["paper"], dpi=DPI)
    draw_texts(figure, title, sentences, origin, colors)
    names = _head_names(trace, heads)
    style: dict[str, Any] = {"fontfamily": font_families(*names), "va": "top"}
    style |= {"parse_math": False, "color": colors["quiet"]}
    for number, name in enumerate(names):
        x = (LEFT + number * (side + GAP)) / width
        figure.text(x, 1 - (top - 0.18) / height, name, fontsize=8, **style)
    for row, maps in enumerate(rows):
        y = height - top - row * line
        figure.text(0.1 / width, (y - 0.05) / height, _layer_name(trace, row), fontsize=8, **style)
        for number, values in enumerate(maps):
            x, bottom = LEFT + number * (side + GAP), y - side * high / wide
            box = (x / width, bottom / height, side / width, side * high / wide / height)
            axis = figure.add_axes(box)
            own = scales[row] or Scale.of(values)
            axis.imshow(glow(own.fraction(values.numpy())), interpolation="nearest", aspect="auto")
            axis.axis("off")
            text = f"{values.max().item():.3g}"
            figure.text(x / width, (bottom - 0.02) / height, text, fontsize=6.5, **style)
    return figure


@checked
def sheet_table(trace: AttentionTrace, *, index: int = 0, scale: ScaleChoice = "head") -> str:
    """The sheet as a table for a page; each map tells its numbers when it is pointed at.

    Args:
        trace: attention of a batch.
        index: position of the image in that batch.
        scale: as in `attention_sheet`.

    Returns:
        HTML.

    Raises:
        ConfigError: the batch has no such image.
        TierError: the patches are no two-dimensional grid.

    Example:
        >>> from vitrail.lens.trace import trace_attention
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=3, heads=2, mlp_dim=8)
        >>> sheet_table(trace_attention(model, torch.zeros(1, 3, 8, 8))).count("<img")
        6
    """
    rows, scales = _rows(trace, index, scale)
    names = _head_names(trace, max(map(len, rows)))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = []
    for row, maps in enumerate(rows):
        cells = []
        for name, values in zip(names, maps, strict=False):
            label = f"{_layer_name(trace, row)}, {name}"
            title = ". ".join([label, *filter(None, map_numbers(values).lines)])
            own = scales[row] or Scale.of(values)
            pixels = (glow(own.fraction(values.numpy())) * 255).round().astype(np.uint8)
            picture = html.image_tag(pixels, label, 1024)
            largest = f"{values.max().item():.3g}"
            cells.append(f'<td title="{html.escape(title)}">{picture}{largest}</td>')
        lines.append(f"<tr><th>{_layer_name(trace, row)}</th>{''.join(cells)}</tr>")
    bar = html.color_bar(scales[0]) if scale == "shared" and scales[0] else ""
    return (
        f"{html.paragraph(f'{query_text(trace)} {scale_text(scale, scales[0])}', 'quiet')}{bar}"
        f'<div class="scroll"><table class="sheet"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def scale_text(choice: ScaleChoice, first: Scale | None) -> str:
    """How to read the colors of several maps.

    Args:
        choice: which maps share a scale.
        first: the scale of the first layer, which is that of all where all share it.

    Returns:
        One sentence.

    Example:
        >>> scale_text("shared", Scale(0.0, 0.25))
        'All maps have one scale, from 0 to 0.25; below each stands its largest weight.'
    """
    if choice == "layer":
        return _(
            "The maps of a layer have one scale, from 0 to the largest weight among them; below "
            "each stands its own."
        )
    if choice == "head" or first is None:
        return _("Each map has its own scale, from 0 to its largest weight, which stands below it.")
    text = _(
        "All maps have one scale, from {low:.3g} to {high:.3g}; below each stands its largest "
        "weight."
    )
    return text.format(low=first.low, high=first.high)


def _rows(
    trace: AttentionTrace, index: int, scale: ScaleChoice
) -> tuple[list[Tensor], list[Scale | None]]:
    """The maps (heads, H, W) of each layer, and the scale of each."""
    (index,) = sorted_indices([index], len(trace.logits), _("image"))
    if len(trace.features.grid) != 2:
        raise TierError(f"a sheet is of images; the patches have the grid {trace.features.grid}.")
    rows = [maps[index].detach().float().cpu() for maps in trace.attention]
    return rows, shared_scales(rows, scale)


def _head_names(trace: AttentionTrace, heads: int) -> Sequence[str]:
    named = max(trace.head_names, key=len, default=())
    return named or [_("head {n}").format(n=n) for n in range(heads)]


def _layer_name(trace: AttentionTrace, row: int) -> str:
    return _("layer {layer}").format(layer=trace.keys[row])
