"""The products of a real ViT are counted while it runs.

torch.utils.flop_counter counts the same, and costs a second: it imports PyTorch's compiler.
"""

import torch
from torch.overrides import TorchFunctionMode

import vitrail
from vitrail.learn import Case, Claim, Task


def sizes(*numbers: int):
    return lambda: numbers


class Counting(TorchFunctionMode):
    """Counts the multiplications of linear layers, convolutions and attention's two products."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        if name in ("linear", "conv2d"):
            self.count += output.numel() * args[1][0].numel()
        elif name == "scaled_dot_product_attention":
            query, key, value = args[:3]
            self.count += query.numel() * key.shape[-2] + output.numel() * value.shape[-2]
        return output


def counted(multiplications):
    """The sum for a small ViT, and what is counted while it runs."""
    own = multiplications(32, 8, 24, 3, 40, 7)
    model = vitrail.ViT(32, 8, num_classes=7, dim=24, depth=3, heads=2, mlp_dim=40).eval()
    with torch.no_grad(), Counting() as counting:
        model(torch.zeros(1, 3, 32, 32))
    return [sum(own.values()), counting.count]


TASK = Task(
    subject="multiplications",
    cases=(
        Case("ViT-Base/16 at 224", sizes(224, 16, 768, 12, 3072, 1000)),
        Case("ViT-Ti/16 at 384", sizes(384, 16, 192, 12, 768, 1000)),
        Case("a tiny model", sizes(12, 4, 8, 2, 20, 3)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
    claims=(
        Claim(
            "The sum is what is counted while a real ViT runs.",
            "总和应与真实 ViT 运行时统计到的一致。",
            counted,
            stage="swap",
        ),
    ),
)
