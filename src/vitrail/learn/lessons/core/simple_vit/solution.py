from core.block import Block
from core.patch_embed import PatchEmbed
from core.sincos import positions
from torch import Tensor, nn


class SimpleViT(nn.Module):
    def __init__(
        self, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        super().__init__()
        self.patch_size, self.dim = patch_size, dim
        # <write>
        # en: self.patch_embed (3 channels), self.blocks, self.norm (eps=1e-6), self.head.
        # zh: self.patch_embed（3 通道）、self.blocks、self.norm（eps=1e-6）、self.head。
        self.patch_embed = PatchEmbed(patch_size, 3, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)
        # </write>

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), of any H and W that patches divide -> (B, num_classes)"""
        # <write>
        # en: 1. The grid of these images, in patches.
        # zh: 1. 这批图像的网格：有几行、几列 patch。
        rows = images.shape[2] // self.patch_size
        columns = images.shape[3] // self.patch_size
        # en: 2. Patches, plus the fixed positions of this grid: x (B, N, D).
        # zh: 2. patch 加上这个网格的固定位置编码：x (B, N, D)。
        x = self.patch_embed(images)
        x = x + positions(rows, columns, self.dim).to(x)
        # en: 3. All blocks.
        # zh: 3. 依次通过各个 block。
        for block in self.blocks:
            x = block(x)
        # en: 4. The last norm, then the mean of all tokens: (B, D).
        # zh: 4. 最后的归一化，再对所有 token 取平均：(B, D)。
        x = self.norm(x)
        x = x.mean(dim=1)
        # en: 5. The head.
        # zh: 5. 分类头。
        return self.head(x)
        # </write>
