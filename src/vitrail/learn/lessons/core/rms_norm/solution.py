import torch
from torch import Tensor, nn


class RootNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        # <write>
        # en: self.weight (D,), from ones.
        # zh: self.weight (D,)，初始为 1。
        self.weight = nn.Parameter(torch.ones(dim))
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        # <write>
        # en: 1. The mean square of each token: (B, N, 1).
        # zh: 1. 每个 token 的平方均值：(B, N, 1)。
        square = x.square().mean(dim=-1, keepdim=True)
        # en: 2. Divide by its root, and multiply by the weight.
        # zh: 2. 除以它的平方根，再乘以权重。
        return x / (square + self.eps).sqrt() * self.weight
        # </write>
