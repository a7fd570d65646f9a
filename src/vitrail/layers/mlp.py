"""The feed-forward half of a transformer block."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear → GELU → Linear, on every token alike."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        hidden = self.fc1(x)
        if torch.is_grad_enabled() or self.fc1._forward_hooks:
            hidden = F.gelu(hidden)
        else:  # nobody needs it as it was: a large allocation less, some percent of a ViT's time
            hidden = torch.ops.aten.gelu_(hidden)
        return self.dropout(self.fc2(self.dropout(hidden)))
