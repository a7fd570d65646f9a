"""DeepViT and vit-pytorch's."""

import torch
from vit_pytorch.deepvit import DeepViT as TheirDeepViT

import vitrail
from parity.from_vit_pytorch import fill_attention, fill_mlp, fill_plain
from parity.oracle import randomise
from parity.pairs import Pair, Two

SMALL = {"image_size": 32, "patch_size": 8, "num_classes": 7, "dim": 48, "depth": 3, "heads": 4}
SMALL["mlp_dim"] = 96


def build(full: bool) -> Two:
    ours = vitrail.create_model("deepvit_16_patch16_224", norm_eps=1e-5, **({} if full else SMALL))
    config = ours.config
    named = {name: config[name] for name in SMALL}
    theirs = TheirDeepViT(**named, dim_head=config["dim"] // config["heads"])
    randomise(ours)
    fill_plain(theirs, ours)
    with torch.no_grad():
        for mine, (attention, mlp) in zip(ours.blocks, theirs.transformer.layers, strict=True):
            fill_attention(attention, mine.norm1, mine.mixer)
            fill_mlp(mlp, mine.norm2, mine.mlp)
            re_attention = mine.mixer.attend.after
            re_attention.theta_bias.zero_()
            attention.reattn_weights.copy_(re_attention.theta)
            attention.reattn_norm[1].weight.copy_(re_attention.weight)
            attention.reattn_norm[1].bias.copy_(re_attention.bias)
    return ours, theirs.eval()


PAIRS = [
    Pair(
        "DeepViT",
        "vit-pytorch DeepViT",
        build,
        ((32, 32),),
        (224, 224),
        "their norms around the patch projection taken out; no biases of q, k, v and Θ",
    )
]
