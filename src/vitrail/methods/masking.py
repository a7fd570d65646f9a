"""Masks over patches: drawing them, and applying them to images and features."""

import math
from typing import Annotated

import torch
from torch import Tensor

from vitrail.arguments import Unchecked
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.layers.patch import patchify, unpatchify
from vitrail.layers.tokens import take
from vitrail.methods.batch_checks import check_image_size, check_mask_shape
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.ops.guard import guarded
from vitrail.values import NonNegativeInt, PositiveInt

Grid = tuple[PositiveInt, ...]
Ratio = Annotated[float, Unchecked()]  # `shuffle_mask` says what it masks

# Of BEiT's rectangles: the smallest ratio of height to width, and the number drawn per mask.
ASPECT, RECTANGLES = 0.3, 16


@guarded
def shuffle_mask(noise: Tensor, ratio: Ratio) -> Tensor:
    """Masks the patches with the highest noise.

    Args:
        noise: (B, N).
        ratio: fraction of the patches to mask.

    Returns:
        Bool (B, N), True where masked. int(N · (1 - ratio)) patches are visible in every row, as in
        MAE.

    Raises:
        ConfigError: no patch, or every patch, would be masked.

    Example:
        >>> shuffle_mask(torch.tensor([[0.3, 0.1, 0.9, 0.2]]), 0.5)
        tensor([[ True, False,  True, False]])
    """
    if not 0 <= ratio <= 1:
        raise ConfigError(
            f"mask_ratio={ratio:g} is no fraction of the patches: give a number above 0 and below "
            "1."
        )
    count = int(noise.shape[1] * (1 - ratio))
    if not 0 < count < noise.shape[1]:
        raise ConfigError(
            f"mask_ratio={ratio:g} of {noise.shape[1]} patches masks "
            f"{'none' if count else 'all'}: choose another, or larger images."
        )
    ranks = noise.argsort(dim=1).argsort(dim=1)
    return ranks >= count


@guarded
def random_mask(
    batch: NonNegativeInt,
    grid: Grid,
    ratio: Ratio,
    *,
    unit: PositiveInt = 1,
    device: torch.device | None = None,
) -> Tensor:
    """Masks random patches.

    Args:
        batch: number of masks B.
        grid: patches per axis.
        ratio: fraction of the patches to mask.
        unit: patches along each axis that are masked together, as in SimMIM (Xie et al. 2021,
            https://arxiv.org/abs/2111.09886).
        device: device of the mask.

    Returns:
        Bool (B, N), True where masked.

    Raises:
        ConfigError: `unit` does not divide the grid, or `ratio` masks none or all.

    Example:
        >>> random_mask(2, (4, 4), 0.75).sum(dim=1)
        tensor([12, 12])
    """
    if any(side % unit for side in grid):
        raise ConfigError(
            f"mask_unit={unit} does not divide the grid {grid}: choose among the divisors of "
            f"{math.gcd(*grid)}."
        )
    coarse = tuple(side // unit for side in grid)
    mask = shuffle_mask(torch.rand(batch, math.prod(coarse), device=device), ratio)
    return resize_mask(mask, coarse, grid)


@guarded
def tube_mask(
    batch: NonNegativeInt, grid: Grid, ratio: Ratio, *, device: torch.device | None = None
) -> Tensor:
    """Masks the same random patches in every frame of a video (VideoMAE, Tong et al. 2022,
    https://arxiv.org/abs/2203.12602).

    Args:
        batch: number of masks B.
        grid: (T, H, W), patches per axis.
        ratio: fraction of the patches to mask.
        device: device of the mask.

    Returns:
        Bool (B, T · H · W), True where masked.

    Raises:
        ConfigError: the grid has no axis of frames.

    Example:
        >>> tube_mask(1, (3, 2, 2), 0.5).unflatten(1, (3, 4)).sum(dim=2)
        tensor([[2, 2, 2]])
    """
    if len(grid) != 3:
        raise ConfigError(f"mask='tube' needs a grid with frames, not {grid}: use 'random'.")
    frame = random_mask(batch, grid[1:], ratio, device=device)
    return frame[:, None].expand(-1, grid[0], -1).flatten(1)


@guarded
def block_mask(
    batch: NonNegativeInt,
    grid: Grid,
    ratio: Ratio,
    *,
    smallest: PositiveInt = 16,
    device: torch.device | None = None,
) -> Tensor:
    """Blockwise masking: overlapping rectangles, one after another (BEiT, Bao et al. 2021,
    algorithm 1, https://arxiv.org/abs/2106.08254).

    The aspect ratio of a rectangle is drawn on a logarithmic scale within 0.3 to 1 / 0.3, as in the
    authors' code. The authors stop somewhat above or below `ratio`; here the last rectangle is cut
    row by row, so that every row masks the same number of patches. Signals mask runs; videos mask
    the same rectangles in every frame.

    Args:
        batch: number of masks B.
        grid: patches per axis.
        ratio: fraction of the patches to mask.
        smallest: patches of the smallest rectangle. On small grids it is at most a quarter of the
            patches to mask.
        device: device of the mask.

    Returns:
        Bool (B, N), True where masked.

    Raises:
        ConfigError: `ratio` masks none or all.

    Example:
        >>> block_mask(2, (14, 14), 0.4).sum(dim=1)
        tensor([79, 79])
    """
    *frames, height, width = (1, *grid)
    patches = height * width
    count = patches - int(patches * (1 - ratio))
    least = min(smallest, count / 4)
    rows, columns = (torch.arange(n, device=device) for n in (height, width))
    # The round in which a patch is masked first. Rounds without effect cost little, and the number
    # of rounds does not depend on values that a GPU would have to be asked for.
    order = torch.full((batch, height, width), RECTANGLES, device=device)
    for number in range(RECTANGLES):
        size, shape, top, left = torch.rand(4, batch, 1, device=device)
        missing = count - (order < RECTANGLES).sum(dim=(1, 2))[:, None]
        area = least + size * (missing - least).clamp(min=0)
        tall = (area * ASPECT ** (2 * shape - 1)).sqrt().round().clamp(1, height)
        wide = (area / tall).round().clamp(1, width)
        row = rows - (top * (height - tall + 1)).floor()
        column = columns - (left * (width - wide + 1)).floor()
        inside = ((row >= 0) & (row < tall))[:, :, None]
        inside = inside & ((column >= 0) & (column < wide))[:, None, :]
        order = order.where(~inside | (order < RECTANGLES), number)
    # Patches of one round are masked in the grid's order, or backwards.
    along = (torch.arange(patches, device=device) + 0.5) / patches
    along = along.where(torch.rand(batch, 1, device=device) < 0.5, 1 - along)
    mask = shuffle_mask(along - order.flatten(1), ratio)
    return mask.repeat(1, math.prod(frames))


@guarded
def resize_mask(mask: Tensor, old: Grid, new: Grid) -> Tensor:
    """Resamples a mask to another grid by nearest neighbour.

    Args:
        mask: bool (B, N) on `old`.
        old: grid of the mask.
        new: grid to resample to, with as many axes.

    Returns:
        Bool (B, N') on `new`.

    Raises:
        DataError: the mask is not on `old`.

    Example:
        >>> resize_mask(torch.tensor([[True, False]]), (2,), (4,))
        tensor([[ True,  True, False, False]])
    """
    if mask.shape[-1] != math.prod(old):
        raise DataError(f"a mask of {mask.shape[-1]} patches has no grid {old}: name its own.")
    if old == new:
        return mask
    cells = mask.unflatten(1, old)
    for axis, (old_side, new_side) in enumerate(zip(old, new, strict=True), 1):
        index = torch.arange(new_side, device=mask.device) * old_side // new_side
        cells = cells.index_select(axis, index)
    return cells.flatten(1)


@guarded
def split_mask(mask: Tensor, visible: PositiveInt | None = None) -> tuple[Tensor, Tensor]:
    """Indices of the visible and of the masked patches, in the grid's order.

    Args:
        mask: bool (B, N), True where masked, with equally many in each row.
        visible: number K of visible patches per row, where it is known; it saves a GPU
            synchronization. None counts and checks the mask.

    Returns:
        Visible indices (B, K) and masked indices (B, N - K).

    Raises:
        DataError: the rows do not mask equally many patches, or mask none or all.

    Example:
        >>> split_mask(torch.tensor([[True, False, True, False]]))
        (tensor([[1, 3]]), tensor([[0, 2]]))
    """
    if mask.ndim != 2 or not len(mask) or mask.dtype != torch.bool:
        raise DataError(
            f"a mask of shape {tuple(mask.shape)} and {mask.dtype} is none: give bool (images, "
            "patches)."
        )
    if visible is None:
        counts = (~mask).sum(dim=1)
        visible = int(counts[0])
        if not 0 < visible < mask.shape[1] or (counts != visible).any():
            raise DataError(
                f"the rows of this mask leave {int(counts.min())} to {int(counts.max())} of "
                f"{mask.shape[1]} patches visible: all rows must mask equally many patches, and "
                "neither all nor none."
            )
    if visible >= mask.shape[1]:
        raise DataError(
            f"visible={visible} of {mask.shape[1]} patches leaves none masked: leave it out, and "
            "it is counted."
        )
    order = mask.to(torch.uint8).argsort(dim=1, stable=True)
    return order[:, :visible], order[:, visible:]


def zero_cells(images: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """Sets masked pixels to 0, before anything reads them: none of them has a gradient.

    Args:
        images: (B, C, *size).
        mask: bool (B, N) on `grid`, True where masked.
        grid: cells per axis.

    Returns:
        A copy of the images with masked cells at 0.

    Example:
        >>> zero_cells(torch.ones(1, 1, 4), torch.tensor([[True, False]]), (2,))
        tensor([[[0., 0., 1., 1.]]])
    """
    check_mask_shape(mask, len(images), grid)
    size = tuple(images.shape[2:])
    pixels = resize_mask(mask, grid, size).unflatten(1, size)
    return images.masked_fill(pixels[:, None], 0.0)


@guarded
def add_mask_token(features: Features, mask: Tensor, grid: Grid, mask_token: Tensor) -> Features:
    """Adds the mask token to the tokens of masked cells; their positions stay.

    `embed` maps a patch of zeros to one constant vector and adds its position. The sum with a
    learned token is therefore any learned vector plus the position, which is what replacing the
    token before positions are added gives, on any stem.

    Args:
        features: embedded patches, all of the grid.
        mask: bool (B, N) on `grid`, True where masked.
        grid: grid of the mask.
        mask_token: (1, 1, D).

    Returns:
        Features with other patches.

    Example:
        >>> features = Features.from_map(torch.zeros(1, 2, 1))
        >>> mask = torch.tensor([[True, False]])
        >>> add_mask_token(features, mask, (2,), torch.ones(1, 1, 1)).patches.flatten()
        tensor([1., 0.])
    """
    check_mask_shape(mask, len(features.patches), grid)
    masked = resize_mask(mask, grid, features.grid)[..., None]
    return features._replace(patches=features.patches + masked * mask_token.to(features.patches))


def embed_masked(backbone: Backbone, images: Tensor, mask: Tensor, grid: Grid) -> Features:
    """Embeds images whose masked cells are set to 0.

    Args:
        backbone: model that embeds.
        images: (B, C, *size), of the model's own size.
        mask: bool (B, N) on `grid`, True where masked.
        grid: cells per axis.

    Returns:
        Features of all patches.

    Raises:
        DataError: the images have another size than the model, so their cells would be others.
        TierError: the model itself drops patches, as NaViT can.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=0, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> mask = torch.tensor([[True, False, False, False]])
        >>> embed_masked(model, torch.zeros(1, 3, 8, 8), mask, (2, 2)).patches.shape
        torch.Size([1, 4, 8])
    """
    check_image_size(backbone, images)
    features = backbone.embed(zero_cells(images, mask, grid))
    if features.keep_indices is not None:
        raise TierError(
            f"this {type(backbone).__name__} drops patches itself, so masks do not fit its "
            "patches: set its token_dropout=0."
        )
    return features


@guarded
def reconstruction_rows(
    images: Tensor, mask: Tensor, grid: Grid, index: Tensor, pixels: Tensor
) -> Tensor:
    """Images beside what a method sees of them and what it reconstructs.

    Args:
        images: (B, C, *size).
        mask: bool (B, N) on `grid`, True where masked.
        grid: cells per axis.
        index: (B, K), indices of the cells that were predicted.
        pixels: (B, K, C · prod(cell)), the predictions.

    Returns:
        (3, B, C, *size): the images, the masked images, and the images with the predicted cells.

    Example:
        >>> mask, index = torch.tensor([[True, False]]), torch.tensor([[0]])
        >>> images, pixels = torch.ones(1, 1, 4), torch.full((1, 1, 2), 5.0)
        >>> reconstruction_rows(images, mask, (2,), index, pixels).flatten(1).tolist()
        [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 1.0, 1.0]]
    """
    cell = tuple(side // cells for side, cells in zip(images.shape[2:], grid, strict=True))
    patches = patchify(images, cell)
    patches = patches.scatter(1, index[..., None].expand_as(pixels), pixels.to(patches))
    reconstructed = unpatchify(patches, cell, grid)
    return torch.stack([images, zero_cells(images, mask, grid), reconstructed])


def masked_pixels(images: Tensor, cell: tuple[int, ...], index: Tensor) -> Tensor:
    """Pixels of some cells, the targets of a prediction.

    Args:
        images: (B, C, *size).
        cell: pixels per axis of a cell.
        index: (B, M), indices of cells.

    Returns:
        (B, M, C · prod(cell)).

    Example:
        >>> masked_pixels(torch.arange(4.0).view(1, 1, 4), (2,), torch.tensor([[1]]))
        tensor([[[2., 3.]]])
    """
    return take(patchify(images, cell), index)
