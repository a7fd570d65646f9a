"""The feed-forward half of a transformer block."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitrail.layers.linear import Linear


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), an approximation of GELU (Hendrycks & Gimpel 2016,
    https://arxiv.org/abs/1606.08415) that OpenAI's CLIP is trained with.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (...) → (...)."""
        return x * torch.sigmoid(1.702 * x)


# Activations by the names of a keyword. A checkpoint needs its own: they differ by up to 0.02.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "quick_gelu": QuickGELU,
    "gelu_tanh": functools.partial(nn.GELU, approximate="tanh"),
}


class Mlp(nn.Module):
    """Linear → activation → Linear, on every token alike. `activation`: GELU if None."""

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        dropout: float = 0.0,
        *,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.activation = nn.GELU() if activation is None else activation
        self.fc2 = Linear(hidden_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        hidden = self.fc1(x)
        needed = torch.is_grad_enabled() or self.fc1._forward_hooks
        if isinstance(self.activation, nn.GELU) and not needed:
            # In place: a large allocation less, some percent of a ViT's time.
            hidden = torch.ops.aten.gelu_(hidden, approximate=self.activation.approximate)
        else:
            hidden = self.activation(hidden)
        return self.dropout(self.fc2(self.dropout(hidden)))
