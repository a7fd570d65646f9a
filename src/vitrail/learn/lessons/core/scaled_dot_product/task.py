"""`Attend` in `layers/attention.py` computes the same by PyTorch's fused kernel."""

import torch
import torch.nn.functional as F
from torch import nn

import vitrail
from vitrail.learn import Case, Swap, Task


def qkv(batch: tuple[int, ...], n: int, m: int, d: int, e: int, scale: float = 1.0):
    def draw():
        q, k = torch.randn(*batch, n, d), torch.randn(*batch, m, d)
        return scale * q, scale * k, torch.randn(*batch, m, e)

    return draw


def model():
    return vitrail.ViT((12, 8), 4, num_classes=3, dim=12, depth=2, heads=2, mlp_dim=16)


class AsAttend(nn.Module):
    """The learner's function, called as the library calls its module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, q, k, v, bias=None):
        return self.function(q, k, v)


TASK = Task(
    subject="attention",
    cases=(
        Case("B=1, N=3, M=5, d=4, e=6", qkv((1,), 3, 5, 4, 6)),
        Case("B=2, heads=3, N=M=4, d=4", qkv((2, 3), 4, 4, 4, 4)),
        Case("1600 x logits, d=8", qkv((2,), 4, 4, 8, 3, scale=40.0)),
    ),
    reference=F.scaled_dot_product_attention,
    swap=Swap(model, "blocks.0.mixer.attend", lambda: torch.randn(3, 3, 12, 8), adapt=AsAttend),
)
