"""CrossFormer and vit-pytorch's, with groups as the paper has them."""

import torch
from torch import Tensor, nn
from vit_pytorch.crossformer import CrossFormer as TheirCrossFormer
from vit_pytorch.crossformer import LayerNorm as ChanLayerNorm

import vitrail
from parity.maps import conv_of, fill_mlp, fill_norm
from parity.oracle import randomise
from parity.pairs import Pair, Two

# Heads of 32 channels and four stages, which vit-pytorch's has to have.
SMALL = {
    "image_size": 64, "num_classes": 7, "dim": (32, 64, 96, 128), "depth": (2, 2, 4, 2),
    "heads": (1, 2, 3, 4), "window": 4,
}  # fmt: skip


class Inner(nn.Module):
    """The offsets (−w … w)² that theirs gives its MLP, without the outermost: there are none."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        self.like = [like]  # not a child

    def forward(self, offsets: Tensor) -> Tensor:
        side = int(len(offsets) ** 0.5)
        inner = offsets.view(side, side, 2)[1:-1, 1:-1].reshape(-1, 2)
        return inner.to(self.like[0].weight.dtype)


def fill_group(theirs: nn.Module, norm: nn.Module, ours: nn.Module) -> None:
    """Copies a norm and the attention after it; theirs has one bias for all heads, and wrong."""
    fill_norm(theirs.norm, norm)
    qkv, proj = ours.attention.qkv, ours.attention.proj
    theirs.to_qkv, theirs.to_out = (conv_of(part.weight, part.bias) for part in (qkv, proj))
    theirs.dpb = nn.Sequential(Inner(ours.bias.mlp[0]), ours.bias.mlp, nn.Flatten(0))
    heads = torch.arange(theirs.heads)[:, None, None]
    theirs.rel_pos_indices = ours.bias.index * theirs.heads + heads


def fill_embed(theirs: nn.Module, ours: nn.Module) -> nn.Module:
    for conv, mine in zip(theirs.convs, ours.convs, strict=True):
        conv.load_state_dict(mine.state_dict())
    return theirs


@torch.no_grad()
def build(full: bool) -> Two:
    ours = randomise(vitrail.create_model("crossformer_small", **({} if full else SMALL)))
    config = ours.config
    windows = tuple(stage.blocks[0].mixer.window[0] for stage in ours.blocks)
    theirs = TheirCrossFormer(
        num_classes=config["num_classes"],
        dim=config["dim"],
        depth=tuple(count // 2 for count in config["depth"]),  # pairs of blocks
        local_window_size=windows,
        global_window_size=windows,
    )
    for i, (embed, transformer) in enumerate(theirs.layers):
        dim_in, norm = embed.convs[0].in_channels, ChanLayerNorm(config["dim"][0])
        if i:
            mine, merge = ours.blocks[i].downsample
            coarser = [fill_norm(ChanLayerNorm(dim_in), mine), fill_embed(embed, merge)]
        else:
            coarser = [fill_embed(embed, ours.patch_embed), fill_norm(norm, ours.embed_norm)]
        theirs.layers[i][0] = nn.Sequential(*coarser)
        layers = [module for layer in transformer.layers for module in layer]
        for j, block in enumerate(ours.blocks[i].blocks):
            fill_group(layers[2 * j], block.norm1, block.mixer)
            fill_mlp(layers[2 * j + 1], block.norm2, block.mlp)
    norm = fill_norm(ChanLayerNorm(config["dim"][-1]), ours.norm)
    theirs.to_logits = nn.Sequential(norm, theirs.to_logits[0], ours.head)
    return ours, theirs.eval()


PAIRS = [
    Pair(
        "CrossFormer",
        "vit-pytorch CrossFormer",
        build,
        ((64, 64), (128, 64)),
        (224, 224),
        "theirs with the authors' norms, biases of q, k and v, groups as large far as near, and "
        "our MLP for offsets, one bias a head, on the offsets that there are",
    )
]
