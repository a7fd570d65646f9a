import torch
from torch import Tensor


def significance(attn: Tensor, v: Tensor) -> Tensor:
    """How much each patch matters to the class token.

    attn (B, heads, 1 + N, 1 + N), weights; v (B, heads, 1 + N, d), values -> (B, N)
    """
    # <write>
    # en: 1. The class token's weights for the patches, without its own: (B, heads, N).
    # zh: 1. 分类 token 对各图像块的权重，不含它自己：(B, heads, N)。
    weights = attn[:, :, 0, 1:]
    # en: 2. Times the length of each patch's value, summed over the heads: (B, N).
    # zh: 2. 乘以每个图像块 value 的长度，对各头求和：(B, N)。
    return (weights * v[:, :, 1:].norm(dim=-1)).sum(dim=1)
    # </write>


def sample(attn: Tensor, v: Tensor, K: int) -> Tensor:
    """The patches that stay: bool (B, N), at most K of them True in a row"""
    scores = significance(attn, v)
    # <write>
    # en: 3. Patches in ascending order of their scores: order (B, N), indices.
    # zh: 3. 按分数升序排列图像块：order (B, N)，即下标。
    order = scores.argsort(dim=1)
    # en: 4. Their distribution function, which ends at 1: cdf (B, N).
    # zh: 4. 累积分布函数，末尾为 1：cdf (B, N)。
    cdf = scores.gather(1, order).cumsum(dim=1)
    cdf = cdf / cdf[:, -1:]
    # en: 5. K points at equal distances: 1 / 2K, 3 / 2K, ... (K,).
    # zh: 5. 等距的 K 个点：1 / 2K、3 / 2K、……，形状 (K,)。
    points = (torch.arange(K, device=attn.device, dtype=attn.dtype) + 0.5) / K
    # en: 6. For each point the patch with the nearest value of the function: index (B, K).
    # zh: 6. 每个点选函数值最接近的图像块：index (B, K)。
    nearest = (cdf[:, None, :] - points[:, None]).abs().argmin(dim=-1)
    index = order.gather(1, nearest)
    # en: 7. True for every patch that was chosen, once or more often: (B, N).
    # zh: 7. 被选中（不论几次）的图像块为 True：(B, N)。
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, index, True)
    # </write>
