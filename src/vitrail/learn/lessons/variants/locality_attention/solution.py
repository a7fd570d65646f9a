import torch
from torch import Tensor, nn


class LocalityAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        # <write>
        # en: self.temperature: a learned factor per head, (heads,), that starts from 1 / sqrt(d).
        # zh: self.temperature：每个头一个可学习系数，(heads,)，初值为 1 / sqrt(d)。
        self.temperature = nn.Parameter(torch.full((heads,), (dim // heads) ** -0.5))
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        B, N, D = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        # <write>
        # en: 1. Logits, each head's times its own factor: attn (B, heads, N, N).
        # zh: 1. logits，每个头乘以自己的系数：attn (B, heads, N, N)。
        attn = q @ k.transpose(-2, -1) * self.temperature[:, None, None]
        # en: 2. No token attends to itself: -inf on the diagonal.
        # zh: 2. token 不能关注自己：对角线填 -inf。
        own = torch.eye(N, dtype=torch.bool, device=x.device)
        attn = attn.masked_fill(own, float("-inf"))
        # en: 3. Softmax over the keys.
        # zh: 3. 沿 key 做 softmax。
        attn = attn.softmax(dim=-1)
        # </write>
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, D))
