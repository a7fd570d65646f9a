from torch import Tensor, nn


class PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, channels: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        # <write>
        # en: self.proj: a linear layer from all numbers of a patch to D.
        # zh: self.proj：线性层，从一个图像块的全部数值映射到 D 维。
        self.proj = nn.Linear(channels * patch_size * patch_size, dim)
        # </write>

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, D), N = (H / P) * (W / P)"""
        B, C, H, W = images.shape
        P = self.patch_size
        # <write>
        # en: 1. Split height and width: x (B, C, H / P, P, W / P, P).
        # zh: 1. 拆开高和宽：x (B, C, H / P, P, W / P, P)。
        x = images.reshape(B, C, H // P, P, W // P, P)
        # en: 2. The grid first, then the pixels of a patch: (B, H / P, W / P, C, P, P).
        # zh: 2. 网格在前，块内像素在后：(B, H / P, W / P, C, P, P)。
        x = x.permute(0, 2, 4, 1, 3, 5)
        # en: 3. One axis for patches, one for the numbers of a patch: (B, N, C * P * P).
        # zh: 3. 图像块合成一维，块内数值合成一维：(B, N, C * P * P)。
        x = x.reshape(B, (H // P) * (W // P), C * P * P)
        # en: 4. Project.
        # zh: 4. 投影。
        return self.proj(x)
        # </write>
