"""ATSViT and vit-pytorch's `ats_vit`, with the paper's points in the place of its noise."""

from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vit_pytorch import ats_vit

from parity.from_vit_pytorch import fill_blocks, fill_plain
from parity.oracle import randomise
from parity.pairs import Pair, Two
from vitrail.models.ats_vit import VARIANTS, ATSViT, sample_tokens

SMALL = {
    "image_size": 32, "patch_size": 4, "num_classes": 7,
    "dim": 48, "depth": 3, "heads": 4, "mlp_dim": 96, "samples": (0, 40, 12),
}  # fmt: skip


@torch.no_grad()
def build(full: bool) -> Two:
    keywords = VARIANTS["ats_deit_small_patch16_224"].keywords if full else SMALL
    ours = randomise(ATSViT(**keywords, norm_eps=1e-5))
    named = {name: value for name, value in keywords.items() if name != "samples"}
    # A block with as many samples as patches does not sample there, as one with 0 here.
    patches = len(ours.position.weight[0]) - 1
    theirs = ats_vit.ViT(
        **named,
        max_tokens_per_depth=tuple(count or patches for count in keywords["samples"]),
        dim_head=named["dim"] // named["heads"],
    )
    fill_plain(theirs, ours)
    fill_blocks(theirs.transformer, ours.blocks)
    return ours, theirs.eval()


def run(model: nn.Module, images: Tensor) -> Tensor:
    """Its logits, where noise lifts the tokens that `sample_tokens` selects above all others."""
    scores = torch.empty(0)

    def keep_scores(normed: Tensor) -> Tensor:
        nonlocal scores
        scores = normed.detach()
        return scores

    def noise(shape: torch.Size, **options: object) -> Tensor:
        padded = F.pad(scores[:, 1:] == 0, (1, 0))  # no token attends to padding
        index = sample_tokens(scores, shape[1], padded)
        return 1e3 * F.one_hot(index, shape[2]).to(scores)

    with mock.patch.multiple(ats_vit, log=keep_scores, sample_gumbel=noise):
        return model(images)


PAIRS = [
    Pair(
        "ATSViT",
        "vit-pytorch ats_vit",
        build,
        ((32, 32),),
        note="its norms around the patch projection taken out; no biases of q, k and v; the "
        "paper's points instead of its noise",
        run=run,
    )
]
