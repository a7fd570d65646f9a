import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        # <write>
        # en: kind is "mean", "sum", "gate" or "concat". A gate is one number to be learned,
        # en: self.alpha (1,), 0 at first. "concat" has self.proj: linear, 2 D -> D, no bias.
        # zh: kind 为 "mean"、"sum"、"gate" 或 "concat"。gate 是一个可学习的数 self.alpha (1,)，
        # zh: 初始为 0；"concat" 有线性层 self.proj：2 D -> D，无偏置。
        self.kind = kind
        if kind == "gate":
            self.alpha = nn.Parameter(torch.zeros(1))
        if kind == "concat":
            self.proj = nn.Linear(2 * dim, dim, bias=False)
        # </write>

    def forward(self, forward: Tensor, backward: Tensor) -> Tensor:
        """Outputs of both directions (B, N, D); `backward` is in scan order -> (B, N, D)"""
        # <write>
        # en: 1. Bring the backward direction into the order of the tokens.
        # zh: 1. 把反方向的结果翻回 token 的原顺序。
        backward = backward.flip([1])
        # en: 2. Join: mean, sum, sigmoid(alpha) and the rest, or side by side.
        # zh: 2. 融合：平均、相加、按 sigmoid(alpha) 加权，或拼接后投影。
        if self.kind == "mean":
            return (forward + backward) / 2
        if self.kind == "sum":
            return forward + backward
        if self.kind == "gate":
            weight = self.alpha.sigmoid()
            return weight * forward + (1 - weight) * backward
        return self.proj(torch.cat([forward, backward], dim=-1))
        # </write>
