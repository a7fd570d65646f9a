"""`models/vit.py` is the same model; `create_model("vit_base_patch16_224")` has the same size."""

import re

import torch

import vitrail
from vitrail.learn import Case, Claim, Task

NAMES = {
    r"^patch_embed\.": "patch_embed.proj.",
    r"^class_token\.weight": "tokens.cls_token",
    r"^position\.weight": "tokens.pos_embed",
    r"\.mixer\.": ".attn.",
}


def rename(state):
    renamed = {}
    for name, value in state.items():
        for old, new in NAMES.items():
            name = re.sub(old, new, name)
        renamed[name] = value
    return renamed


def sizes(image_size: int, patch_size: int, num_classes: int, depth: int):
    return {
        "image_size": image_size, "patch_size": patch_size, "num_classes": num_classes,
        "dim": 8, "depth": depth, "heads": 2, "mlp_dim": 12,
    }  # fmt: skip


def images(batch: int, side: int):
    return lambda: (torch.randn(batch, 3, side, side),)


def base_parameters(model) -> list[int]:
    """Parameters of ViT-Base, and without its head."""
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in model(224, 16, classes, 768, 12, 12, 3072).parameters())
            for classes in (1000, 0)
        ]
    return counts


TASK = Task(
    subject="ViT",
    cases=(
        Case("B=1, 8 x 8, depth=2", images(1, 8), sizes(8, 4, 5, 2)),
        Case("B=3, 9 x 9, depth=3", images(3, 9), sizes(9, 3, 4, 3)),
        Case("B=2, num_classes=0", images(2, 6), sizes(6, 3, 0, 1)),
    ),
    reference=vitrail.ViT,
    weights=rename,
    claims=(
        Claim(
            "ViT-Base has 86,567,656 parameters, 85,798,656 without its head of 1000 classes.",
            "ViT-Base 有 86,567,656 个参数；去掉 1000 类的分类头是 85,798,656 个。",
            base_parameters,
        ),
    ),
)
