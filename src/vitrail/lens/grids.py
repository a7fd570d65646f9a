"""Figures of what a method has learned so far, each one array for a board or a page."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.errors import ConfigError
from vitrail.lens.fonts import font_families
from vitrail.lens.pictures import enlarge, heat_map, tiles, to_picture
from vitrail.lens.theme import LIGHT
from vitrail.lens.trace import AttentionTrace
from vitrail.messages import _

Images = Annotated[Tensor, Axes(4)]  # (B, C, H, W)
IMAGE_SIZE = 112  # pixels that an image has at least
CELL = 0.55  # inches of a matrix cell with a number
CAPTION_LENGTH = 28  # characters of a caption that are drawn


@checked
def reconstruction_grid(images: Annotated[Tensor, Axes(5)]) -> np.ndarray:
    """Rows of images, such as the original, what is visible of it, and its reconstruction.

    Args:
        images: uint8 (rows, B, C, H, W).

    Returns:
        uint8 (height, width, 3).

    Example:
        >>> reconstruction_grid(torch.zeros(3, 2, 1, 8, 8, dtype=torch.uint8)).shape
        (344, 228, 3)
    """
    return tiles([[to_picture(enlarge(i, IMAGE_SIZE)) for i in row] for row in images.cpu()])


@checked
def attention_grid(images: Images, trace: AttentionTrace) -> np.ndarray:
    """A row of images, and below each the last layer's attention, the mean of its heads.

    Args:
        images: uint8 (B, C, H, W).
        trace: attention of the same images.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ConfigError: the trace is of another number of images.

    Example:
        >>> from vitrail.lens.trace import trace_attention
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> attention_grid(images, trace_attention(model, images.float())).shape
        (228, 228, 3)
    """
    weights = trace.attention[-1].mean(1)
    if len(weights) != len(images):
        raise ConfigError(f"the trace is of {len(weights)} images, and {len(images)} are given.")
    enlarged = [enlarge(image, IMAGE_SIZE) for image in images.cpu()]
    heat = [heat_map(image, row) for image, row in zip(enlarged, weights, strict=True)]
    return tiles([[to_picture(image) for image in enlarged], heat])


@checked
def similarity_matrix(
    images: Images, captions: Sequence[str], cosines: Annotated[Tensor, Axes(2)]
) -> np.ndarray:
    """A matrix of cosine similarities, images down and captions across.

    Args:
        images: uint8 (B, C, H, W).
        captions: one per column, T of them; long ones are cut.
        cosines: (B, T).

    Returns:
        uint8 (height, width, 3).

    Raises:
        ConfigError: the cosines are not of all images and captions.

    Example:
        >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> similarity_matrix(images, ["a cat", "a dog"], torch.eye(2)).shape[2]
        3
    """
    if cosines.shape != (len(images), len(captions)):
        raise ConfigError(
            f"cosines {tuple(cosines.shape)} are not of {len(images)} images and {len(captions)} "
            "captions."
        )
    values = cosines.detach().float().cpu().numpy()
    limit = CAPTION_LENGTH
    labels = [c if len(c) <= limit else f"{c[: limit - 1]}…" for c in captions]
    head = 0.5 + 0.06 * max(map(len, labels))  # inches, for captions at an angle
    foot = 0.4  # for the range of the colors
    height = head + CELL * len(images) + foot
    width = 1.0 + CELL * len(captions) + 0.045 * len(labels[-1]) + 0.2
    figure = Figure(figsize=(width, height), dpi=110)
    canvas = FigureCanvasAgg(figure)
    box_of_cells = (0.9 / width, foot / height, CELL * len(captions) / width)
    axis = figure.add_axes((*box_of_cells, CELL * len(images) / height))
    limit_of_colors = float(np.abs(values).max()) or 1.0
    axis.imshow(values, cmap="RdBu", aspect="auto", vmin=-limit_of_colors, vmax=limit_of_colors)
    font = font_families(*labels)
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        ink = "white" if abs(value) > 0.6 * limit_of_colors else LIGHT["ink"]
        axis.text(column, row, f"{value:.2f}", color=ink, **style)
    axis.xaxis.tick_top()
    axis.set_xticks(
        range(len(labels)), labels, rotation=40, ha="left", fontsize=9, parse_math=False,
        fontfamily=font,
    )  # fmt: skip
    quiet: dict[str, Any] = {"fontsize": 8, "color": LIGHT["quiet"]}
    figure.text(0.9 / width, 0.16 / height, _color_text(limit_of_colors), va="center", **quiet)
    side: dict[str, Any] = {"rotation": 90, "va": "center", "ha": "center"}
    middle = (foot + CELL * len(images) / 2) / height
    figure.text(0.12 / width, middle, _("images"), **side, **quiet)
    figure.text(0.88 / width, 1 - 0.1 / height, _("captions"), ha="right", va="top", **quiet)
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    box = axis.get_position()
    row_height = box.height / len(images)
    for number, image in enumerate(images.cpu()):
        bottom = box.y1 - (number + 0.95) * row_height
        bounds = (0.25 / width, bottom, 0.6 / width, 0.9 * row_height)
        thumbnail = figure.add_axes(bounds)
        thumbnail.imshow(to_picture(image))
        thumbnail.axis("off")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _color_text(limit: float) -> str:
    text = _("red: -{limit:.2f}, white: 0, blue: {limit:.2f}")
    return text.format(limit=limit)
