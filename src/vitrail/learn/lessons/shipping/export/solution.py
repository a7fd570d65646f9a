import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Images (B, 3, H, W) -> logits (B, classes), as a graph for any B"""

    def __init__(self, num_patches: int, patch_size: int, dim: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, num_patches + 1, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Linear(dim, dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        # en: Images far too bright are scaled down: no pixel is above 1.
        # zh: 过亮的图像按比例缩小，使像素不超过 1。
        largest = images.amax().detach()
        images = images / largest.clamp(min=1.0)
        x = self.embed(images).flatten(2).transpose(1, 2)
        # en: The class token for every image.
        # zh: 为每张图准备分类 token。
        cls = self.cls_token.expand(x.shape[0], -1, -1)
        x = torch.cat([cls, x], dim=1) + self.pos_embed
        x = x + self.mlp(self.norm(x))
        # en: The mean of each image's tokens.
        # zh: 对每张图的 token 取平均。
        x = x.mean(dim=1)
        return self.head(x)
