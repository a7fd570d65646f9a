"""Where a token stands: learned tables, fixed sines and cosines, rotations."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError

Rotation = tuple[Tensor, Tensor]
Grid = tuple[int, ...]  # (H, W)

# Kinds of learned positions: whether their table is antialiased when it is resampled.
LEARNED = {"learned": False, "learned+antialias": True}


def resize_positions(table: Tensor, old: Grid, new: Grid, antialias: bool = False) -> Tensor:
    """Resamples a table of positions (1, H·W, D) from one grid to another, bicubically.

    DINOv2 resamples without antialiasing; DINOv2 with registers and timm with it.
    """
    if old == new:
        return table
    image = table.reshape(1, *old, -1).permute(0, 3, 1, 2)
    image = image.to(torch.promote_types(table.dtype, torch.float32))  # no bicubic in half
    image = F.interpolate(image, size=new, mode="bicubic", antialias=antialias)
    return image.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)


def sincos_positions(grid: Grid, dim: int, temperature: float = 10_000.0) -> Tensor:
    """Fixed positions (1, H·W, D): sines and cosines of the column, then of the row.

    Beyer et al. 2022, https://arxiv.org/abs/2205.01580.
    """
    if dim % 4 or dim < 8:
        raise ConfigError(f"dim={dim} cannot carry 2-D sine positions: use a multiple of 4, >= 8.")
    rows, columns = (t.flatten().double() for t in _places(grid))
    frequencies = temperature ** -torch.linspace(0, 1, dim // 4, dtype=torch.double)
    x, y = torch.outer(columns, frequencies), torch.outer(rows, frequencies)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)[None].float()


def rotation(
    grid: Grid,
    reference: Grid,
    head_dim: int,
    *,
    prefix: int = 0,
    theta: float = 100.0,
) -> Rotation:
    """Axial 2-D rotary angles as (cos, sin), each (prefix + H·W, head_dim).

    Half of each head turns with the row, half with the column (Heo et al. 2024,
    https://arxiv.org/abs/2403.13298). Places are scaled to the `reference` grid, the one trained
    on, so that another resolution stays within the angles seen in training. Prefix tokens have no
    place and are not turned.
    """
    if head_dim % 4:
        raise ConfigError(
            f"head dimension {head_dim} cannot be rotated in 2-D: use a multiple of 4."
        )
    frequencies = theta ** -(
        torch.arange(0, head_dim // 2, 2, dtype=torch.double) / (head_dim // 2)
    )
    angles = [
        torch.outer(place.flatten().double() * r / g, frequencies)
        for place, r, g in zip(_places(grid), reference, grid, strict=True)
    ]
    table = torch.cat(angles, dim=1).repeat_interleave(2, dim=1)  # neighbours form a pair
    table = F.pad(table, (0, 0, prefix, 0))
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


def _places(grid: Grid) -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return rows, columns
