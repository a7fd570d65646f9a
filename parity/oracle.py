"""What all parity tests share."""

import re
import zlib
from collections.abc import Callable

import torch
from torch import nn


def randomise(
    model: nn.Module,
    seed: int = 0,
    *,
    by_name: bool = False,
    old_name: Callable[[str], str] = str,
) -> nn.Module:
    """Gives every parameter a value that a mistake could not hide behind: no zeros, no ones.

    by_name: it depends on the parameter's name alone, and outlasts a change of their order.
    old_name: the name that a parameter had when the original's outputs were recorded.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if by_name:
                generator.manual_seed(zlib.crc32(old_name(name).encode()))
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim < 2 and "weight" in name:  # norms
                parameter.copy_(1 + 0.2 * noise)
            elif any(part in name for part in ("gamma", "lambda")):  # layer scales
                parameter.copy_(0.5 + 0.2 * noise)
            else:
                parameter.copy_(noise * 0.5 / max((16, *parameter.shape[-1:])) ** 0.5)
            # On a grid, so that a sum of two (a token and its position) is exact in float32.
            parameter.mul_(1024).round_().div_(1024)
        for name, buffer in model.named_buffers():  # what batch norms have seen
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.2, generator=generator)
                buffer.mul_(1024).round_().div_(1024)  # as above
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def position_as_block(name: str) -> str:
    """The old name of a parameter, when a stage's positions were the second entry of its blocks."""

    def next_index(match: re.Match[str]) -> str:
        return f"{match[1]}{int(match[2]) + 1}."

    name = re.sub(r"(blocks\.\d+\.blocks\.)([1-9]\d*)\.", next_index, name)
    return re.sub(r"(blocks\.\d+)\.position\.", r"\1.blocks.1.", name)


def images(*size: int, channels: int = 3, batch: int = 2) -> torch.Tensor:
    """Random images of size (height, width)."""
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def close(ours: torch.Tensor, theirs: torch.Tensor, limit: float = 1e-5) -> None:
    """Fails unless the largest difference is within the limit, and the outputs say something."""
    assert theirs.std() > 0.01, "the original's output is too flat to prove anything"
    difference = (ours - theirs).abs().max().item()
    assert difference <= limit, f"differs by {difference:.2e}, more than {limit:.0e}"
