from core.attention import Attention
from core.mlp import Mlp
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        # <write>
        # en: self.norm1, self.norm2: LayerNorm with eps=1e-6; self.attn and self.mlp: yours.
        # zh: self.norm1、self.norm2：LayerNorm，eps=1e-6；self.attn 和 self.mlp 用你写好的模块。
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_dim)
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        # <write>
        # en: 1. Attention of the normalised tokens, added to the tokens.
        # zh: 1. 归一化后的 token 做注意力，再加回原来的 token。
        x = x + self.attn(self.norm1(x))
        # en: 2. The same with the MLP.
        # zh: 2. 对 MLP 同样处理。
        x = x + self.mlp(self.norm2(x))
        return x
        # </write>
