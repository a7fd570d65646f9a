"""Scaled dot-product attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

`Attend` computes the attention of nearly every model, so that one recorder reads them all.
Attention that is no softmax of all tokens with all tokens, such as Performer's, is a
`RecordedMixer` of its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.linear import Linear
from vitrail.layers.position import Rotation, rotate
from vitrail.layers.recording import RecordedMixer
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import NonNegativeFloat, PositiveInt, Rate


class Attend(RecordedMixer):
    """The core of attention, softmax(scale · q kᵀ + bias) v, by PyTorch's fused kernel.

    The fused kernel does not return its weights. If `recorder` is set, the weights are computed
    once more beside it; the output still comes from the fused kernel, so that recording does not
    change it. With `before` or `after`, or with values of another width than the keys, the fused
    kernel cannot be used, and the weights are computed as one matrix product.

    PyTorch's fused kernels have no second derivatives. A gradient penalty or a Hessian needs
    `with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):` around both passes.

    Args:
        dropout: probability with which an attention weight is set to 0 in training.
        scale: factor of the logits; None for 1 / √d.
        before: module applied to the logits (B, heads, N, M) before the softmax; None for none.
        after: module applied to the weights (B, heads, N, M) after the softmax; None for none. The
            recorder is called with the output of the softmax, before `after`.

    Example:
        >>> Attend()(*torch.zeros(3, 1, 2, 5, 4)).shape
        torch.Size([1, 2, 5, 4])
    """

    weights_have_gradients = True

    @guarded
    def __init__(
        self,
        dropout: Rate = 0.0,
        *,
        scale: float | None = None,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.dropout, self.scale = dropout, scale
        self.before, self.after = before, after

    @guarded_forward
    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """q (B, H, N, d), k (B, H, M, d), v (B, H, M, e), logit bias (B, H, N, M) → (B, H, N, e).

        The bias may lack leading axes, or have 1 in their place.
        """
        dropout = self.dropout if self.training else 0.0
        if bias is not None and bias.ndim == 3:
            bias = bias[None]  # fused kernels accept two axes, or four
        fused = self.before is None and self.after is None and k.shape[-1] == v.shape[-1]
        weights, differentiable = None, self.gradient_recorders > 0 and torch.is_grad_enabled()
        if not fused or self.recorder is not None:
            weights = self._weights(q, k, bias)
            if differentiable and not weights.requires_grad:
                weights.requires_grad_()  # all parameters are frozen
            if self.recorder is not None:
                self.recorder(weights)
            if not fused:
                weights = weights if self.after is None else self.after(weights)
                return F.dropout(weights, dropout) @ v
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropout, scale=self.scale
        )
        if weights is None or not differentiable:
            return out
        mixed = weights @ v  # its gradient, the fused kernel's value
        return out.detach() + (mixed - mixed.detach())

    def _weights(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        logits = (q * scale) @ k.transpose(-2, -1)
        logits = logits if bias is None else logits + bias
        logits = logits if self.before is None else self.before(logits)
        return logits.softmax(dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention.

    One linear layer projects to queries, keys and values, `Attend` mixes the tokens, and another
    linear layer projects back. `qk_norm` keeps the logits of large models bounded (Dehghani et al.
    2023, https://arxiv.org/abs/2302.05442).

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        dropout: dropout rate of the attention weights and of the output.
        qk_norm: whether a LayerNorm normalizes the queries and the keys of each head.
        norm_eps: epsilon of these norms.
        bias: whether the projection to queries, keys and values has a bias.
        attend: module to use instead of `Attend(dropout)`; it is called as
            `attend(q, k, v, bias)`.

    Raises:
        ConfigError: `heads` does not divide `dim`.

    Example:
        >>> Attention(8, heads=2)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    @guarded
    def __init__(
        self,
        dim: PositiveInt,
        heads: int,
        *,
        dropout: Rate = 0.0,
        qk_norm: bool = False,
        norm_eps: NonNegativeFloat = 1e-6,
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

    @property
    def last_linear(self) -> nn.Linear:
        """The linear layer whose output, after dropout, is the module's."""
        return self.proj

    @guarded_forward
    def forward(
        self, x: Tensor, rotation: Rotation | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """x (B, N, D), rotation of q and k, logit bias (B, H, N, N) or less → (B, N, D)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        x = self.attend(q, k, v, bias).transpose(1, 2).flatten(2)
        return self.dropout(self.proj(x))


class CrossAttention(nn.Module):
    """Multi-head attention with the queries of one sequence and the keys and values of another.

    Args:
        dim: width of the tokens that queries come from, and of the output.
        heads: number of heads, a divisor of `dim`.
        context_dim: width of the tokens that keys and values come from; None for `dim`.
        dropout: dropout rate of the attention weights and of the output.
        bias: whether the projections to queries, keys and values have a bias.
        attend: module to use instead of `Attend(dropout)`; it is called as
            `attend(q, k, v, bias)`.

    Raises:
        ConfigError: `heads` does not divide `dim`.

    Example:
        >>> CrossAttention(8, heads=2)(torch.zeros(1, 5, 8), torch.zeros(1, 3, 8)).shape
        torch.Size([1, 5, 8])
    """

    @guarded
    def __init__(
        self,
        dim: PositiveInt,
        heads: int,
        *,
        context_dim: PositiveInt | None = None,
        dropout: Rate = 0.0,
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

    @property
    def last_linear(self) -> nn.Linear:
        """The linear layer whose output, after dropout, is the module's."""
        return self.proj

    @guarded_forward
    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (B, N, D), context (B, M, C), logit bias (B, H, N, M) or less → (B, N, D)."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.attend(q, k, v, bias).transpose(1, 2).flatten(2)
        return self.dropout(self.proj(x))


@guarded
def divide(dim: PositiveInt, heads: int) -> int:
    """Divides the width of a token by the number of heads.

    Args:
        dim: width of a token.
        heads: number of heads.

    Returns:
        The number of channels per head.

    Raises:
        ConfigError: `heads` is not at least 1, or does not divide `dim`.

    Example:
        >>> divide(384, 6)
        64
    """
    if heads < 1 or dim % heads:
        raise ConfigError(
            f"dim={dim} does not divide into heads={heads}: "
            f"choose heads among the divisors of {dim}."
        )
    return dim // heads
