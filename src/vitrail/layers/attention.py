"""Scaled dot-product attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

`Attend` is the only softmax over tokens in Vitrail, so one tap sees every attention model.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.linear import Linear
from vitrail.layers.position import Rotation, rotate
from vitrail.layers.recording import RecordedMixer


class Attend(RecordedMixer):
    """softmax(q kᵀ · scale) v by a fused kernel, with a tap for those who want to look.

    The fused kernel never shows its weights. When `tap` is set they are computed once more beside
    it and handed over; the output still comes from the fused kernel, so looking changes nothing.

    `scale` is 1 / √d if None. `before` and `after` are modules that map the logits and the weights,
    both (B, H, N, M), to the same shape, as those who mix heads do; no fused kernel has a place for
    them, nor on a CPU for values of another width than the keys, so weights are then computed one
    by one. The tap sees what the softmax gives.
    """

    def __init__(
        self,
        dropout: float = 0.0,
        *,
        scale: float | None = None,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.dropout, self.scale = dropout, scale
        self.before, self.after = before, after

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """q (B, H, N, d), k (B, H, M, d), v (B, H, M, e) → (B, H, N, e).

        bias: (B, H, N, M) or less, added to the logits.
        """
        dropout = self.dropout if self.training else 0.0
        if bias is not None and bias.ndim == 3:
            bias = bias[None]  # fused kernels know two axes, or four
        mixes = self.before is not None or self.after is not None or k.shape[-1] != v.shape[-1]
        if mixes or self.tap is not None:
            weights = self._weights(q, k, bias)
            if self.tap is not None:
                self.tap(weights)
            if mixes:
                weights = weights if self.after is None else self.after(weights)
                return F.dropout(weights, dropout) @ v
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropout, scale=self.scale
        )

    def _weights(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        logits = (q * scale) @ k.transpose(-2, -1)
        logits = logits if bias is None else logits + bias
        logits = logits if self.before is None else self.before(logits)
        return logits.softmax(dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention: one projection to q, k and v, `Attend`, one projection back.

    `qk_norm` normalises each head's queries and keys, which keeps the logits of large models in
    bounds (Dehghani et al. 2023, https://arxiv.org/abs/2302.05442). `bias`: of q, k and v.
    `attend`: another than `Attend(dropout)`, or what stands in for it, from the same arguments.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        dropout: float = 0.0,
        qk_norm: bool = False,
        norm_eps: float = 1e-6,
        bias: bool = True,
        attend: RecordedMixer | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        head_dim = divide(dim, heads)
        self.qkv = Linear(dim, 3 * dim, bias=bias)
        self.q_norm: nn.Module = nn.LayerNorm(head_dim, eps=norm_eps) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(head_dim, eps=norm_eps) if qk_norm else nn.Identity()
        self.attend = Attend(dropout) if attend is None else attend
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, rotation: Rotation | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """x (B, N, D) → (B, N, D).

        `rotation` turns queries and keys by their place in the grid; `bias`, as (B, H, N, N) or
        less, is added to the logits.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        x = self.attend(q, k, v, bias).transpose(1, 2).flatten(2)
        return self.dropout(self.proj(x))


class CrossAttention(nn.Module):
    """Multi-head attention whose queries are of one sequence, keys and values of another.

    `context_dim`: width of the other; None: the same. The rest as in `Attention`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        context_dim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        attend: Attend | None = None,
    ) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads = heads
        self.q = Linear(dim, dim, bias=bias)
        self.kv = Linear(context_dim or dim, 2 * dim, bias=bias)
        self.attend = Attend(dropout) if attend is None else attend
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (B, N, D), context (B, M, C), bias as (B, H, N, M) or less → (B, N, D)."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.attend(q, k, v, bias).transpose(1, 2).flatten(2)
        return self.dropout(self.proj(x))


def divide(dim: int, heads: int) -> int:
    """Channels a head. Raises `ConfigError` if heads do not divide dim."""
    if heads < 1 or dim % heads:
        raise ConfigError(
            f"dim={dim} does not divide into heads={heads}: "
            f"choose heads among the divisors of {dim}."
        )
    return dim // heads
