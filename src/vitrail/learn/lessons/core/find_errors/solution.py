import torch
from torch import Tensor, nn


class VisionTransformer(nn.Module):
    """One block, one file: tokens (B, N, D) of an image -> logits (B, classes)"""

    def __init__(self, num_patches: int, dim: int, heads: int, num_classes: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embedding = nn.Parameter(torch.randn(1, num_patches + 1, dim) * 0.02)
        self.norm1 = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.mlp_head = nn.Linear(dim, num_classes)

    def attention(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        qkv = self.to_qkv(x).reshape(B, N, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        dots = q @ k.transpose(-1, -2) * self.scale
        out = dots.softmax(dim=-1) @ v
        return self.to_out(out.transpose(1, 2).reshape(B, N, D))

    def forward(self, tokens: Tensor) -> Tensor:
        cls_tokens = self.cls_token.expand(tokens.shape[0], -1, -1)
        tokens = tokens + self.pos_embedding[:, 1:]
        x = torch.cat([cls_tokens + self.pos_embedding[:, :1], tokens], dim=1)
        x = x + self.attention(self.norm1(x))
        x = self.norm(x)
        return self.mlp_head(x[:, 0])
