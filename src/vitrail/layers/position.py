"""Positions of tokens: learned tables, fixed sines and cosines, rotations (RoPE)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.tokens import draw_or_zero
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

Rotation = tuple[Tensor, Tensor]  # cosines and sines
Grid = tuple[PositiveInt, ...]  # (L,), (H, W) or (T, H, W)

Interpolation = Literal[
    "nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"
]
RESAMPLING: dict[int, Interpolation] = {
    1: "linear",
    2: "bicubic",
    3: "trilinear",
}  # by the number of axes of the grid


class PositionTable(nn.Module):
    """Learned absolute positions (Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929).

    The parameter `weight` has shape (1, prefix + N, dim): rows of prefix tokens first, then one row
    per patch of `grid`. For another grid the rows of patches are resampled,
    bicubically in 2-D; DINOv2 resamples without antialiasing, DINOv2 with registers and timm with.

    Args:
        grid: number of patches per axis, (L,), (H, W) or (T, H, W).
        dim: width of a token.
        prefix: number of prefix tokens that have a position.
        antialias: whether to antialias when resampling, 2-D grids only.
        std: standard deviation of the truncated normal distribution that the table starts from;
            0 for zeros.
        decayed: whether weight decay applies; most papers spare their positions.

    Example:
        >>> table = PositionTable((4, 4), 8, prefix=1)
        >>> table((4, 4)).shape, table((2, 6)).shape
        (torch.Size([1, 17, 8]), torch.Size([1, 13, 8]))
    """

    @guarded
    def __init__(
        self,
        grid: Grid,
        dim: PositiveInt,
        *,
        prefix: NonNegativeInt = 0,
        antialias: bool = False,
        std: NonNegativeFloat = 0.02,
        decayed: bool = False,
    ) -> None:
        super().__init__()
        self.undecayed = () if decayed else ("weight",)
        self.grid, self.prefix, self.antialias, self.std = grid, prefix, antialias, std
        self.weight = nn.Parameter(torch.empty(1, prefix + math.prod(grid), dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws from a truncated normal distribution with standard deviation `std`."""
        draw_or_zero(self.weight, self.std)

    @guarded_forward
    def forward(self, grid: Grid) -> Tensor:
        """grid of N patches → positions (1, prefix + N, D), rows of prefix tokens first."""
        if _is(grid, self.grid):
            return self.weight
        prefix, patches = self.weight[:, : self.prefix], self.weight[:, self.prefix :]
        return torch.cat([prefix, resize_positions(patches, self.grid, grid, self.antialias)], 1)

    def resampled_to(self, other: "PositionTable") -> dict[str, Tensor]:
        """The parameters of a table for another grid, from those of this one.

        Args:
            other: the table for the other grid; it may lack the positions of prefix tokens.

        Returns:
            Its parameters by name.
        """
        return {"weight": self(other.grid)[:, max(self.prefix - other.prefix, 0) :]}

    def extra_repr(self) -> str:
        """Shows the sizes in the model's printout."""
        return f"grid={self.grid}, prefix={self.prefix}, dim={self.weight.shape[2]}"


@guarded
def resize_positions(
    table: Tensor, old: Grid, new: Grid, antialias: bool = False, mode: Interpolation | None = None
) -> Tensor:
    """Resamples a table of positions from one grid to another.

    Args:
        table: (1, N, D), one row per patch of `old`.
        old: grid of the table.
        new: grid to resample to, with as many axes.
        antialias: whether to antialias, 2-D grids only.
        mode: a mode of `F.interpolate`; None for linear, bicubic or trilinear by the number of
            axes.

    Returns:
        (1, N', D) for the patches of `new`, in the dtype of `table`.

    Example:
        >>> resize_positions(torch.ones(1, 4, 8), (2, 2), (3, 3)).shape
        torch.Size([1, 9, 8])
    """
    if _is(new, old):
        return table
    image = table.reshape(1, *old, -1).movedim(-1, 1)
    image = image.to(torch.promote_types(table.dtype, torch.float32))  # no bicubic in half
    image = F.interpolate(image, size=new, mode=mode or RESAMPLING[len(old)], antialias=antialias)
    return image.movedim(1, -1).flatten(1, -2).to(table.dtype)


def _is(grid: Grid, other: Grid) -> bool:
    """Whether two grids are the same.

    A symbol of an exported graph stands for any size: compared, it would exclude this one.
    """
    return not any(isinstance(side, torch.SymInt) for side in grid) and grid == other


@guarded
def sincos_positions(grid: Grid, dim: PositiveInt, temperature: PositiveFloat = 10_000.0) -> Tensor:
    """Fixed sine and cosine positions of a grid (Beyer et al. 2022, https://arxiv.org/abs/2205.01580).

    Sines and cosines of the last axis come first, then those of the axes before it. In 3-D, where
    no power of two divides into six, the remaining channels are 0.

    Args:
        grid: number of patches per axis.
        dim: width of a token.
        temperature: largest wavelength divided by 2 pi.

    Returns:
        (1, N, dim) in float64.

    Raises:
        ConfigError: `dim` does not divide into sines and cosines of all axes.

    Example:
        >>> sincos_positions((2, 3), 8).shape
        torch.Size([1, 6, 8])
    """
    count = _frequencies(dim, len(grid), 2, f"dim={dim} cannot carry sine positions")
    frequencies = temperature ** -torch.linspace(0, 1, count, dtype=torch.double)
    angles = [torch.outer(axis, frequencies) for axis in reversed(_coordinates(grid))]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return F.pad(table, (0, dim - table.shape[1]))[None]


@guarded
def sequence_positions(length: PositiveInt, dim: PositiveInt) -> Tensor:
    """Fixed sine and cosine positions of a sequence (Vaswani et al. 2017,
    https://arxiv.org/abs/1706.03762).

    Args:
        length: number of tokens L.
        dim: width of a token.

    Returns:
        (1, L, dim) in float64, sines at even channels and cosines at odd ones.

    Example:
        >>> sequence_positions(2, 4)[0, 0].tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    frequencies = 10_000.0 ** -(torch.arange(0, dim, 2, dtype=torch.double) / dim)
    angles = torch.outer(torch.arange(length).double(), frequencies)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[None, :, :dim]


@guarded
def rotation(
    grid: Grid,
    reference: Grid,
    head_dim: PositiveInt,
    *,
    prefix: NonNegativeInt = 0,
    theta: PositiveFloat = 100.0,
) -> Rotation:
    """Axial rotary position embedding (Heo et al. 2024, https://arxiv.org/abs/2403.13298).

    An equal share of each head's channels is rotated by each axis. In 3-D the remaining channels
    are not rotated (Assran et al. 2025, https://arxiv.org/abs/2506.09985). Coordinates are scaled
    to the `reference` grid, so that angles at another resolution stay within those of training.

    Args:
        grid: number of patches per axis.
        reference: grid that the model was trained on.
        head_dim: channels per head.
        prefix: number of prefix tokens, which are not rotated.
        theta: base of the frequencies.

    Returns:
        Cosines and sines, each (prefix + N, head_dim) in float32.

    Raises:
        ConfigError: `head_dim` does not divide into pairs of channels for all axes.

    Example:
        >>> cos, sin = rotation((2, 2), (2, 2), 8, prefix=1)
        >>> cos.shape
        torch.Size([5, 8])
    """
    count = _frequencies(head_dim, len(grid), 1, f"head dimension {head_dim} cannot be rotated")
    frequencies = theta ** -(torch.arange(0, 2 * count, 2, dtype=torch.double) / (2 * count))
    angles = [
        torch.outer(axis * r / g, frequencies)
        for axis, r, g in zip(_coordinates(grid), reference, grid, strict=True)
    ]
    table = torch.cat(angles, dim=1).repeat_interleave(2, dim=1)  # adjacent channels form a pair
    table = F.pad(table, (0, head_dim - table.shape[1], prefix, 0))
    return table.cos().float(), table.sin().float()


@guarded
def select_rotation(tables: Rotation, keep_indices: Tensor, prefix: NonNegativeInt) -> Rotation:
    """Selects the rotations of prefix tokens and of the patches that were not dropped.

    Args:
        tables: cosines and sines, each (prefix + N, d).
        keep_indices: (B, K), indices of the patches that remain.
        prefix: number of prefix tokens.

    Returns:
        Cosines and sines, each (B, 1, prefix + K, d).

    Example:
        >>> tables = rotation((2, 2), (2, 2), 8, prefix=1)
        >>> select_rotation(tables, torch.tensor([[0, 3]]), 1)[0].shape
        torch.Size([1, 1, 3, 8])
    """
    index = F.pad(keep_indices + prefix, (prefix, 0))
    index[:, :prefix] = torch.arange(prefix, device=keep_indices.device)
    cos, sin = (t.to(keep_indices.device)[index][:, None] for t in tables)
    return cos, sin


@guarded
def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotates each pair of adjacent channels by its token's angle (RoFormer, Su et al. 2021,
    https://arxiv.org/abs/2104.09864).

    Args:
        x: (B, H, N, d).
        rotation: cosines and sines, each (N, d) or broadcastable to `x`.

    Returns:
        The rotated tensor (B, H, N, d).

    Example:
        >>> rotate(torch.ones(1, 1, 4, 8), rotation((2, 2), (2, 2), 8)).shape
        torch.Size([1, 1, 4, 8])
    """
    cos, sin = (t.to(x.dtype) for t in rotation)
    quarter_turn = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * cos + quarter_turn * sin


def _coordinates(grid: Grid) -> list[Tensor]:
    """Coordinates of the N patches on each axis: (N,) each."""
    axes = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    return [axis.flatten().double() for axis in axes]


def _frequencies(dim: int, axes: int, least: int, problem: str) -> int:
    """Number of frequencies per axis in `dim` channels; two channels carry one."""
    count, rest = divmod(dim, 2 * axes)
    if count < least or (rest and axes < 3):
        raise ConfigError(
            f"{problem} in {axes}-D: use a multiple of {2 * axes}, >= {2 * axes * least}."
        )
    return count
