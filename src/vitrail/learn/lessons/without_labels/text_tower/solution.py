import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TextTower(nn.Module):
    """Token ids (B, L) -> embeddings of length 1 (B, E)"""

    def __init__(
        self, vocabulary: int, context: int, end: int, dim: int, heads: int, dim_out: int
    ) -> None:
        super().__init__()
        self.heads, self.end = heads, end
        self.words = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(torch.randn(context, dim) * 0.01)
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.text_proj = nn.Linear(dim, dim_out, bias=False)

    def attention(self, x: Tensor) -> Tensor:
        B, L, D = x.shape
        qkv = self.qkv(x).reshape(B, L, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * (D // self.heads) ** -0.5
        future = torch.ones(L, L, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
        weights = scores.softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(B, L, D))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.positions[: ids.shape[1]]
        x = x + self.attention(self.norm1(x))
        # en: The caption's one vector.
        # zh: 代表整句的那一个向量。
        index = (ids == self.end).int().argmax(dim=1)
        x = x[torch.arange(len(ids), device=ids.device), index]
        features = self.text_proj(self.norm(x))
        return F.normalize(features, dim=-1)
