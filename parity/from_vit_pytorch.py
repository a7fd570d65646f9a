"""Our weights in vit-pytorch's models: the parts that its many ViTs have in common.

vit-pytorch normalizes before and after its patch projection, where most papers do not. No weights
make those two layers neutral, so they are removed from it. It has no biases in attention, so ours
are set to zero. Nothing else is changed.
"""

import torch
from torch import Tensor, nn


def fill_patches(theirs: nn.Sequential, ours: nn.Module) -> None:
    """Copies the patch projection; removes the norms before and after theirs."""
    for index, layer in enumerate(theirs):
        if isinstance(layer, nn.LayerNorm):
            theirs[index] = nn.Identity()
        elif isinstance(layer, nn.Linear):
            layer.weight.copy_(channels_last(ours.weight).flatten(1))
            layer.bias.copy_(ours.bias)


def channels_last(patches: Tensor) -> Tensor:
    """(D, C, *size) → (D, *size, C): their patches are read pixel by pixel, ours by channel."""
    return patches.movedim(1, -1)


def fill_attention(theirs: nn.Module, norm: nn.Module, ours: nn.Module) -> None:
    """Copies a norm and the attention after it."""
    theirs.norm.load_state_dict(norm.state_dict())
    theirs.to_qkv.weight.copy_(ours.qkv.weight)
    if ours.qkv.bias is not None:
        ours.qkv.bias.zero_()
    out = theirs.to_out[0] if isinstance(theirs.to_out, nn.Sequential) else theirs.to_out
    out.weight.copy_(ours.proj.weight)
    if out.bias is None:
        ours.proj.bias.zero_()
    else:
        out.bias.copy_(ours.proj.bias)


def fill_mlp(theirs: nn.Module, norm: nn.Module, ours: nn.Module) -> None:
    """Copies a norm and the MLP after it."""
    first, second = (m for m in theirs.net if isinstance(m, nn.Linear))
    theirs.net[0].load_state_dict(norm.state_dict())
    first.load_state_dict(ours.fc1.state_dict())
    second.load_state_dict(ours.fc2.state_dict())


def fill_blocks(theirs: nn.Module, ours: nn.ModuleList) -> None:
    """Copies every block of a transformer."""
    for mine, (attention, mlp) in zip(ours, theirs.layers, strict=True):
        fill_attention(attention, mine.norm1, mine.mixer)
        fill_mlp(mlp, mine.norm2, mine.mlp)


def fill_positions(theirs: nn.Module, ours: nn.Module) -> None:
    """Copies the class token, if there is one, and the positions."""
    if ours.class_token is not None:
        theirs.cls_token.copy_(ours.class_token.weight.reshape(theirs.cls_token.shape))
    theirs.pos_embedding.copy_(ours.position.weight.reshape(theirs.pos_embedding.shape))


def fill_head(theirs: nn.Sequential, ours: nn.Module) -> None:
    """Copies the last norm and the head, which are one module of theirs."""
    theirs[0].load_state_dict(ours.norm.state_dict())
    theirs[1].load_state_dict(ours.head.state_dict())


@torch.no_grad()
def rearranged(ours: nn.Module, theirs: nn.Module) -> None:
    """Copies our patch projection, blocks and last norm into theirs."""
    fill_patches(theirs.to_patch_embedding, ours.patch_embed)
    fill_blocks(theirs.transformer, ours.blocks)
    theirs.transformer.norm.load_state_dict(ours.norm.state_dict())


@torch.no_grad()
def fill_plain(theirs: nn.Module, ours: nn.Module) -> None:
    """Copies all of a ViT but its blocks, for a model whose last norm is in its head."""
    fill_patches(theirs.to_patch_embedding, ours.patch_embed)
    fill_positions(theirs, ours)
    fill_head(theirs.mlp_head, ours)
