"""`layers/linear_attention.py` holds the same, with E and F in one parameter, `sums`."""

import torch
from torch import nn

import vitrail
from vitrail.layers import linear_attention as library
from vitrail.learn import Case, Claim, Swap, Task


class Reference(library.Linformer):
    """The library's module for a fixed number of tokens."""

    def __init__(self, dim: int, heads: int, tokens: int, rank: int) -> None:
        super().__init__(dim, heads, (tokens,), prefix=0, rank=rank)

    def forward(self, x):
        return super().forward(x, self.grid)


class WithoutGrid(nn.Module):
    """The learner's module, called with the grid as the library's block does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x, *grid):
        return self.module(x)


def split(state):
    rank = state["sums"].shape[1] // 2
    own = {name: value for name, value in state.items() if name != "sums"}
    return {**own, "E": state["sums"][:, :rank], "F": state["sums"][:, rank:]}


def tokens(batch: int, count: int, dim: int):
    return lambda: (torch.randn(batch, count, dim),)


def sizes(dim: int, heads: int, tokens: int, rank: int):
    return {"dim": dim, "heads": heads, "tokens": tokens, "rank": rank}


def model():
    return vitrail.EfficientViT(
        (12, 8), 4, num_classes=3, dim=12, depth=2, heads=3, mlp_dim=16, mixer="linformer", rank=2
    )


def cost(subject):
    """Whether the largest tensor stays below N x N."""
    module = subject(4, 2, 200, 5)
    largest = [0]

    class Sizes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest[0] = max(largest[0], result.numel())
            return result

    with torch.no_grad(), Sizes():
        module(torch.zeros(1, 200, 4))
    return largest[0] < 200 * 200


TASK = Task(
    subject="Linformer",
    cases=(
        Case("B=2, N=7, D=12, rank=3", tokens(2, 7, 12), sizes(12, 3, 7, 3)),
        Case("B=1, N=5, D=8, rank=2", tokens(1, 5, 8), sizes(8, 2, 5, 2)),
        Case("B=3, N=4, D=4, rank=6", tokens(3, 4, 4), sizes(4, 1, 4, 6)),
    ),
    reference=Reference,
    weights=split,
    claims=(
        Claim(
            "With 200 tokens and rank 5 no tensor has 200 x 200 numbers.",
            "200 个 token、rank 为 5 时，不应出现 200 x 200 那么大的张量。",
            cost,
        ),
    ),
    swap=Swap(
        model, "blocks.1.mixer", lambda: torch.randn(3, 3, 12, 8), sizes(12, 3, 7, 2), WithoutGrid
    ),
)
