import torch
from torch import Tensor


def contractions(
    x: Tensor, y: Tensor, heads: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x (B, N, D), y (B, M, D), heads (B, H, N, E), weight (D, K) -> four results, see below"""
    # <write>
    # en: 1. "bnd,dk->bnk": a linear layer, (B, N, K).
    # zh: 1. "bnd,dk->bnk"：线性层，(B, N, K)。
    linear = torch.einsum("bnd,dk->bnk", x, weight)
    # en: 2. "bnd,bmd->bnm": products of all tokens of x with all of y, (B, N, M).
    # zh: 2. "bnd,bmd->bnm"：x 的每个 token 与 y 的每个 token 的内积，(B, N, M)。
    products = torch.einsum("bnd,bmd->bnm", x, y)
    # en: 3. "bnd->bd": the sum over tokens, (B, D).
    # zh: 3. "bnd->bd"：对 token 求和，(B, D)。
    total = torch.einsum("bnd->bd", x)
    # en: 4. "bhne->bnhe": heads behind tokens, so that they can be merged, (B, N, H, E).
    # zh: 4. "bhne->bnhe"：把头移到 token 之后，以便合并，(B, N, H, E)。
    merged = torch.einsum("bhne->bnhe", heads)
    return linear, products, total, merged
    # </write>
