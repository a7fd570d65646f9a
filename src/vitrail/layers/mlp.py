"""The feed-forward half of a transformer block."""

import torch
from torch import Tensor, nn

from vitrail.layers.linear import Linear


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
