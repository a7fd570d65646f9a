import torch
from torch import Tensor


def token_pruning(x: Tensor, attn: Tensor, keep_ratio: float = 0.5) -> Tensor:
    """The class token, then the patches that it attends to most, strongest first.

    x (B, 1 + N, D), attn (B, heads, 1 + N, 1 + N) -> (B, 1 + K, D), K = int(keep_ratio * N)
    """
    # <write>
    # en: How important each patch is.
    # zh: 计算每个图像块的重要性。
    cls_attn = attn[:, :, 0, 1:].mean(dim=1)

    # en: Keep the most important ones.
    # zh: 保留最重要的图像块。
    _, idx = torch.topk(cls_attn, int(keep_ratio * cls_attn.size(-1)))

    # en: Take them from the sequence.
    # zh: 从序列中取出它们。
    tokens = idx + 1
    patches = torch.gather(x, dim=1, index=tokens.unsqueeze(-1).expand(-1, -1, x.size(-1)))
    return torch.cat([x[:, :1], patches], dim=1)
    # </write>
