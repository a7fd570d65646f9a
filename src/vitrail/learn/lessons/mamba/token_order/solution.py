import torch
from torch import Tensor


def reorder(tokens: Tensor, cls: int, order: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (B, N, D), position of the class token, order (N - 1,) -> reordered, indices (N,)"""
    # <write>
    # en: 1. Indices of all tokens but the class token, in their order.
    # zh: 1. 除分类 token 之外所有 token 的下标，按原顺序。
    index = torch.arange(tokens.shape[1], device=tokens.device)
    patches = index[index != cls]
    # en: 2. These in the new order; the class token stays where it is.
    # zh: 2. 把它们按新顺序排列，分类 token 留在原位。
    indices = torch.cat([patches[order][:cls], index[cls : cls + 1], patches[order][cls:]])
    # en: 3. The tokens in this order. Position n of the result holds token indices[n].
    # zh: 3. 按此顺序取 token：结果的第 n 位是 tokens 的第 indices[n] 个。
    return tokens[:, indices], indices
    # </write>
