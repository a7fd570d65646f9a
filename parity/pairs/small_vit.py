"""SmallViT and vit-pytorch's `vit_for_small_dataset`."""

import torch
import torch.nn.functional as F
from torch import Tensor
from vit_pytorch import vit_for_small_dataset

import vitrail
from parity.from_vit_pytorch import channels_last, fill_blocks, fill_head, fill_positions
from parity.oracle import randomise
from parity.pairs import Pair, Two

SMALL = {
    "image_size": 32, "patch_size": 8, "num_classes": 7,
    "dim": 48, "depth": 3, "heads": 4, "mlp_dim": 96,
}  # fmt: skip


class PaperShifts(vit_for_small_dataset.SPT):
    """Theirs with the paper's shifts: half a patch, and diagonal."""

    def forward(self, x: Tensor) -> Tensor:
        half = self.half
        left_up, right_up = (half, -half, half, -half), (-half, half, half, -half)
        left_down, right_down = (half, -half, -half, half), (-half, half, -half, half)
        shifts = [F.pad(x, shift) for shift in (left_up, right_up, left_down, right_down)]
        return self.to_patch_tokens(torch.cat([x, *shifts], dim=1))


def build(full: bool) -> Two:
    ours = vitrail.create_model("sl_vit_patch8_64", norm_eps=1e-5, **({} if full else SMALL))
    named = {name: ours.config[name] for name in SMALL}
    theirs = vit_for_small_dataset.ViT(**named, dim_head=named["dim"] // named["heads"])
    randomise(ours)
    theirs.to_patch_embedding.__class__ = PaperShifts
    theirs.to_patch_embedding.half = named["patch_size"] // 2
    with torch.no_grad():
        embed = ours.patch_embed
        pixels = (5 * 3, *embed.patch)
        _, norm, linear = theirs.to_patch_embedding.to_patch_tokens
        linear.weight.copy_(channels_last(embed.proj.weight.unflatten(1, pixels)).flatten(1))
        linear.bias.copy_(embed.proj.bias)
        for name in ("weight", "bias"):
            mine = getattr(embed.norm, name).unflatten(0, pixels)
            getattr(norm, name).copy_(channels_last(mine[None]).flatten())
        fill_positions(theirs, ours)
        fill_blocks(theirs.transformer, ours.blocks)
        for mine, (attention, _) in zip(ours.blocks, theirs.transformer.layers, strict=True):
            mine.mixer.attend.temperature.fill_(1.0)
            attention.temperature.zero_()
        fill_head(theirs.mlp_head, ours)
    return ours, theirs.eval()


PAIRS = [
    Pair(
        "SmallViT",
        "vit-pytorch vit_for_small_dataset",
        build,
        ((32, 32),),
        (64, 64),
        "the paper's shifts in theirs; all temperatures 1: theirs has one logarithm for all heads",
    )
]
