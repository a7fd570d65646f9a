"""A guide's ViT. Vitrail has no such file, so the solution is the reference."""

import torch

from vitrail.learn import Case, Claim, Task


def sizes(num_patches: int, dim: int, heads: int, num_classes: int):
    return {"num_patches": num_patches, "dim": dim, "heads": heads, "num_classes": num_classes}


def tokens(*shape: int):
    return lambda: (torch.randn(shape),)


def initial_scale(model) -> list[float]:
    """Standard deviations of a large table and of a large token."""
    large = model(400, 256, 4, 2), model(1, 1024, 4, 1)
    return [float(p.detach().std()) for p in (large[0].pos_embedding, large[1].cls_token)]


TASK = Task(
    subject="VisionTransformer",
    cases=(
        Case("B=1, N=4, D=8", tokens(1, 4, 8), sizes(4, 8, 2, 3)),
        Case("B=3, N=6, D=6", tokens(3, 6, 6), sizes(6, 6, 3, 5)),
    ),
    claims=(
        Claim(
            "The class token and the positions start with a standard deviation of 0.02.",
            "CLS token 和位置编码的初始标准差应为 0.02。",
            initial_scale,
            tolerance=0.005,
        ),
    ),
)
