import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        # <write>
        # en: self.fc1 makes a token wider, self.fc2 as wide as before.
        # zh: self.fc1 把 token 变宽，self.fc2 变回原来的宽度。
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        # <write>
        # en: 1. hidden (B, N, hidden_dim)
        # zh: 1. hidden (B, N, hidden_dim)
        hidden = self.fc1(x)
        # en: 2. The exact GELU.
        # zh: 2. 精确的 GELU。
        hidden = F.gelu(hidden)
        # en: 3. Back to D.
        # zh: 3. 回到 D 维。
        return self.fc2(hidden)
        # </write>
