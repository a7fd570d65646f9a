"""ScalableViT and vit-pytorch's, with the authors' modules in their places."""

import torch
from torch import Tensor, nn
from vit_pytorch.scalable_vit import ChanLayerNorm
from vit_pytorch.scalable_vit import ScalableViT as TheirScalableViT

import vitrail
from parity.maps import conv_of, convs_of, fill_mlp, fill_norm
from parity.oracle import randomise
from parity.pairs import Pair, Two

SMALL = {
    "image_size": 64, "num_classes": 7, "dim": (16, 32, 64), "depth": (2, 2, 4),
    "heads": (2, 4, 4), "reduction": (4, 2, 1), "key_ratio": (1.25, 0.5, 1.0), "window": 4,
}  # fmt: skip


class Once(nn.Module):
    """What k and v both read, computed for the first and kept for the second."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.keep_indices = module, None

    def forward(self, x: Tensor) -> Tensor:
        if self.keep_indices is None:
            self.keep_indices = self.module(x)
            return self.keep_indices
        kept, self.keep_indices = self.keep_indices, None
        return kept


def fill_scalable(theirs: nn.Module, norm: nn.Module, ours: nn.Module) -> None:
    """Copies the attention to a coarser map; theirs reads it off one convolution."""
    fill_norm(theirs.norm, norm)
    reduced: list[nn.Module] = []
    if hasattr(ours, "attention"):
        ours = ours.attention
    else:
        dim, key_dim = ours.scale.in_features, ours.scale.out_features
        conv = nn.Conv2d(dim, dim, ours.reduction, ours.reduction, groups=dim)
        conv.load_state_dict(ours.reduce.state_dict())
        scaled = fill_norm(ChanLayerNorm(key_dim), ours.norm)
        wider = conv_of(ours.scale.weight, ours.scale.bias)
        reduced = [Once(nn.Sequential(conv, wider, scaled, nn.GELU()))]
    theirs.to_q = conv_of(ours.q.weight, ours.q.bias)
    to_k, to_v = convs_of(ours.kv, [ours.q.out_features, ours.proj.in_features])
    theirs.to_k = nn.Sequential(*reduced, to_k)
    theirs.to_v = nn.Sequential(*reduced, to_v)
    theirs.to_out[0] = conv_of(ours.proj.weight, ours.proj.bias)


def fill_windowed(theirs: nn.Module, norm: nn.Module, ours: nn.Module) -> None:
    """Copies the windowed attention; their convolution of the values is dense."""
    fill_norm(theirs.norm, norm)
    dim = ours.proj.in_features
    theirs.local_interactive_module = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
    theirs.local_interactive_module.load_state_dict(ours.local.state_dict())
    theirs.to_q, theirs.to_k, theirs.to_v = convs_of(ours.qkv, [dim] * 3)
    theirs.to_out[0] = conv_of(ours.proj.weight, ours.proj.bias)


def embedding(theirs: nn.Conv2d, ours: nn.Module) -> nn.Module:
    """Their convolution, with ours' weights and the norm that theirs lacks."""
    theirs.load_state_dict(ours.conv.state_dict())
    return nn.Sequential(theirs, fill_norm(ChanLayerNorm(theirs.out_channels), ours.norm))


@torch.no_grad()
def build(full: bool) -> Two:
    keywords = {} if full else SMALL
    ours = randomise(
        vitrail.create_model("scalable_vit_small", norm_eps=1e-5, head_dim=0, **keywords)
    )
    config = ours.config
    head_dims = [d // h for d, h in zip(config["dim"], config["heads"], strict=True)]
    ratios = zip(head_dims, config["key_ratio"], config["reduction"], strict=True)
    theirs = TheirScalableViT(
        num_classes=config["num_classes"],
        dim=config["dim"][0],
        depth=tuple(count // 2 for count in config["depth"]),  # pairs of blocks
        heads=config["heads"],
        reduction_factor=config["reduction"],
        window_size=config["window"],
        iwsa_dim_key=tuple(head_dims),
        iwsa_dim_value=tuple(head_dims),
        ssa_dim_key=tuple(int(d * ratio) if r > 1 else d for d, ratio, r in ratios),
        ssa_dim_value=tuple(head_dims),
    )
    theirs.to_patches = embedding(theirs.to_patches, ours.patch_embed)
    for i, (transformer, _) in enumerate(theirs.layers):
        transformer.norm = nn.Identity()
        blocks, peg = ours.blocks[i].blocks, ours.blocks[i].position
        for j, modules in enumerate(transformer.layers):
            scalable, mlp, position, other_mlp, windowed = modules
            first, second = blocks[2 * j], blocks[2 * j + 1]
            fill_windowed(windowed, first.norm1, first.mixer)
            fill_mlp(mlp, first.norm2, first.mlp)
            if position is not None:
                position.proj.load_state_dict(peg.state_dict())
            fill_scalable(scalable, second.norm1, second.mixer)
            fill_mlp(other_mlp, second.norm2, second.mlp)
            ordered = [windowed, mlp, position, scalable, other_mlp]
            transformer.layers[j] = nn.ModuleList(ordered)
        if i + 1 < len(theirs.layers):
            coarser = embedding(theirs.layers[i][1].conv, ours.blocks[i + 1].downsample)
            theirs.layers[i][1] = coarser
    norm = fill_norm(ChanLayerNorm(config["dim"][-1]), ours.norm)
    theirs.mlp_head = nn.Sequential(norm, theirs.mlp_head[0], ours.head)
    return ours, theirs.eval()


PAIRS = [
    Pair(
        "ScalableViT",
        "vit-pytorch ScalableViT",
        build,
        ((64, 64), (128, 64)),
        (224, 224),
        "theirs in the authors' order, with biases, norms after convolutions and the authors' "
        "reduction and local convolution, which are theirs no more; ours with a linear head",
    )
]
