"""What the monitor measures of activations and attention, each a function of a tensor.

A measure holds a number for each part: "embed", "block 0", ..., "head", or "step" for the whole
step; or a list of numbers, one per head.
"""

import math

import torch
from torch import Tensor

OUTLIER = 5.0  # times the median norm, from which on a token is an outlier
FIRES = 1e-3  # smallest output of a unit that fires; GELU gives less below -3.4
FEW_TOKENS = 8  # queries at least, for what is said about all of them
RANK_TOKENS = 128  # tokens that the rank of features is estimated from


def attention_entropy(weights: Tensor) -> Tensor:
    """Entropy of attention, as a fraction of that of even weights.

    Training becomes unstable where it falls to 0 (Zhai et al. 2023,
    https://arxiv.org/abs/2303.06296).

    Args:
        weights: attention weights (B, heads, N, M), whose rows sum to 1.

    Returns:
        (heads,), the mean over images and queries: 1 for even weights, 0 for a single key.

    Example:
        >>> attention_entropy(torch.full((1, 2, 4, 4), 0.25))
        tensor([1., 1.])
    """
    entropy = torch.special.entr(weights.float()).sum(dim=-1)
    return entropy.mean(dim=(0, 2)) / math.log(max(weights.shape[-1], 2))


def self_attention_share(weights: Tensor) -> Tensor | None:
    """Share of their attention that tokens pay to themselves.

    Args:
        weights: attention weights (B, heads, N, M).

    Returns:
        (heads,), the mean over images and tokens; None where queries are no keys, or are few.

    Example:
        >>> self_attention_share(torch.eye(8).expand(1, 2, 8, 8))
        tensor([1., 1.])
    """
    queries, keys = weights.shape[-2:]
    if queries != keys or queries < FEW_TOKENS:
        return None
    return weights.float().diagonal(dim1=-2, dim2=-1).mean(dim=(0, 2))


def one_token_share(weights: Tensor) -> Tensor | None:
    """Share of all attention that the token gets that gets the most of it.

    Args:
        weights: attention weights (B, heads, N, M).

    Returns:
        (heads,), the mean over images; None where queries are few.

    Example:
        >>> weights = torch.zeros(1, 1, 8, 8)
        >>> weights[..., 3] = 1
        >>> one_token_share(weights)
        tensor([1.])
    """
    if weights.shape[-2] < FEW_TOKENS:
        return None
    return weights.float().mean(dim=-2).amax(dim=-1).mean(dim=0)


def head_outputs(x: Tensor, weight: Tensor, heads: int) -> Tensor:
    """Size of what each head adds to the output of its layer.

    Args:
        x: input of the projection (..., heads · e), the outputs of the heads side by side.
        weight: of the projection (D, heads · e).
        heads: number of heads.

    Returns:
        (heads,), root of the mean square over tokens of the norm of each head's part.

    Example:
        >>> head_outputs(torch.tensor([[3.0, 0.0]]), torch.eye(2), heads=2)
        tensor([3., 0.])
    """
    outputs = x.float().flatten(0, -2).unflatten(1, (heads, -1)).transpose(0, 1)  # (heads, M, e)
    parts = weight.float().unflatten(1, (heads, -1)).transpose(0, 1)  # (heads, D, e)
    # |W x|² summed over tokens is the inner product of the Gram matrices of x and of W.
    squares = ((outputs.mT @ outputs) * (parts.mT @ parts)).sum(dim=(1, 2))
    return (squares.clamp_min(0) / outputs.shape[1]).sqrt()


def dead_share(activations: Tensor) -> Tensor:
    """Share of hidden units that fire for no token.

    Args:
        activations: output of the activation (..., units).

    Returns:
        (), within 0..1.

    Example:
        >>> dead_share(torch.tensor([[0.0, 2.0], [0.0, -0.1]]))
        tensor(0.5000)
    """
    return (activations.abs().flatten(0, -2).amax(dim=0) < FIRES).float().mean()


def outlier_share(norms: Tensor) -> Tensor:
    """Share of patch tokens whose norm is far above the others'.

    Such tokens store what belongs to no patch, and spoil maps of attention; register tokens take
    their part (Darcet et al. 2023, https://arxiv.org/abs/2309.16588).

    Args:
        norms: norms of patch tokens (B, N).

    Returns:
        (), within 0..1.

    Example:
        >>> outlier_share(torch.tensor([[1.0, 1.0, 1.0, 9.0]]))
        tensor(0.2500)
    """
    return (norms > OUTLIER * norms.median()).float().mean()


def effective_rank(tokens: Tensor) -> Tensor:
    """Effective rank (Roy & Vetterli 2007): the exponential of the entropy of singular values.

    Args:
        tokens: (..., M, D), of which at most 128, evenly spread, are taken.

    Returns:
        (...), from 1 where all tokens are multiples of one, to min(M, D).

    Example:
        >>> round(effective_rank(torch.eye(4)).item(), 3)
        4.0
    """
    count = tokens.shape[-2]
    few = tokens[..., :: max(1, math.ceil(count / RANK_TOKENS)), :].double().cpu()
    squares = torch.linalg.eigvalsh(few @ few.mT).clamp_min(0)
    values = squares.sqrt()
    shares = values / values.sum(dim=-1, keepdim=True).clamp_min(1e-30)
    return torch.special.entr(shares).sum(dim=-1).exp().float()
