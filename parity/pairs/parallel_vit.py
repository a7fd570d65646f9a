"""ParallelViT, timm's and vit-pytorch's."""

import torch
from vit_pytorch.parallel_vit import ViT as TheirParallelViT

from parity.from_vit_pytorch import fill_attention, fill_mlp, fill_plain
from parity.oracle import randomise
from parity.pairs import Pair, Two, from_timm
from vitrail.models.parallel_vit import VARIANTS, ParallelViT

TIMM = "vit_small_patch16_18x2_224"
SMALL = {
    "image_size": 32, "patch_size": 8, "num_classes": 7,
    "dim": 48, "depth": 2, "heads": 4, "mlp_dim": 96,
}  # fmt: skip
FULL = {**VARIANTS[TIMM].keywords, "layer_scale": None}


def build(full: bool) -> Two:
    ours = randomise(ParallelViT(**(FULL if full else {**SMALL, "branches": 3}), norm_eps=1e-5))
    config = ours.config
    theirs = TheirParallelViT(
        **{name: config[name] for name in SMALL},
        dim_head=config["dim"] // config["heads"],
        num_parallel_branches=config["branches"],
    )
    fill_plain(theirs, ours)
    with torch.no_grad():
        for mine, (attentions, mlps) in zip(ours.blocks, theirs.transformer.layers, strict=True):
            for branch, other in zip(mine.attentions, attentions.fns, strict=True):
                fill_attention(other, branch.norm, branch.layer)
            for branch, other in zip(mine.mlps, mlps.fns, strict=True):
                fill_mlp(other, branch.norm, branch.layer)
    return ours, theirs.eval()


def build_timm(full: bool) -> Two:
    if full:
        return from_timm(TIMM)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
    return from_timm(TIMM, **sizes, num_classes=7)


PAIRS = [
    Pair(
        "ParallelViT",
        "vit-pytorch parallel_vit",
        build,
        ((32, 32),),
        (224, 224),
        "no biases of q, k and v; no LayerScale, which theirs has not",
    ),
    Pair("ParallelViT", f"timm {TIMM}", build_timm, ((32, 32),), (224, 224)),
]
