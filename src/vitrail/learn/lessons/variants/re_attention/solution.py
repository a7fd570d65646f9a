import torch
from torch import Tensor, nn


class ReAttention(nn.Module):
    def __init__(self, heads: int) -> None:
        super().__init__()
        # <write>
        # en: self.theta (heads, heads), random, and self.theta_bias (heads,), zeros: parameters.
        # zh: 两个参数：self.theta (heads, heads)，随机初始化；self.theta_bias (heads,)，初始为 0。
        self.theta = nn.Parameter(torch.randn(heads, heads))
        self.theta_bias = nn.Parameter(torch.zeros(heads))
        # en: self.norm: a LayerNorm over the heads, with PyTorch's own eps.
        # zh: self.norm：沿“头”这一维的 LayerNorm，eps 用默认值。
        self.norm = nn.LayerNorm(heads)
        # </write>

    def forward(self, maps: Tensor) -> Tensor:
        """Attention weights after the softmax (B, heads, N, N) -> (B, heads, N, N)"""
        # <write>
        # en: 1. The heads to the last axis: (B, N, N, heads).
        # zh: 1. 把头移到最后一维：(B, N, N, heads)。
        maps = maps.permute(0, 2, 3, 1)
        # en: 2. Mix the maps: new map g = sum over h of theta[h, g] * map h, plus theta_bias[g].
        # zh: 2. 混合：新图 g = 对 h 求和 theta[h, g] * 图 h，再加 theta_bias[g]。
        maps = maps @ self.theta + self.theta_bias
        # en: 3. Normalize over the heads.
        # zh: 3. 沿头归一化。
        maps = self.norm(maps)
        # en: 4. The heads back in front: (B, heads, N, N).
        # zh: 4. 头移回前面：(B, heads, N, N)。
        return maps.permute(0, 3, 1, 2)
        # </write>
