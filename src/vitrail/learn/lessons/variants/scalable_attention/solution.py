import torch.nn.functional as F
from torch import Tensor, nn


class ScalableAttention(nn.Module):
    def __init__(self, dim: int, heads: int, ratio: int, key_dim: int) -> None:
        super().__init__()
        self.heads, self.key_dim = heads, key_dim
        # <write>
        # en: self.q: D -> key_dim.
        # zh: self.q：D -> key_dim。
        self.q = nn.Linear(dim, key_dim)
        # en: self.reduce: convolution, ratio x ratio cells to one, one filter per channel.
        # zh: self.reduce：把 ratio x ratio 个格子变成一个的卷积，每个通道一个卷积核。
        self.reduce = nn.Conv2d(dim, dim, ratio, stride=ratio, groups=dim)
        # en: self.widen: D -> key_dim. self.norm: LayerNorm of key_dim channels, eps as it is.
        # zh: self.widen：D -> key_dim；self.norm：key_dim 个通道的 LayerNorm，eps 用默认值。
        self.widen = nn.Linear(dim, key_dim)
        self.norm = nn.LayerNorm(key_dim)
        # en: self.kv: key_dim -> key_dim + D. self.proj: D -> D.
        # zh: self.kv：key_dim -> key_dim + D；self.proj：D -> D。
        self.kv = nn.Linear(key_dim, key_dim + dim)
        self.proj = nn.Linear(dim, dim)
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) -> (B, H, W, D)"""
        B, H, W, D = x.shape
        # <write>
        # en: 1. Queries of all cells: (B, H * W, key_dim).
        # zh: 1. 所有格子的 query：(B, H * W, key_dim)。
        q = self.q(x.reshape(B, H * W, D))
        # en: 2. Fewer tokens (M = H * W / ratio^2): (B, M, D).
        # zh: 2. 减少 token 数（M = H * W / ratio^2）：(B, M, D)。
        small = self.reduce(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        # en: 3. Another width, norm, GELU: (B, M, key_dim).
        # zh: 3. 换宽度、归一化、GELU：(B, M, key_dim)。
        small = F.gelu(self.norm(self.widen(small)))
        # en: 4. Keys (B, M, key_dim) and values (B, M, D).
        # zh: 4. key (B, M, key_dim) 与 value (B, M, D)。
        k, v = self.kv(small).split([self.key_dim, D], dim=-1)
        # en: 5. Heads: q, k (B, heads, n, key_dim / heads), v (B, heads, M, D / heads).
        # zh: 5. 拆成多头：q、k (B, heads, n, key_dim / heads)，v (B, heads, M, D / heads)。
        q = q.reshape(B, H * W, self.heads, self.key_dim // self.heads).transpose(1, 2)
        k = k.reshape(B, -1, self.heads, self.key_dim // self.heads).transpose(1, 2)
        v = v.reshape(B, -1, self.heads, D // self.heads).transpose(1, 2)
        # en: 6. Attention, scaled by the width of a head's keys.
        # zh: 6. 注意力，按每个头 key 的宽度缩放。
        attn = q @ k.transpose(-2, -1) * (self.key_dim // self.heads) ** -0.5
        x = attn.softmax(dim=-1) @ v
        # en: 7. Heads side by side, projection, map.
        # zh: 7. 各头并排，投影，还原成特征图。
        x = self.proj(x.transpose(1, 2).reshape(B, H * W, D))
        return x.reshape(B, H, W, D)
        # </write>
