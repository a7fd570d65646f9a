"""torch counts matrix products itself; two floating point operations are one multiplication."""

import torch
from torch.utils.flop_counter import FlopCounterMode

import vitrail
from vitrail.learn import Case, Claim, Task


def sizes(*numbers: int):
    return lambda: numbers


def counted(multiplications):
    """The sum for a small ViT, and what torch counts while it runs."""
    own = multiplications(32, 8, 24, 3, 40, 7)
    model = vitrail.ViT(32, 8, num_classes=7, dim=24, depth=3, heads=2, mlp_dim=40).eval()
    # Recorded, attention is two products and not one fused kernel.
    with FlopCounterMode(display=False) as counter, vitrail.record(model):
        model(torch.zeros(1, 3, 32, 32, requires_grad=True))
    return [sum(own.values()), counter.get_total_flops() // 2]


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
            "The sum is what torch counts in a real ViT.",
            "总和应与 torch 在真实 ViT 上统计的一致。",
            counted,
            stage="swap",
        ),
    ),
)
