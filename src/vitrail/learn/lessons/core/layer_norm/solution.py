import torch
from torch import Tensor, nn


class Norm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        # <write>
        # en: self.weight (D,), from ones, and self.bias (D,), from zeros.
        # zh: self.weight (D,)，初始为 1；self.bias (D,)，初始为 0。
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        # <write>
        # en: 1. Mean and variance of each token: (B, N, 1).
        # zh: 1. 每个 token 的均值和方差：(B, N, 1)。
        mean = x.mean(dim=-1, keepdim=True)
        var = (x - mean).square().mean(dim=-1, keepdim=True)
        # en: 2. Normalise.
        # zh: 2. 归一化。
        x = (x - mean) / (var + self.eps).sqrt()
        # en: 3. Weight and bias per channel.
        # zh: 3. 按通道乘权重、加偏置。
        return x * self.weight + self.bias
        # </write>
