from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        # <write>
        # en: Keep the number of heads, and the scale 1 / sqrt(head_dim).
        # zh: 记下头数，以及缩放因子 1 / sqrt(head_dim)。
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        # en: self.qkv: one linear layer, D -> 3 D. self.proj: D -> D. Both have a bias.
        # zh: self.qkv：一个线性层，D -> 3 D；self.proj：D -> D。两者都有偏置。
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        B, N, D = x.shape
        # <write>
        # en: 1. Queries, keys and values at once: qkv (B, N, 3 D).
        # zh: 1. 一次得到 q、k、v：qkv (B, N, 3 D)。
        qkv = self.qkv(x)
        # en: 2. Split the last axis: (B, N, 3, heads, head_dim).
        # zh: 2. 拆开最后一维：(B, N, 3, heads, head_dim)。
        qkv = qkv.reshape(B, N, 3, self.heads, D // self.heads)
        # en: 3. Bring q/k/v and the heads to the front: (3, B, heads, N, head_dim).
        # zh: 3. 把 q/k/v 和头移到前面：(3, B, heads, N, head_dim)。
        qkv = qkv.permute(2, 0, 3, 1, 4)
        # en: 4. Separate them: q, k, v, each (B, heads, N, head_dim).
        # zh: 4. 分开：q、k、v 各为 (B, heads, N, head_dim)。
        q, k, v = qkv[0], qkv[1], qkv[2]
        # en: 5. attn (B, heads, N, N): scaled products, then a softmax over the keys.
        # zh: 5. attn (B, heads, N, N)：缩放点积，再沿 key 所在的轴做 softmax。
        attn = q @ k.transpose(-2, -1) * self.scale
        attn = attn.softmax(dim=-1)
        # en: 6. Weighted sums of the values: x (B, heads, N, head_dim).
        # zh: 6. 对 v 加权求和：x (B, heads, N, head_dim)。
        x = attn @ v
        # en: 7. Merge the heads: (B, N, heads, head_dim), then (B, N, D); then the projection.
        # zh: 7. 合并多头：先 (B, N, heads, head_dim)，再 (B, N, D)；最后过输出投影。
        x = x.transpose(1, 2)
        x = x.reshape(B, N, D)
        return self.proj(x)
        # </write>
