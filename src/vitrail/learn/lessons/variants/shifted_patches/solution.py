import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShiftedPatchEmbed(nn.Module):
    def __init__(self, patch_size: int, channels: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        # <write>
        # en: self.norm: LayerNorm of the numbers of a patch of all five images, eps as it is.
        # zh: self.norm：对五份图像中一个块的全部数值做 LayerNorm，eps 用默认值。
        self.norm = nn.LayerNorm(5 * channels * patch_size**2)
        # en: self.proj: linear, from these numbers to D.
        # zh: self.proj：线性层，把这些数投影到 D 维。
        self.proj = nn.Linear(5 * channels * patch_size**2, dim)
        # </write>

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, D)"""
        H, W = images.shape[2:]
        s = self.patch_size // 2
        # <write>
        # en: 1. Zeros around the image, s pixels on each side: (B, C, H + 2 s, W + 2 s).
        # zh: 1. 四周各补 s 个零：(B, C, H + 2 s, W + 2 s)。
        padded = F.pad(images, (s, s, s, s))
        # en: 2. Five crops of H x W, at these rows and columns: the image itself, then moved
        # en:    down right, down left, up right, up left.
        # zh: 2. 在这些位置裁出五份 H x W：原图，以及向右下、左下、右上、左上移动的图。
        starts = ((s, s), (0, 0), (0, 2 * s), (2 * s, 0), (2 * s, 2 * s))
        crops = [padded[:, :, y : y + H, x : x + W] for y, x in starts]
        # en: 3. As channels of one image: (B, 5 C, H, W).
        # zh: 3. 作为通道拼成一张图：(B, 5 C, H, W)。
        x = torch.cat(crops, dim=1)
        # en: 4. The numbers of each patch, (channel, row, column) in this order: (B, N, 5 C P P).
        # zh: 4. 每个块的数值，依（通道、行、列）排列：(B, N, 5 C P P)。
        x = F.unfold(x, self.patch_size, stride=self.patch_size).transpose(1, 2)
        # en: 5. Norm, then projection.
        # zh: 5. 先归一化，再投影。
        return self.proj(self.norm(x))
        # </write>
