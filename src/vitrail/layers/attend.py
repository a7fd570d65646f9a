"""Scaled dot-product attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

`Attend` is the only softmax over tokens in Vitrail, so one tap sees every attention model.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.position import Rotation, rotate
from vitrail.layers.tap import Tapped


class Attend(Tapped):
    """softmax(q kᵀ / √d) v by a fused kernel, with a tap for those who want to look.

    The fused kernel never shows its weights. When `tap` is set they are computed once more beside
    it and handed over; the output still comes from the fused kernel, so looking changes nothing.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """q (B, H, N, d), k and v (B, H, M, d), bias as (B, H, N, M) or less → (B, H, N, d)."""
        if self.tap is not None:
            logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            self.tap((logits if bias is None else logits + bias).softmax(dim=-1))
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)


class Attention(nn.Module):
    """Multi-head self-attention: one projection to q, k and v, `Attend`, one projection back.

    `qk_norm` normalises each head's queries and keys, which keeps the logits of large models in
    bounds (Dehghani et al. 2023, https://arxiv.org/abs/2302.05442).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        dropout: float = 0.0,
        qk_norm: bool = False,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ConfigError(
                f"dim={dim} does not divide into heads={heads}: "
                f"choose heads among the divisors of {dim}."
            )
        self.heads = heads
        head_dim = dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(head_dim, eps=norm_eps) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(head_dim, eps=norm_eps) if qk_norm else nn.Identity()
        self.attend = Attend(dropout)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """x (B, N, D) → (B, N, D). `rotation` turns queries and keys by their place in the grid."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        x = self.attend(q, k, v).transpose(1, 2).flatten(2)
        return self.dropout(self.proj(x))
