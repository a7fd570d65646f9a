"""PatchMergerViT and vit-pytorch's `vit_with_patch_merger`."""

import torch
from vit_pytorch.vit_with_patch_merger import ViT as TheirPatchMergerViT

from parity.from_vit_pytorch import fill_attention, fill_mlp, fill_patches
from parity.oracle import randomise
from parity.pairs import Pair, Two
from vitrail.models.patch_merger_vit import VARIANTS, PatchMergerViT

SMALL = {
    "image_size": 32, "patch_size": 8, "num_classes": 7,
    "dim": 48, "depth": 3, "heads": 4, "mlp_dim": 96, "tokens": 5, "merge_after": 2,
}  # fmt: skip
NAMES = {"tokens": "patch_merge_num_tokens", "merge_after": "patch_merge_layer"}


@torch.no_grad()
def build(full: bool) -> Two:
    keywords = VARIANTS["patch_merger_vit_small_patch16_224"].keywords if full else SMALL
    ours = randomise(PatchMergerViT(**keywords, norm_eps=1e-5))
    named = {NAMES.get(name, name): value for name, value in keywords.items()}
    theirs = TheirPatchMergerViT(**named, dim_head=named["dim"] // named["heads"])
    fill_patches(theirs.to_patch_embedding, ours.patch_embed)
    theirs.pos_embedding[:, :-1] = ours.position.weight  # the last row: for a class token
    transformer = theirs.transformer
    for mine, (attention, mlp) in zip(ours.blocks, transformer.layers, strict=True):
        if isinstance(mine, torch.nn.Sequential):
            mine, merger = mine
            transformer.patch_merger.load_state_dict(merger.state_dict())
        fill_attention(attention, mine.norm1, mine.mixer)
        fill_mlp(mlp, mine.norm2, mine.mlp)
    transformer.norm.load_state_dict(ours.norm.state_dict())
    theirs.mlp_head[1].load_state_dict(ours.head.state_dict())
    return ours, theirs.eval()


PAIRS = [
    Pair(
        "PatchMergerViT",
        "vit-pytorch vit_with_patch_merger",
        build,
        ((32, 32),),
        (224, 224),
        "its norms around the patch projection taken out; no biases of q, k and v",
    )
]
