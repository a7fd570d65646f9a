import torch
from torch import Tensor


def rollout(weights: list[Tensor]) -> Tensor:
    """Attention weights of all layers, first layer first, each (B, heads, N, N) -> (B, N - 1)"""
    # <write>
    # en: 1. Start from the identity (1, N, N): before any layer a token holds itself.
    # zh: 1. 从单位矩阵 (1, N, N) 开始：经过任何层之前，token 里只有它自己。
    result = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)[None]
    for layer in weights:
        # en: 2. The mean over heads: (B, N, N).
        # zh: 2. 对各个头取平均：(B, N, N)。
        mean = layer.mean(dim=1)
        # en: 3. The residual connection passes a token on: half and half with the identity.
        # zh: 3. 残差连接会原样传递 token：与单位矩阵各占一半。
        mean = (mean + torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)) / 2
        # en: 4. Rows stay sums of 1. This layer comes after those before: multiply from the left.
        # zh: 4. 每行之和仍为 1。这一层在之前各层之后，所以左乘。
        result = mean @ result
    # en: 5. The class token's row (token 0), without itself.
    # zh: 5. 取分类 token（第 0 个）所在的行，去掉它自己。
    return result[:, 0, 1:]
    # </write>
