"""What a model attends to in an image, as rows of pictures and as one figure."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.lens.features import ColorBasis, pca_colors
from vitrail.lens.figures import Panel, panel_figure
from vitrail.lens.flat import cells, heat, picture
from vitrail.lens.heat import Scale, ScaleChoice, shared_scales
from vitrail.lens.layer_keys import sorted_indices
from vitrail.lens.map_numbers import map_numbers
from vitrail.lens.points import mark_patch
from vitrail.lens.position import explained_by_position
from vitrail.lens.trace import AttentionTrace
from vitrail.messages import _
from vitrail.models.features import Features

Sample = Annotated[Tensor, Axes(2, 3, 4)]  # (C, *size)


@checked
def panels(
    image: Sample,
    trace: AttentionTrace | Sequence[Features],
    *,
    index: int = 0,
    layers: Sequence[int] = (-1,),
    heads: Sequence[int] | None = None,
    scale: ScaleChoice = "head",
    smooth: bool = False,
    colors: ColorBasis | None = None,
    baseline: AttentionTrace | None = None,
) -> list[list[Panel]]:
    """An image and what the model attends to in it, in rows of pictures.

    The first row holds the image, the mean over heads of the last of the layers, the rollout, and
    the patch features as colors. One row per layer follows with a heat map per head. Pictures of
    clips, volumes and signals are wide, and each has a row of its own.

    Args:
        image: uint8 (C, *size), cropped as the model sees it.
        trace: what `observe` returns for a batch with the image; of features alone, the result is
            that of `stage_panels`.
        index: position of the image in that batch.
        layers: attention layers to draw, by position; negative ones count from the end.
        heads: heads to draw; None: all.
        scale: "head" gives each heat map a scale of its own, from 0 to its largest weight;
            "layer" gives one to all heads of a layer, "shared" one to all layers of the image.
        smooth: whether heat maps are interpolated between patches, which their captions say.
        colors: directions of features whose colors mean the same in other images, too. None: those
            of the batch, where it has several images.
        baseline: position-only trace of the same batch, drawn beside or below on the same scales;
            see `position_baseline`.

    Returns:
        Rows of panels.

    Raises:
        ConfigError: a layer or a head does not exist.
        TierError: the patches have other axes than the image.

    Example:
        >>> from vitrail.lens.trace import observe
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
    last = positions[-1]
    maps_of = {layer: trace.attention[layer][index] for layer in positions}
    positional = {} if baseline is None else {n: baseline.attention[n][index] for n in positions}
    compared = [torch.cat([maps_of[n], positional.get(n, maps_of[n])]) for n in positions]
    scales = shared_scales(compared, scale)
    mean = _("layer {layer}, mean of heads")
    if trace.head_names[last]:
        mean = _("layer {layer}, mean of scans")
    rows = [
        [
            _image_panel(image, trace),
            _Drawing(image, smooth, scales[-1]).panel(
                mean.format(layer=trace.keys[last]), maps_of[last].mean(0)
            ),
            _Drawing(image, smooth).panel(_("rollout, all layers"), trace.rollout[index]),
            *_color_panels(image, trace.features, index, colors),
        ]
    ]
    for layer, shared in zip(positions, scales, strict=True):
        names = _captions(trace, layer, heads)
        draw = _Drawing(image, smooth, shared)
        rows += draw.rows(maps_of[layer], names, positional.get(layer))
    return _in_rows(image, rows)


def _captions(trace: AttentionTrace, layer: int, heads: Sequence[int] | None) -> dict[int, str]:
    """The caption of each head of a layer that is drawn."""
    count = trace.attention[layer].shape[1]
    numbers = range(count) if heads is None else sorted_indices(heads, count, _("head"))
    names = trace.head_names[layer] or [_("head {n}").format(n=n) for n in range(count)]
    key = _("layer {layer}").format(layer=trace.keys[layer])
    return {n: f"{key}, {names[n]}" for n in numbers}


class _Drawing(NamedTuple):
    """How the heat maps of an image are drawn; without `scale` each has its own."""

    image: Tensor
    smooth: bool = False
    scale: Scale | None = None

    def panel(self, caption: str, weights: Tensor, lines: tuple[str, ...] | None = None) -> Panel:
        scale = Scale.of(weights) if self.scale is None else self.scale
        pixels = heat(self.image, weights, scale=scale, smooth=self.smooth)
        if self.smooth and self.image.ndim == 3:
            caption = _("{caption}, smoothed").format(caption=caption)
        return Panel(caption, pixels, scale, map_numbers(weights).lines if lines is None else lines)

    def rows(
        self, maps: Tensor, captions: dict[int, str], positional: Tensor | None
    ) -> list[list[Panel]]:
        """The maps (heads, *grid) of a layer and their baselines, if any, beside or below them."""
        if positional is None:
            return [[self.panel(caption, maps[n]) for n, caption in captions.items()]]
        pairs = [self.pair(text, maps[n], positional[n]) for n, text in captions.items()]
        if len(pairs) <= 2:  # beside each other
            return [[panel for pair in pairs for panel in pair]]
        return [[pair[0] for pair in pairs], [pair[1] for pair in pairs]]

    def pair(self, caption: str, weights: Tensor, baseline: Tensor) -> tuple[Panel, Panel]:
        """A map above what it owes to position, on one scale."""
        both = self if self.scale else self._replace(scale=Scale.of(weights, baseline))
        share = explained_by_position(weights, baseline)
        line = _("no pattern of position")
        if share == share:
            line = _("explains {share:.0%} of the map itself").format(share=share)
        text = _("{caption}: patches shuffled").format(caption=caption)
        return both.panel(caption, weights), both.panel(text, baseline, (line,))


def _image_panel(image: Tensor, trace: AttentionTrace) -> Panel:
    """The image, with the patch marked whose attention is drawn."""
    grid = trace.features.grid
    pixels = picture(image, grid)
    if isinstance(trace.query, tuple) and image.ndim == 3 and len(grid) == 2:
        pixels = mark_patch(pixels, (grid[0], grid[1]), (trace.query[0], trace.query[1]))
    return Panel(_("image, {grid} patches").format(grid=" × ".join(map(str, grid))), pixels)


def _color_panels(
    image: Tensor, features: Features, index: int, colors: ColorBasis | None
) -> list[Panel]:
    """Patch features as colors: of the image alone, and by directions shared with others."""
    single = Features(features.patches[index : index + 1], features.prefix[:0], features.grid)
    own = cells(image, pca_colors(single)[0])
    if colors is None and len(features.patches) == 1:
        return [Panel(_("patch features (PCA)"), own)]
    across = pca_colors(features)[index] if colors is None else colors.colors(single)[0]
    return [
        Panel(_("patch features (PCA of this image)"), own),
        Panel(_("patch features (PCA of all images)"), cells(image, across)),
    ]


def query_text(trace: AttentionTrace) -> str:
    """Whose attention a trace holds.

    Args:
        trace: the trace.

    Returns:
        One sentence.

    Example:
        >>> from vitrail.lens.trace import trace_attention
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> query_text(trace_attention(model, torch.zeros(1, 3, 8, 8), query=(0, 1)))
        'Attention of the patch in row 0, column 1 to each patch.'
    """
    if trace.query == "class":
        name = _("the class token")
    elif trace.query == "mean":
        name = _("all patches on average")
    elif isinstance(trace.query, tuple) and len(trace.query) == 2:
        row, column = trace.query
        name = _("the patch in row {row}, column {column}").format(row=row, column=column)
    else:
        name = _("the patch at {position}").format(position=trace.query)
    text = _("Attention of each patch to {query}.") if trace.incoming else None
    return (text or _("Attention of {query} to each patch.")).format(query=name)


def _in_rows(image: Tensor, rows: list[list[Panel]]) -> list[list[Panel]]:
    """The rows, with a row for each picture where pictures are wide."""
    return rows if image.ndim == 3 else [[panel] for row in rows for panel in row]


@checked
def stage_panels(image: Sample, stages: Sequence[Features], index: int = 0) -> list[list[Panel]]:
    """An image and the patch features of some stages as colors, for models without attention maps.

    The colors of each picture are of components of its own: a color means another thing in each.

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
        (position,) = sorted_indices([index], len(features.patches), _("image"))
        own = features._replace(patches=features.patches[position : position + 1])
        row.append(Panel(caption, cells(image, pca_colors(own)[0])))
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
        >>> from vitrail.lens.trace import observe
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> len(attention_figure(image, observe(model, image[None].float())).axes)
        6
    """
    rows = panels(image, trace, index=index, layers=layers, heads=heads)
    subtitle = query_text(trace) if isinstance(trace, AttentionTrace) else ""
    return panel_figure(rows, title=title, subtitle=subtitle, origin=origin)


def explanation_panels(
    image: Tensor,
    weights: Tensor,
    caption: str,
    *,
    smooth: bool = False,
    at: tuple[int, ...] | None = None,
) -> list[list[Panel]]:
    """An image and an explanation of it.

    Args:
        image: uint8 (C, *size), cropped as the model sees it.
        weights: map over patches or pixels, as `explain` returns it for one image.
        caption: name of the explanation.
        smooth: whether the map is interpolated between patches.
        at: row and column of a patch that is marked in the image; None for none.

    Returns:
        One row of panels; of clips, volumes and signals a row for each.

    Raises:
        TierError: the map has other axes than the image.

    Example:
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> [panel.caption for panel in explanation_panels(image, torch.eye(2), "rollout")[0]]
        ['image', 'rollout']
    """
    pixels = picture(image)
    if at is not None and image.ndim == 3:
        pixels = mark_patch(pixels, (weights.shape[0], weights.shape[1]), (at[0], at[1]))
    drawing = _Drawing(image, smooth).panel(caption, weights)
    return _in_rows(image, [[Panel(_("image"), pixels), drawing]])
