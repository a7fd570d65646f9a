"""Where a token stands: learned tables, fixed sines and cosines, rotations."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError

Rotation = tuple[Tensor, Tensor]
Grid = tuple[int, ...]  # (L,), (H, W) or (T, H, W)

# Kinds of learned positions: whether their table is antialiased when it is resampled.
LEARNED = {"learned": False, "learned+antialias": True}
RESAMPLING = {1: "linear", 2: "bicubic", 3: "trilinear"}  # by the axes of the grid


def resize_positions(
    table: Tensor, old: Grid, new: Grid, antialias: bool = False, mode: str | None = None
) -> Tensor:
    """Resamples a table of positions (1, N, D) from one grid to another: bicubically in 2-D.

    DINOv2 resamples without antialiasing; DINOv2 with registers and timm with it, which is for 2-D.
    `mode`: another one of `F.interpolate`.
    """
    if old == new:
        return table
    image = table.reshape(1, *old, -1).movedim(-1, 1)
    image = image.to(torch.promote_types(table.dtype, torch.float32))  # no bicubic in half
    image = F.interpolate(image, size=new, mode=mode or RESAMPLING[len(old)], antialias=antialias)
    return image.movedim(1, -1).flatten(1, -2).to(table.dtype)


def sincos_positions(grid: Grid, dim: int, temperature: float = 10_000.0) -> Tensor:
    """Fixed positions (1, N, D), float64: sines and cosines of the last axis, then of those before.

    Beyer et al. 2022, https://arxiv.org/abs/2205.01580. In 3-D, where no power of two divides into
    six, the channels that are left over stay 0.
    """
    count = _frequencies(dim, len(grid), 2, f"dim={dim} cannot carry sine positions")
    frequencies = temperature ** -torch.linspace(0, 1, count, dtype=torch.double)
    angles = [torch.outer(place, frequencies) for place in reversed(_places(grid))]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return F.pad(table, (0, dim - table.shape[1]))[None]


def sequence_positions(length: int, dim: int) -> Tensor:
    """Fixed positions (1, L, D), float64, along a sequence: sines and cosines in turn.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """
    frequencies = 10_000.0 ** -(torch.arange(0, dim, 2, dtype=torch.double) / dim)
    angles = torch.outer(torch.arange(length).double(), frequencies)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[None, :, :dim]


def rotation(
    grid: Grid,
    reference: Grid,
    head_dim: int,
    *,
    prefix: int = 0,
    theta: float = 100.0,
) -> Rotation:
    """Axial rotary angles as (cos, sin), each (prefix + N, head_dim).

    Of each head, an equal part turns with each axis: in 2-D half with the row, half with the column
    (Heo et al. 2024, https://arxiv.org/abs/2403.13298); in 3-D the channels that are left over do
    not turn (Assran et al. 2025, https://arxiv.org/abs/2506.09985). Places are scaled to the
    `reference` grid, the one trained on, so that another resolution stays within the angles seen in
    training. Prefix tokens have no place and are not turned.
    """
    count = _frequencies(head_dim, len(grid), 1, f"head dimension {head_dim} cannot be rotated")
    frequencies = theta ** -(torch.arange(0, 2 * count, 2, dtype=torch.double) / (2 * count))
    angles = [
        torch.outer(place * r / g, frequencies)
        for place, r, g in zip(_places(grid), reference, grid, strict=True)
    ]
    table = torch.cat(angles, dim=1).repeat_interleave(2, dim=1)  # neighbours form a pair
    table = F.pad(table, (0, head_dim - table.shape[1], prefix, 0))
    return table.cos().float(), table.sin().float()


def keep_rotation(tables: Rotation, kept: Tensor, prefix: int) -> Rotation:
    """Rotations of the prefix and of the kept patches (B, K) only: each (B, 1, prefix + K, d)."""
    index = F.pad(kept + prefix, (prefix, 0))
    index[:, :prefix] = torch.arange(prefix, device=kept.device)
    cos, sin = (t.to(kept.device)[index][:, None] for t in tables)
    return cos, sin


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turns each pair of neighbouring channels of x (B, H, N, d) by its token's angle.

    RoFormer, Su et al. 2021, https://arxiv.org/abs/2104.09864.
    """
    cos, sin = (t.to(x.dtype) for t in rotation)
    quarter_turn = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * cos + quarter_turn * sin


def _places(grid: Grid) -> list[Tensor]:
    """Where each of N places is on each axis: (N,) each."""
    places = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    return [place.flatten().double() for place in places]


def _frequencies(dim: int, axes: int, least: int, problem: str) -> int:
    """How many frequencies each axis gets of `dim` channels; two channels carry one."""
    count, rest = divmod(dim, 2 * axes)
    if count < least or (rest and axes < 3):
        raise ConfigError(
            f"{problem} in {axes}-D: use a multiple of {2 * axes}, >= {2 * axes * least}."
        )
    return count
