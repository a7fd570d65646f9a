from core.block import Block
from core.class_token_positions import Tokens
from core.patch_embed import PatchEmbed
from torch import Tensor, nn


class ViT(nn.Module):
    def __init__(
        self,
        image_size: int,
        patch_size: int,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
    ) -> None:
        super().__init__()
        # <write>
        # en: self.patch_embed, for images of 3 channels, and self.tokens, of your own parts.
        # zh: self.patch_embed（3 通道图像）和 self.tokens，用你写好的模块。
        self.patch_embed = PatchEmbed(patch_size, 3, dim)
        self.tokens = Tokens((image_size // patch_size) ** 2, dim)
        # en: self.blocks: depth of them.
        # zh: self.blocks：共 depth 个。
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_dim) for _ in range(depth))
        # en: self.norm: LayerNorm, eps=1e-6. self.head: D -> classes; for 0 nn.Identity().
        # zh: self.norm：LayerNorm，eps=1e-6。self.head：D -> 类别数；为 0 时用 nn.Identity()。
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
        # </write>

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_classes)"""
        # <write>
        # en: 1. Patches, then class token and positions: x (B, N + 1, D).
        # zh: 1. 图像块，再加分类 token 和位置编码：x (B, N + 1, D)。
        x = self.patch_embed(images)
        x = self.tokens(x)
        # en: 2. All blocks.
        # zh: 2. 依次通过各个 block。
        for block in self.blocks:
            x = block(x)
        # en: 3. The last norm, and of its result the class token: (B, D).
        # zh: 3. 最后的归一化，取出其中的分类 token：(B, D)。
        x = self.norm(x)
        x = x[:, 0]
        # en: 4. The head.
        # zh: 4. 分类头。
        return self.head(x)
        # </write>
