from torch import Tensor, nn


class TubeletEmbed(nn.Module):
    def __init__(self, frames: int, patch: int, channels: int, dim: int) -> None:
        super().__init__()
        # <write>
        # en: Keep the sizes of a tubelet: `frames` x `patch` x `patch`.
        # zh: 记下 tubelet 的大小：`frames` x `patch` x `patch`。
        self.frames, self.patch = frames, patch
        # en: self.proj: linear, from the pixels of a tubelet to D.
        # zh: self.proj：线性层，从一个 tubelet 的像素到 D。
        self.proj = nn.Linear(channels * frames * patch * patch, dim)
        # </write>

    def forward(self, video: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, N, D), N = T / frames * H / patch * W / patch"""
        # <write>
        B, C, T, H, W = video.shape
        f, p = self.frames, self.patch
        # en: 1. Split each of the three axes: (B, C, T/f, f, H/p, p, W/p, p).
        # zh: 1. 拆开三个轴：(B, C, T/f, f, H/p, p, W/p, p)。
        x = video.reshape(B, C, T // f, f, H // p, p, W // p, p)
        # en: 2. Positions to the front, pixels behind, channels first: (B, t, h, w, C, f, p, p).
        # zh: 2. 位置移到前面，像素移到后面，像素里通道在最前：(B, t, h, w, C, f, p, p)。
        x = x.permute(0, 2, 4, 6, 1, 3, 5, 7)
        # en: 3. Tokens in the order of time, then rows, then columns: (B, N, C * f * p * p).
        # zh: 3. token 先按时间、再按行、再按列排列：(B, N, C * f * p * p)。
        x = x.flatten(4).flatten(1, 3)
        # en: 4. Project.
        # zh: 4. 投影。
        return self.proj(x)
        # </write>
