from torch import Tensor, nn


class SpatialReductionAttention(nn.Module):
    def __init__(self, dim: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        # <write>
        # en: self.reduce: a convolution that makes one cell of ratio x ratio cells.
        # zh: self.reduce：把 ratio x ratio 个格子变成一个格子的卷积。
        self.reduce = nn.Conv2d(dim, dim, kernel_size=ratio, stride=ratio)
        # en: self.norm: a LayerNorm over the channels, with PyTorch's own eps.
        # zh: self.norm：沿通道的 LayerNorm，eps 用默认值。
        self.norm = nn.LayerNorm(dim)
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) -> (B, H, W, D)"""
        B, H, W, D = x.shape
        # <write>
        # en: 1. The small map, channels last again: (B, H / ratio, W / ratio, D).
        # zh: 1. 缩小的特征图，再把通道移回最后：(B, H / ratio, W / ratio, D)。
        small = self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        # en: 2. Normalized, as a sequence of M cells: (B, M, D).
        # zh: 2. 归一化，展平成 M 个格子的序列：(B, M, D)。
        small = self.norm(small).reshape(B, -1, D)
        # en: 3. Queries of all cells: q (B, heads, H * W, head_dim).
        # zh: 3. 所有格子的 query：q (B, heads, H * W, head_dim)。
        q = self.q(x.reshape(B, H * W, D))
        q = q.reshape(B, H * W, self.heads, self.head_dim).transpose(1, 2)
        # en: 4. Keys and values of the small map: (B, heads, M, head_dim) each.
        # zh: 4. 缩小特征图的 key 与 value：各 (B, heads, M, head_dim)。
        kv = self.kv(small).reshape(B, -1, 2, self.heads, self.head_dim)
        k, v = kv.permute(2, 0, 3, 1, 4)
        # en: 5. Attention: weights (B, heads, H * W, M).
        # zh: 5. 注意力：权重 (B, heads, H * W, M)。
        attn = q @ k.transpose(-2, -1) * self.head_dim**-0.5
        attn = attn.softmax(dim=-1)
        # en: 6. Heads side by side, projection, and a map again: (B, H, W, D).
        # zh: 6. 各头并排，投影，还原成特征图：(B, H, W, D)。
        x = (attn @ v).transpose(1, 2).reshape(B, H * W, D)
        return self.proj(x).reshape(B, H, W, D)
        # </write>
