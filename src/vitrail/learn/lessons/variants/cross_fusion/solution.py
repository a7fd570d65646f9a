import torch
from torch import Tensor, nn
from variants.class_attention import ClassAttention


class CrossFusion(nn.Module):
    def __init__(self, dim: int, other_dim: int, heads: int) -> None:
        super().__init__()
        # <write>
        # en: self.project_in: LayerNorm, GELU, linear layer dim -> other_dim, in a Sequential.
        # zh: self.project_in：LayerNorm、GELU、线性层 dim -> other_dim，放进 Sequential。
        self.project_in = nn.Sequential(nn.LayerNorm(dim), nn.GELU(), nn.Linear(dim, other_dim))
        # en: self.project_out: the same from other_dim to dim.
        # zh: self.project_out：同样的三层，other_dim -> dim。
        self.project_out = nn.Sequential(
            nn.LayerNorm(other_dim), nn.GELU(), nn.Linear(other_dim, dim)
        )
        # en: self.norm and self.attention (class attention) of the other branch's width.
        # en: Every LayerNorm has PyTorch's own eps.
        # zh: self.norm 与 self.attention（类别注意力），宽度都是另一分支的。
        # zh: LayerNorm 的 eps 都用 PyTorch 的默认值。
        self.norm = nn.LayerNorm(other_dim)
        self.attention = ClassAttention(other_dim, heads)
        # </write>

    def forward(self, token: Tensor, patches: Tensor) -> Tensor:
        """token (B, 1, dim), the other branch's patches (B, N, other_dim) -> token (B, 1, dim)"""
        # <write>
        # en: 1. The class token in the other branch's width: (B, 1, other_dim).
        # zh: 1. 把分类 token 投影到另一分支的宽度：(B, 1, other_dim)。
        token = self.project_in(token)
        # en: 2. Token and patches in one sequence, normalized: (B, 1 + N, other_dim).
        # zh: 2. 与图像块拼成一个序列并归一化：(B, 1 + N, other_dim)。
        tokens = self.norm(torch.cat([token, patches], dim=1))
        # en: 3. Class attention, added to the token as it was before the norm.
        # zh: 3. 类别注意力的结果加到归一化之前的 token 上。
        token = token + self.attention(tokens)
        # en: 4. Back to the width of its own branch.
        # zh: 4. 投影回自己分支的宽度。
        return self.project_out(token)
        # </write>
