"""Choosing tokens out of a sequence."""

from torch import Tensor


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """tokens (B, N, D) and index (B, K) → the chosen tokens (B, K, D), in the index's order."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
