"""Figures of what a method has learned so far, each one array for a board or a page."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.errors import ConfigError
from vitrail.lens.pictures import enlarge, heat_map, tiles, to_picture
from vitrail.lens.theme import LIGHT
from vitrail.lens.trace import AttentionTrace

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
    head = 0.35 + 0.06 * max(map(len, labels))  # inches, for captions at an angle
    height = head + CELL * len(images)
    figure = Figure(figsize=(2.2 + CELL * len(captions), height), dpi=110)
    canvas = FigureCanvasAgg(figure)
    axis = figure.add_axes((0.12, 0.02, 0.8, 0.98 - head / height))
    axis.imshow(values, cmap="Blues", aspect="auto")
    middle = (values.max() + values.min()) / 2
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        ink = "white" if value > middle else LIGHT["ink"]
        axis.text(column, row, f"{value:.2f}", color=ink, **style)
    axis.xaxis.tick_top()
    axis.set_xticks(
        range(len(labels)), labels, rotation=40, ha="left", fontsize=9, parse_math=False
    )
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    box = axis.get_position()
    row_height = box.height / len(images)
    for number, image in enumerate(images.cpu()):
        bounds = (0.01, box.y1 - (number + 0.95) * row_height, 0.1, 0.9 * row_height)
        thumbnail = figure.add_axes(bounds)
        thumbnail.imshow(to_picture(image))
        thumbnail.axis("off")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
