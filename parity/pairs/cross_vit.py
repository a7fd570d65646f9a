"""CrossViT in timm and in vit-pytorch."""

import copy
import functools

import torch
from torch import Tensor, nn
from vit_pytorch import cross_vit

from parity.from_vit_pytorch import fill_mlp, fill_patches
from parity.oracle import randomise
from parity.pairs import Pair, Two, from_timm
from vitrail.models.cross_vit import VARIANTS, CrossViT, Fusion

SMALL = {
    "img_size": 60, "patch_size": (12, 16), "embed_dim": (32, 48), "num_heads": (4, 4),
    "depth": [[1, 2, 0], [1, 2, 0]], "img_scale": (1.0, 48 / 60), "mlp_ratio": (2, 2, 1),
    "num_classes": 7,
}  # fmt: skip
MENDED = (
    "theirs mended: no norms around patches and after the blocks of a scale, the token projected "
    "and added as in the paper, patches normalized before attention; no biases of q, k and v"
)


def from_timm_named(full: bool, name: str) -> Two:
    return from_timm(name, **({} if full else SMALL))


class Mended(cross_vit.ProjectInOut):
    """Adds the output of attention to the token in the other width; the caller adds the token."""

    def forward(self, x: Tensor, **context: object) -> Tensor:
        token = self.project_in(x)
        return self.project_out(token + self.fn(token, **context)) - x


def fill(theirs: nn.Module, norm: nn.Module, mixer: nn.Module, q: Tensor, kv: Tensor) -> None:
    """Copies a norm and the attention after it."""
    theirs.norm.load_state_dict(norm.state_dict())
    theirs.to_q.weight.copy_(q)
    theirs.to_kv.weight.copy_(kv)
    theirs.to_out[0].load_state_dict(mixer.proj.state_dict())


def mended(fusion: Fusion) -> Mended:
    mixer = fusion.mixer
    dim = mixer.proj.weight.shape[0]
    theirs = Mended(1, 1, cross_vit.Attention(dim, mixer.heads, dim // mixer.heads))
    theirs.project_in, theirs.project_out = map(
        copy.deepcopy, (fusion.project_in, fusion.project_out)
    )
    fn = theirs.fn
    fill(fn, fusion.norm, mixer, mixer.q.weight, mixer.kv.weight)
    fn.to_q, fn.to_kv = nn.Sequential(fn.norm, fn.to_q), nn.Sequential(fn.norm, fn.to_kv)
    fn.norm = nn.Identity()
    return theirs


@torch.no_grad()
def vit_pytorch(full: bool) -> Two:
    keywords = dict(VARIANTS["crossvit_tiny_240"].keywords) | {"scale": 1.0, "norm_eps": 1e-5}
    if not full:
        keywords |= {"image_size": 48, "dim": (32, 48), "heads": 4, "num_classes": 7}
    ours = randomise(CrossViT(**keywords))
    names = ("sm", "lg")
    theirs = cross_vit.CrossViT(
        **{name: keywords[name] for name in ("image_size", "num_classes", "depth")},
        sm_dim=ours.dim[0],
        lg_dim=ours.dim[1],
        dropout=0.0,
        emb_dropout=0.0,
        **{
            f"{name}_enc_{keyword}": value
            for name, dim, depth in zip(names, ours.dim, (1, 4), strict=True)
            for keyword, value in {
                "depth": depth,
                "heads": keywords["heads"],
                "dim_head": dim // keywords["heads"],
                "mlp_dim": 4 * dim,
            }.items()
        },
    )
    for i, name in enumerate(names):
        embedder, mine = getattr(theirs, f"{name}_image_embedder"), ours.scales[i]
        fill_patches(embedder.to_patch_embedding, mine.patch_embed)
        embedder.cls_token.copy_(mine.class_token.weight)
        embedder.pos_embedding.copy_(mine.position.weight)
        norm, head = getattr(theirs, f"{name}_mlp_head")
        norm.load_state_dict(ours.norm[i].state_dict())
        head.weight.copy_(ours.head.scales[i].weight / 2)  # they add what is a mean here
        head.bias.copy_(ours.head.scales[i].bias / 2)
    for block, (*scales, cross) in zip(ours.blocks, theirs.multi_scale_encoder.layers, strict=True):
        for branch, encoder in zip(block.branches, scales, strict=True):
            for mine, (attention, mlp) in zip(branch, encoder.layers, strict=True):
                q, k, v = mine.mixer.qkv.weight.chunk(3)
                fill(attention, mine.norm1, mine.mixer, q, torch.cat([k, v]))
                fill_mlp(mlp, mine.norm2, mine.mlp)
            encoder.norm = nn.Identity()
        cross.layers = nn.ModuleList([nn.ModuleList(mended(f) for f in block.fusions)])
    for name, parameter in ours.named_parameters():
        if name.endswith(("q.bias", "kv.bias", "qkv.bias")):
            parameter.zero_()
    return ours, theirs.eval()


PAIRS = [
    *(
        Pair(
            "CrossViT",
            f"timm {name}",
            functools.partial(from_timm_named, name=name),
            ((60, 60),),
            (240, 240),
        )
        for name in ("crossvit_tiny_240", "crossvit_9_dagger_240")
    ),
    Pair("CrossViT", "vit-pytorch cross_vit", vit_pytorch, ((48, 48),), (240, 240), note=MENDED),
]
