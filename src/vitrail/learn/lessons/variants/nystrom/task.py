"""`Nystrom` of `layers/linear_attention.py` adds a convolution, which is 0 here."""

import torch

from vitrail.layers.linear_attention import Nystrom
from vitrail.learn import Case, Claim, Task


def heads(batch: int, count: int, tokens: int, dim: int, m: int, iterations: int):
    def draw():
        q, k, v = (torch.randn(batch, count, tokens, dim) for _ in range(3))
        return 1.5 * q, 1.5 * k, v, m, iterations

    return draw


def reference(q, k, v, m, iterations=6):
    module = Nystrom(q.shape[1], m, iterations=iterations, kernel=1).to(q)
    torch.nn.init.zeros_(module.conv.weight)
    return module(q, k, v)


def memory(nystrom):
    """Whether the largest tensor stays below N x N."""
    largest = [0]

    class Sizes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest[0] = max(largest[0], result.numel())
            return result

    with Sizes():
        nystrom(*torch.randn(3, 1, 1, 120, 4), 6)
    return largest[0] < 120 * 120


TASK = Task(
    subject="nystrom",
    cases=(
        Case("B=2, heads=2, N=12, m=4", heads(2, 2, 12, 6, 4, 6)),
        Case("B=1, heads=3, N=10, m=2", heads(1, 3, 10, 4, 2, 3)),
        Case("B=3, heads=1, N=9, m=3, iterations=1", heads(3, 1, 9, 5, 3, 1)),
    ),
    reference=reference,
    claims=(
        Claim(
            "With 120 tokens and 6 landmarks no tensor has 120 x 120 numbers.",
            "120 个 token、6 个地标点时，不应出现 120 x 120 那么大的张量。",
            memory,
        ),
    ),
)
