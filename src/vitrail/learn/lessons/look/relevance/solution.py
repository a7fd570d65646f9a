import torch
from torch import Tensor


def relevance(weights: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Attention of all layers and its gradients, each (B, heads, N, N) -> (B, N - 1)"""
    # <write>
    # en: 1. Every token is relevant to itself, and to no other: the identity (1, N, N).
    # zh: 1. 起初每个 token 只与自己相关：单位矩阵 (1, N, N)。
    result = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)[None]
    for weight, gradient in zip(weights, gradients, strict=True):
        # en: 2. How much each weight raises the logit: gradient times weight, positive part.
        # zh: 2. 每个权重对 logit 的贡献：梯度乘以权重，只留正的部分。
        raised = (gradient * weight).clamp(min=0)
        # en: 3. The mean over heads.
        # zh: 3. 对各个头取平均。
        raised = raised.mean(dim=1)
        # en: 4. Relevance moves on through this layer, and is added to what was there (equation 6).
        # zh: 4. 相关性经过这一层传递，加到原有的上面（式 (6)）。
        result = result + raised @ result
    # en: 5. The class token's row, without itself.
    # zh: 5. 取分类 token 所在的行，去掉它自己。
    return result[:, 0, 1:]
    # </write>
