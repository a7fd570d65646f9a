"""What a page or a figure of `vitrail look` shows of one image: rows of pictures and sentences."""

import dataclasses
from typing import NamedTuple

from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import TierError
from vitrail.lens.features import ColorBasis
from vitrail.lens.figures import Panel
from vitrail.lens.flat import heat
from vitrail.lens.heat import Scale, ScaleChoice
from vitrail.lens.plots import panels, query_text
from vitrail.lens.position import position_baseline
from vitrail.lens.symmetry import symmetry
from vitrail.lens.trace import AttentionTrace, Query, StageFeatures, observe
from vitrail.messages import _
from vitrail.models.base import Backbone


@dataclasses.dataclass(frozen=True)
class LookOptions:
    """What is drawn of an image, and how.

    Args:
        layers: attention layers, by position; negative ones count from the end.
        heads: heads; None for all.
        scale: "head", "layer" or "shared", as in `panels`.
        smooth: whether heat maps are interpolated between patches.
        incoming: whether maps are of the attention paid to the query.
        baseline: whether the position-only baseline is drawn; None: for scans.
        symmetry: whether both directions of the sequence are compared, block by block.

    Example:
        >>> LookOptions().layers
        (-1,)
    """

    layers: tuple[int, ...] = (-1,)
    heads: tuple[int, ...] | None = None
    scale: ScaleChoice = "head"
    smooth: bool = False
    incoming: bool = False
    baseline: bool | None = None
    symmetry: bool = False


class Look(NamedTuple):
    """An image and what is drawn of it.

    Args:
        rows: pictures; empty for none.
        sentences: what they show, and why something is missing.
        scale: "head", "layer" or "shared", as they are drawn.
        trace: the attention; None where the model has no map of it.

    Example:
        >>> Look([], ["Nothing."]).sentences
        ['Nothing.']
    """

    rows: list[list[Panel]]
    sentences: list[str]
    scale: ScaleChoice = "head"
    trace: AttentionTrace | None = None


@checked
def look_at(
    model: Backbone,
    image: Tensor,
    inputs: Tensor,
    options: LookOptions,
    *,
    query: Query | None = None,
    colors: ColorBasis | None = None,
) -> Look:
    """Draws what a model attends to in an image.

    Args:
        model: the model, in evaluation mode.
        image: uint8 (C, *size), cropped as the model sees it.
        inputs: the same, normalized, as a batch of one.
        options: which maps the pictures show, and on which scale.
        query: whose attention, as in `trace_attention`.
        colors: directions of features that have the same colors in other images.

    Returns:
        Rows of pictures, and sentences to stand above them.

    Raises:
        ConfigError: a layer, a head or the query does not exist.
        TierError: there is a query, but the model has no map of its attention.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> look_at(model, image, image[None].float(), LookOptions()).sentences[0]
        'Attention of the class token to each patch.'
    """
    trace = observe(model, inputs, query=query, incoming=options.incoming)
    baseline = None
    if isinstance(trace, StageFeatures):
        if query is not None or options.incoming:
            raise TierError(f"{trace.reason} So there is no map of one query.")
    elif options.baseline or (options.baseline is None and any(trace.head_names)):
        baseline = position_baseline(model, inputs, trace)
    look = draw_trace(image, trace, options, colors=colors, baseline=baseline)
    if options.symmetry:
        look.rows.extend(symmetry_rows(model, image, inputs, options.smooth))
        look.sentences.append(
            _(
                "Symmetry: f(x) beside flip(f(flip(x))), the cosine similarity of the features of "
                "each patch after each block; 1 where both directions do the same."
            )
        )
    return look


def draw_trace(
    image: Tensor,
    trace: AttentionTrace | StageFeatures,
    options: LookOptions,
    *,
    index: int = 0,
    colors: ColorBasis | None = None,
    baseline: AttentionTrace | None = None,
) -> Look:
    """Draws a trace.

    Args:
        image: uint8 (C, *size).
        trace: of a batch with this image.
        options: which maps the pictures show, and on which scale.
        index: position of the image in that batch.
        colors: directions of features that have the same colors in other images.
        baseline: position-only trace of the same batch.

    Returns:
        Rows of pictures, and sentences to stand above them.

    Raises:
        ConfigError: a layer or a head does not exist.

    Example:
        >>> from vitrail.lens.trace import trace_attention
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> len(draw_trace(image, trace_attention(model, image[None].float()), LookOptions()).rows)
        2
    """
    rows = panels(
        image,
        trace,
        index=index,
        layers=options.layers,
        heads=options.heads,
        scale=options.scale,
        smooth=options.smooth,
        colors=colors,
        baseline=baseline,
    )
    if isinstance(trace, StageFeatures):
        stand_in = _("In its stead: the patch features of some stages as colors (PCA).")
        return Look(rows, [f"{trace.reason} {stand_in}"], options.scale)
    sentences = [query_text(trace)]
    if any(trace.head_names):
        sentences.append(
            _(
                "A Mamba has no attention: the maps are how much of each patch its scans still "
                "carry when they reach the query."
            )
        )
    if baseline is not None:
        sentences.append(
            _(
                "A scan forgets, so that near patches weigh more whatever they show. The maps of "
                "shuffled patches are what position alone explains."
            )
        )
    return Look(rows, sentences, options.scale, trace)


def symmetry_rows(
    model: Backbone, image: Tensor, inputs: Tensor, smooth: bool = False
) -> list[list[Panel]]:
    """The symmetry of each block as a heat map.

    Args:
        model: the model, in evaluation mode.
        image: uint8 (C, *size).
        inputs: the same, normalized, as a batch of one.
        smooth: whether heat maps are interpolated between patches.

    Returns:
        Rows of pictures.

    Raises:
        TierError: the model has no reversed order.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> symmetry_rows(model, image, image[None].float())[0][0].caption
        'block 0, f(x) beside flip(f(flip(x)))'
    """
    row = []
    for each in symmetry(model, inputs):
        scale = Scale(min(0.0, each.cosine.min().item()), 1.0)
        cosine = each.cosine[0].clamp(max=1.0)
        caption = _("block {n}, f(x) beside flip(f(flip(x)))").format(n=each.block)
        difference = _("they differ by {difference:.1%}").format(difference=each.difference)
        low = _("lowest cosine {value:.3f}").format(value=cosine.min().item())
        pixels = heat(image, cosine, scale=scale, smooth=smooth)
        row.append(Panel(caption, pixels, scale, (difference, low)))
    return [row] if image.ndim == 3 else [[panel] for panel in row]


def prediction_text(model: Backbone, logits: Tensor) -> str:
    """What a model recognizes.

    Args:
        model: the model.
        logits: (1, K).

    Returns:
        The likeliest class and its probability; "" for a model without names of classes.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> model.labels = ["cat", "dog"]
        >>> prediction_text(model, torch.tensor([[3.0, 0.0]]))
        'cat (95 %)'
    """
    if not model.labels or model.outputs.target != "class" or logits.shape[1] != len(model.labels):
        return ""
    probability, index = logits.float().softmax(1)[0].max(0)
    return f"{model.labels[int(index)]} ({100 * probability.item():.0f} %)"
