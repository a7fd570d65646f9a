import torch
from torch import Tensor, nn


class Branch(nn.Module):
    def __init__(self, dim: int, rate: float, initial: float = 1e-5) -> None:
        super().__init__()
        self.rate = rate
        # <write>
        # en: self.gamma (D,): LayerScale, a learned factor per channel, which starts at initial.
        # zh: self.gamma (D,)：LayerScale，每个通道一个可学习的系数，初始值为 initial。
        self.gamma = nn.Parameter(torch.full((dim,), initial))
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """The output of a branch (B, N, D) -> (B, N, D), scaled, and in training often left out"""
        # <write>
        # en: 1. LayerScale.
        # zh: 1. LayerScale。
        x = x * self.gamma
        # en: 2. Outside of training nothing is left out.
        # zh: 2. 非训练模式下不丢弃。
        if not self.training or self.rate == 0:
            return x
        # en: 3. One coin per sample: mask (B, 1, 1), 1 with probability 1 - rate.
        # zh: 3. 每个样本抛一次硬币：mask (B, 1, 1)，以 1 - rate 的概率为 1。
        keep = 1 - self.rate
        mask = torch.rand(x.shape[0], 1, 1, device=x.device, dtype=x.dtype) < keep
        # en: 4. What remains grows, so that the mean stays the same.
        # zh: 4. 留下的部分放大，使期望不变。
        return x * mask / keep
        # </write>
