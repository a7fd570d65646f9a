"""The feed-forward half of a transformer block."""

from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear → GELU → Linear, on every token alike."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        return self.dropout(self.fc2(self.dropout(self.act(self.fc1(x)))))
