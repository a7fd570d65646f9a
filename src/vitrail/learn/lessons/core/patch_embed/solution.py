from torch import Tensor, nn


class PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, channels: int, dim: int) -> None:
        super().__init__()
        # <write>
        # en: self.proj: one convolution that reads each patch once, and nothing twice.
        # zh: self.proj：一个卷积，每个图像块恰好读一次，不重不漏。
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch_size, stride=patch_size)
        # </write>

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, D), N = (H / P) * (W / P)"""
        # <write>
        # en: 1. The convolution: x (B, D, H / P, W / P).
        # zh: 1. 卷积：x (B, D, H / P, W / P)。
        x = self.proj(images)
        # en: 2. One axis for all patches, row by row: (B, D, N).
        # zh: 2. 按行把所有图像块排成一维：(B, D, N)。
        x = x.flatten(2)
        # en: 3. Tokens before channels: (B, N, D).
        # zh: 3. token 在前，通道在后：(B, N, D)。
        x = x.transpose(1, 2)
        return x
        # </write>
