from core.attention import Attention
from torch import Tensor, nn


class EncoderBlock(nn.Module):
    """(B, N, D) -> (B, N, D)"""

    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_dim),
            nn.GELU(),
            nn.Linear(mlp_dim, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        # en: First half: attention.
        # zh: 前半：注意力。
        y = self.norm1(x)
        x = x + self.attention(y)
        # en: Second half: the MLP.
        # zh: 后半：MLP。
        y = self.norm2(x)
        x = x + self.mlp(y)
        return x
