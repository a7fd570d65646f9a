"""RegionViT and vit-pytorch's, with the authors' heads and norms."""

import torch
from torch import nn
from vit_pytorch.regionvit import Attention, ChanLayerNorm
from vit_pytorch.regionvit import RegionViT as TheirRegionViT

import vitrail
from parity.maps import conv_of, fill_norm
from parity.oracle import randomise
from parity.pairs import Pair, Two

SMALL = {
    "image_size": 64, "num_classes": 7, "dim": (32, 64, 128, 128), "depth": (2, 1, 2, 1),
    "heads": (1, 2, 4, 4), "window": 2,
}  # fmt: skip


def stem_of(ours: nn.Module) -> nn.Module:
    """The three convolutions of the local tokens, with channels first."""
    layers: list[nn.Module] = []
    for coarsen in (ours.stem[0], ours.stem[2]):
        norm = fill_norm(ChanLayerNorm(coarsen.conv.out_channels), coarsen.norm)
        layers += [coarsen.conv, norm, nn.GELU()]
    return nn.Sequential(*layers, ours.patch_embed)


def downsample_of(ours: nn.Module, dim_in: int) -> nn.Module:
    """Norm, GELU and the strided convolution, with channels first."""
    conv = nn.Conv2d(dim_in, ours[2].out_channels, 3, 2, 1, groups=dim_in)
    conv.load_state_dict(ours[2].state_dict())
    return nn.Sequential(fill_norm(ChanLayerNorm(dim_in), ours[0]), nn.GELU(), conv)


def fill_stage(theirs: nn.Module, ours: nn.Module, dim: int, heads: int) -> None:
    """Copies the blocks. Theirs have one bias a stage, and one norm for both attentions."""
    first = ours.blocks[0]
    side = 2 * ours.window - 1
    table = first.bias.table.unflatten(0, (side, side)).transpose(0, 1)  # column by column
    theirs.local_rel_pos_bias = nn.Embedding.from_pretrained(table.flatten(0, 1))
    for layer, mine in zip(theirs.layers, ours.blocks, strict=True):
        block = mine.block
        mine.bias.table.copy_(first.bias.table)
        mine.norm.load_state_dict(block.norm1.state_dict())
        attention = Attention(dim, heads=heads, dim_head=dim // heads)
        attention.norm.load_state_dict(block.norm1.state_dict())
        attention.to_qkv = nn.Linear(dim, 3 * dim)
        attention.to_qkv.load_state_dict(block.mixer.qkv.state_dict())
        attention.to_out[0].load_state_dict(block.mixer.proj.state_dict())
        layer[0] = attention
        norm, first_linear, _, _, second_linear = layer[1]
        norm.load_state_dict(block.norm2.state_dict())
        first_linear.load_state_dict(block.mlp.fc1.state_dict())
        second_linear.load_state_dict(block.mlp.fc2.state_dict())


@torch.no_grad()
def build(full: bool) -> Two:
    keywords = {} if full else SMALL
    ours = randomise(vitrail.create_model("regionvit_small_224", norm_eps=1e-5, **keywords))
    config = ours.config
    named = {name: config[name] for name in ("dim", "depth", "num_classes")}
    theirs = TheirRegionViT(**named, window_size=config["window"])
    theirs.local_encoder = stem_of(ours)
    embed = ours.region_embed
    theirs.region_encoder[1] = conv_of(embed.weight.flatten(1), embed.bias)
    for i, stage in enumerate(ours.blocks):
        if i:
            theirs.layers[i][0] = downsample_of(stage.downsample, config["dim"][i - 1])
        fill_stage(theirs.layers[i][2], stage, config["dim"][i], config["heads"][i])
    norm = fill_norm(ChanLayerNorm(config["dim"][-1]), ours.norm)
    theirs.to_logits = nn.Sequential(norm, theirs.to_logits[0], ours.head)
    return ours, theirs.eval()


PAIRS = [
    Pair(
        "RegionViT",
        "vit-pytorch RegionViT",
        build,
        ((64, 64), (128, 64)),
        (224, 224),
        "theirs with the authors' heads, biases of q, k and v, stem and norms before coarser maps; "
        "ours with one bias table a stage and one norm a block for both attentions",
    )
]
