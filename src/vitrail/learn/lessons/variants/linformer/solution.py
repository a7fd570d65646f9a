import torch
from torch import Tensor, nn


class Linformer(nn.Module):
    def __init__(self, dim: int, heads: int, tokens: int, rank: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        # <write>
        # en: self.q, self.k, self.v: D -> D without bias. self.proj: D -> D with bias.
        # zh: self.q、self.k、self.v：D -> D，不带偏置；self.proj：D -> D，带偏置。
        self.q = nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(dim, dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        # en: self.E (for keys) and self.F (for values): parameters (tokens, rank).
        # zh: self.E（用于 key）与 self.F（用于 value）：参数，(tokens, rank)。
        self.E = nn.Parameter(torch.randn(tokens, rank) * rank**-0.5)
        self.F = nn.Parameter(torch.randn(tokens, rank) * rank**-0.5)
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), N = tokens"""
        B, N, D = x.shape
        # <write>
        # en: 1. N queries: (B, N, D).
        # zh: 1. N 个 query：(B, N, D)。
        q = self.q(x)
        # en: 2. rank keys and rank values, sums over the tokens: (B, rank, D) each.
        # zh: 2. 对 token 加权求和，得到 rank 个 key 和 rank 个 value：各 (B, rank, D)。
        k = self.E.T @ self.k(x)
        v = self.F.T @ self.v(x)
        # en: 3. Heads: (B, heads, N or rank, head_dim).
        # zh: 3. 拆成多头：(B, heads, N 或 rank, head_dim)。
        q = q.reshape(B, N, self.heads, D // self.heads).transpose(1, 2)
        k = k.reshape(B, -1, self.heads, D // self.heads).transpose(1, 2)
        v = v.reshape(B, -1, self.heads, D // self.heads).transpose(1, 2)
        # en: 4. Attention as always: weights (B, heads, N, rank).
        # zh: 4. 注意力照旧：权重 (B, heads, N, rank)。
        attn = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, D))
        # </write>
