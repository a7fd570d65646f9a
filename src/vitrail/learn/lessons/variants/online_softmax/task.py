"""`Attend` of `layers/attention.py` computes the same by PyTorch's fused kernel."""

import torch

from vitrail.layers.attention import Attend
from vitrail.learn import Case, Claim, Task


def heads(batch: int, queries: int, keys: int, dim: int, value_dim: int, block: int):
    def draw():
        q, k = 2 * torch.randn(batch, queries, dim), 2 * torch.randn(batch, keys, dim)
        return q, k, torch.randn(batch, keys, value_dim), block

    return draw


def reference(q, k, v, block):
    return Attend()(q[:, None], k[:, None], v[:, None])[:, 0]


def large(attention_in_blocks):
    """Attention whose logits are thousands."""
    q, k, v = 100 * torch.randn(1, 3, 4), 100 * torch.randn(1, 9, 4), torch.randn(1, 9, 2)
    return attention_in_blocks(q, k, v, 2)


def memory(attention_in_blocks):
    """Whether the largest tensor stays below N x M."""
    largest = [0]

    class Sizes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest[0] = max(largest[0], result.numel())
            return result

    q, k, v = torch.randn(1, 100, 4), torch.randn(1, 120, 4), torch.randn(1, 120, 4)
    with Sizes():
        attention_in_blocks(q, k, v, 10)
    return largest[0] < 100 * 120


TASK = Task(
    subject="attention_in_blocks",
    cases=(
        Case("B=2, N=4, M=9, block=3", heads(2, 4, 9, 6, 5, 3)),
        Case("B=1, N=3, M=7, block=4", heads(1, 3, 7, 4, 4, 4)),
        Case("B=3, N=5, M=5, block=8", heads(3, 5, 5, 2, 3, 8)),
    ),
    reference=reference,
    claims=(
        Claim(
            "Logits of several thousand must not overflow: subtract the largest logit so far.",
            "logit 上千时也不能溢出：要减去目前最大的 logit。",
            large,
            tolerance=1e-4,
        ),
        Claim(
            "For 100 queries and 120 keys no tensor may have 100 x 120 numbers.",
            "100 个 query、120 个 key 时，不应出现 100 x 120 那么大的张量。",
            memory,
        ),
    ),
)
