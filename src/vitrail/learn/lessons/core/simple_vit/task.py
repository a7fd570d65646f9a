"""`models/simple_vit.py` is the same model; it is told an image size, and takes others."""

import torch

import vitrail
from vitrail.learn import Case, Claim, Task


def library(patch_size: int, **more):
    return vitrail.SimpleViT((2 * patch_size, 3 * patch_size), patch_size, **more)


def rename(state):
    return {
        name.replace("patch_embed.", "patch_embed.proj.").replace(".mixer.", ".attn."): value
        for name, value in state.items()
    }


def sizes(patch_size: int, num_classes: int, depth: int, dim: int = 8):
    return {
        "patch_size": patch_size, "num_classes": num_classes, "dim": dim, "depth": depth,
        "heads": 2, "mlp_dim": 12,
    }  # fmt: skip


def images(*shape: int):
    return lambda: (torch.randn(shape),)


def base_parameters(model) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in model(16, 1000, 768, 12, 12, 3072).parameters())


def any_size(model) -> list[list[int]]:
    """Shapes of the logits of images of several sizes, by one model."""
    torch.manual_seed(0)
    built = model(4, 3, 8, 1, 2, 8)
    return [list(built(torch.randn(1, 3, h, w)).shape) for h, w in ((4, 20), (16, 8))]


TASK = Task(
    subject="SimpleViT",
    cases=(
        Case("B=1, 8 x 12, depth=2", images(1, 3, 8, 12), sizes(4, 5, 2)),
        Case("B=3, 9 x 6, depth=1", images(3, 3, 9, 6), sizes(3, 4, 1, 12)),
    ),
    reference=library,
    weights=rename,
    claims=(
        Claim(
            "SimpleViT-Base has 86,415,592 parameters.",
            "SimpleViT-Base 有 86,415,592 个参数。",
            base_parameters,
        ),
        Claim(
            "One model takes images of any size that patches divide.",
            "同一个模型能接受任何可被 patch 整除的图像。",
            any_size,
        ),
    ),
)
