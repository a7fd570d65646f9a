import torch
from torch import Tensor, nn


class SignalTokens(nn.Module):
    def __init__(self, patch: int, stride: int, channels: int, dim: int) -> None:
        super().__init__()
        self.patch, self.stride, self.dim = patch, stride, dim
        # <write>
        # en: self.proj: linear, from the samples of all channels of a patch to D.
        # zh: self.proj：线性层，从一个 patch 所有通道的采样点到 D。
        self.proj = nn.Linear(channels * patch, dim)
        # </write>

    def forward(self, signal: Tensor) -> Tensor:
        """(B, C, L) -> (B, N, D), N = (L - patch) // stride + 1"""
        # <write>
        # en: 1. Windows of `patch` samples, every `stride` samples: (B, C, N, P).
        # zh: 1. 每隔 stride 取一个长为 patch 的窗口：(B, C, N, P)。
        x = signal.unfold(2, self.patch, self.stride)
        # en: 2. One row per patch, channel by channel: (B, N, C * P).
        # zh: 2. 每个 patch 一行，逐通道排列：(B, N, C * P)。
        x = x.transpose(1, 2).flatten(2)
        # en: 3. Project: (B, N, D).
        # zh: 3. 投影：(B, N, D)。
        x = self.proj(x)
        # en: 4. Positions (N, D): D / 2 frequencies from 1 to 1 / 10000; sines, then cosines.
        # zh: 4. 位置编码 (N, D)：D / 2 个频率，从 1 到 1 / 10000；先正弦，后余弦。
        omega = 10_000.0 ** -torch.linspace(0, 1, self.dim // 2, device=x.device, dtype=x.dtype)
        index = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        angles = index[:, None] * omega
        return x + torch.cat([angles.sin(), angles.cos()], dim=1)
        # </write>
