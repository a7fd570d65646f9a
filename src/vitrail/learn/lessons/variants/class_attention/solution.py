from torch import Tensor, nn


class ClassAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        # <write>
        # en: self.q: D -> D, for the class token. self.kv: D -> 2 D, for all tokens.
        # zh: self.q：D -> D，只用于分类 token；self.kv：D -> 2 D，用于所有 token。
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        # en: self.proj: D -> D, at the end.
        # zh: self.proj：D -> D，输出投影。
        self.proj = nn.Linear(dim, dim)
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 1 + N, D), the class token first -> the class token (B, 1, D)"""
        B, M, D = x.shape
        # <write>
        # en: 1. One query, that of the class token: q (B, heads, 1, head_dim).
        # zh: 1. 只有一个 query，来自分类 token：q (B, heads, 1, head_dim)。
        q = self.q(x[:, :1])
        q = q.reshape(B, 1, self.heads, self.head_dim).transpose(1, 2)
        # en: 2. Keys and values of all M = 1 + N tokens: (B, heads, M, head_dim) each.
        # zh: 2. 全部 M = 1 + N 个 token 的 key 与 value：各 (B, heads, M, head_dim)。
        kv = self.kv(x)
        kv = kv.reshape(B, M, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        k, v = kv[0], kv[1]
        # en: 3. Weights (B, heads, 1, M), which sum to 1 over the keys.
        # zh: 3. 注意力权重 (B, heads, 1, M)，沿 key 求和为 1。
        attn = q @ k.transpose(-2, -1) * self.head_dim**-0.5
        attn = attn.softmax(dim=-1)
        # en: 4. The weighted sum, heads side by side: (B, 1, D); then the projection.
        # zh: 4. 加权求和，各头并排：(B, 1, D)；最后做投影。
        token = (attn @ v).transpose(1, 2).reshape(B, 1, D)
        return self.proj(token)
        # </write>
