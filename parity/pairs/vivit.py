"""ViViT in transformers, and its factorised forms in vit-pytorch."""

import functools

import torch
import transformers
from torch import Tensor, nn
from vit_pytorch.vivit import ViViT as TheirViViT

import vitrail
from parity.from_vit_pytorch import fill_attention, fill_blocks, fill_mlp, fill_patches
from parity.oracle import randomise
from parity.pairs import Pair, Two, from_transformers, logits


def frames_first(model: nn.Module, videos: Tensor) -> Tensor:
    """How transformers' is run: it takes (B, T, C, H, W)."""
    return logits(model, videos.transpose(1, 2))


def transformers_vivit(full: bool) -> Two:
    small = {
        "image_size": 16, "num_frames": 4, "tubelet_size": [2, 8, 8], "hidden_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "num_labels": 7,
    }  # fmt: skip
    base = {"image_size": 128, "num_frames": 8, "num_labels": 400}
    config = transformers.VivitConfig(**(base if full else small))
    return from_transformers(transformers.VivitForVideoClassification(config))


# Our form, and theirs.
VARIANTS = {
    "factorised-encoder": "factorized_encoder",
    "factorised-attention": "factorized_self_attention",
}
SMALL = {"num_classes": 7, "dim": 48, "heads": 4, "mlp_dim": 96}
FULL = {"num_classes": 1000, "dim": 1024, "heads": 8, "mlp_dim": 2048}  # their README's


def vit_pytorch_vivit(form: str, pool: str, full: bool) -> Two:
    size, patch, depth = ((16, 128, 128), (2, 16, 16), 6) if full else ((4, 16, 24), (2, 8, 8), 2)
    keywords = FULL if full else SMALL
    theirs = TheirViViT(
        **keywords,
        frames=size[0],
        image_size=size[1:],
        frame_patch_size=patch[0],
        image_patch_size=patch[1:],
        spatial_depth=depth,
        temporal_depth=depth,
        dim_head=keywords["dim"] // keywords["heads"],
        variant=VARIANTS[form],
        pool=pool,
    )
    ours = vitrail.create_model(
        "ViViT",
        **keywords,
        image_size=size,
        patch_size=patch,
        depth=(depth, depth) if form == "factorised-encoder" else depth,
        form=form,
        pool=pool,
        norm_eps=1e-5,
    )
    fill(theirs, randomise(ours))
    return ours.eval(), theirs.eval()


@torch.no_grad()
def fill(theirs: nn.Module, ours: nn.Module) -> None:
    """Copies our weights into vit-pytorch's."""
    for module in theirs.modules():
        if isinstance(module, nn.GELU):
            module.approximate = "tanh"
    fill_patches(theirs.to_patch_embedding, ours.patch_embed)
    theirs.mlp_head.load_state_dict(ours.head.state_dict())
    prefix, positions = ours.position.weight.tensor_split([ours.position.prefix], dim=1)
    prefix.zero_()  # their class tokens have no positions
    theirs.pos_embedding.copy_(positions.unflatten(1, (-1, theirs.pos_embedding.shape[2])))
    last = theirs.factorized_transformer if ours.form == "factorised-attention" else None
    if last is not None:
        for mine, (space, time, mlp) in zip(ours.blocks, last.layers, strict=True):
            fill_attention(space, mine.norm1, mine.space)
            fill_attention(time, mine.norm2, mine.time)
            fill_mlp(mlp, mine.norm3, mine.mlp)
    else:
        (depth, _), last = ours.depths, theirs.temporal_transformer
        frames, first = ours.blocks[depth]
        fill_blocks(theirs.spatial_transformer, ours.blocks[:depth])
        theirs.spatial_transformer.norm.load_state_dict(frames.norm.state_dict())
        fill_blocks(last, [first, *ours.blocks[depth + 1 :]])
        frames.position.weight.zero_()
        if ours.class_token is not None:
            theirs.spatial_cls_token.copy_(ours.class_token.weight.flatten())
            theirs.temporal_cls_token.copy_(frames.class_token.weight.flatten())
    last.norm.load_state_dict(ours.norm.state_dict())


def pair(form: str, pool: str, full: tuple[int, ...], note: str) -> Pair:
    return Pair(
        "ViViT",
        f"vit-pytorch ViViT, {VARIANTS[form]}, {pool}",
        functools.partial(vit_pytorch_vivit, form, pool),
        ((4, 16, 24), (2, 16, 24)) if form == "factorised-encoder" else ((4, 16, 24),),
        full,
        "GELU's tanh approximation in theirs, as the authors', norms around the projection taken "
        f"out, no biases of q, k and v; {note}",
    )


README = (16, 128, 128)
ONE_TABLE = "its one table of positions is ours in space for every frame, and ours in time is 0"
PAIRS = [
    Pair(
        "ViViT",
        "transformers Vivit",
        transformers_vivit,
        ((4, 16, 16),),
        (8, 128, 128),
        run=frames_first,
    ),
    pair("factorised-encoder", "cls", README, ONE_TABLE),
    pair("factorised-encoder", "mean", (), ONE_TABLE),
    pair("factorised-attention", "mean", README, "a class token in each frame is not in the paper"),
]
