"""NaViT and vit-pytorch's two: one masks a packed sequence, one works on nested tensors."""

import warnings
from collections import abc
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from vit_pytorch import na_vit, na_vit_nested_tensor

from parity.oracle import randomise
from parity.pairs import Pair, Two
from vitrail.models.navit import VARIANTS, NaViT, PackedAttention

SMALL = {
    "image_size": 64, "patch_size": 8, "num_classes": 7,
    "dim": 48, "depth": 2, "heads": 3, "mlp_dim": 80,  # √d = 4: exact in float32
}  # fmt: skip
FULL = VARIANTS["navit_small_patch16_256"].keywords


def masked(full: bool, **more: Any) -> Two:
    """Ours and `na_vit`, without its norms of pixels and of patches."""
    keywords = {**(FULL if full else SMALL), **more}
    theirs = na_vit.NaViT(**keywords, dim_head=keywords["dim"] // keywords["heads"])
    return shared(randomise(NaViT(**keywords, norm_eps=1e-5)), theirs, to_masked)


def nested(full: bool, **more: Any) -> Two:
    """Ours and `na_vit_nested_tensor`, without its norms of pixels and of patches."""
    keywords = {**(FULL if full else SMALL), **more}
    theirs = na_vit_nested_tensor.NaViT(
        **keywords, dim_head=keywords["dim"] // keywords["heads"], token_dropout_prob=0.0
    )
    two = shared(randomise(NaViT(**keywords, norm_eps=1e-5)), theirs, to_nested)
    # It does not add the query to the output of its attention.
    query = two[0].attention_pool.query.weight.detach().flatten()
    theirs.attn_pool.to_out.bias = nn.Parameter(query.clone())
    return two


@torch.no_grad()
def shared(
    ours: nn.Module, theirs: nn.Module, copy: abc.Callable[[PackedAttention, nn.Module], None]
) -> Two:
    """Copies our weights into theirs."""

    def norm(mine: nn.Module, other: nn.Module) -> None:
        next(other.parameters()).copy_(mine.weight)

    pool, patch = ours.attention_pool, theirs.to_patch_embedding
    patch[0], patch[2] = nn.Identity(), nn.Identity()
    patch[1].weight.copy_(ours.patch_embed.weight.flatten(1))
    patch[1].bias.copy_(ours.patch_embed.bias)
    theirs.pos_embed_height.copy_(ours.position.rows)
    theirs.pos_embed_width.copy_(ours.position.columns)
    for block, (attention, mlp) in zip(ours.blocks, theirs.transformer.layers, strict=True):
        norm(block.norm1, attention.norm)
        copy(block.mixer, attention)
        norm(block.norm2, mlp[0])
        mlp[1].load_state_dict(block.mlp.fc1.state_dict())
        mlp[4].load_state_dict(block.mlp.fc2.state_dict())
    norm(ours.norm, theirs.transformer.norm)
    theirs.attn_pool_queries.copy_(pool.query.weight.flatten())
    norm(pool.norm1, theirs.attn_pool.norm)
    copy(pool.mixer, theirs.attn_pool)
    norm(pool.norm2, theirs.mlp_head[0])
    theirs.mlp_head[1].load_state_dict(ours.head.state_dict())
    return ours, theirs.eval()


def to_masked(mine: PackedAttention, other: nn.Module) -> None:
    """Its logits are not divided by √d, so the gain of its queries is."""
    q, k = (norm.weight.unflatten(0, mine.split)[:, None] for norm in (mine.q_norm, mine.k_norm))
    other.q_norm.gamma.copy_(q / mine.split[1] ** 0.5)
    other.k_norm.gamma.copy_(k)
    other.to_q.weight.copy_(mine.q.weight)
    other.to_kv.weight.copy_(mine.kv.weight)
    other.to_out[0].weight.copy_(mine.proj.weight)


def to_nested(mine: PackedAttention, other: nn.Module) -> None:
    """It centers each head's queries and keys, which are centered here; one gain for all."""
    keys, values = mine.kv.weight.chunk(2)
    pairs = ((mine.q_norm, other.query_norm), (mine.k_norm, other.key_norm))
    for weight, (norm, their_norm) in zip((mine.q.weight, keys), pairs, strict=True):
        heads = weight.unflatten(0, mine.split)
        heads.sub_(heads.mean(dim=1, keepdim=True))
        gain = norm.weight[: mine.split[1]].clone()
        norm.weight.copy_(gain.repeat(mine.split[0]))
        their_norm.weight.copy_(gain)
        their_norm.eps = norm.eps
    other.to_queries.weight.copy_(mine.q.weight)
    other.to_keys.weight.copy_(keys)
    other.to_values.weight.copy_(values)
    other.to_out.weight.copy_(mine.proj.weight)


def run_nested(model: nn.Module, images: abc.Sequence[Tensor]) -> Tensor:
    """With a `nested_tensor` that does not cut the gradient to patches, positions and the query.

    On a CPU, PyTorch takes nested tensors apart, and warns that their kind may change.
    """
    attached = mock.patch.object(
        na_vit_nested_tensor, "nested_tensor", torch.nested.as_nested_tensor
    )
    with attached, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")
        return model(list(images))


NORMS = "its norms before and after the patch projection are taken out"
PAIRS = [
    Pair(
        "NaViT",
        "vit-pytorch na_vit",
        masked,
        ((64, 64), (40, 24)),
        (224, 224),
        note=f"{NORMS}; its logits lack 1/√d, which goes into the gain of its queries",
        run=lambda model, images: model(
            [[image] for image in images]
        ),  # one a row: nothing to mask
    ),
    Pair(
        "NaViT",
        "vit-pytorch na_vit_nested_tensor",
        nested,
        ((64, 64), (40, 24)),
        (224, 224),
        note=f"{NORMS}; it centers queries and keys, ours have mean 0; it does not add the query "
        "to what is pooled, a bias does; it cuts the gradient before the blocks, which is mended",
        run=run_nested,
    ),
]
