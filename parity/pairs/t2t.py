"""T2T-ViT in vit-pytorch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vit_pytorch.t2t import T2TViT as TheirT2TViT

import vitrail
from parity.from_vit_pytorch import fill_blocks
from parity.oracle import randomise
from parity.pairs import Pair, Two
from vitrail.layers.position import sequence_positions

SMALL = {
    "image_size": 48, "num_classes": 7, "dim": 48, "depth": 3, "heads": 4, "mlp_dim": 96,
    "token_dim": 16,
}  # fmt: skip


class TokenTransformer(nn.Module):
    """The authors', step by step."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim_in), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim_in, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, dim), "fc2": nn.Linear(dim, dim)})
        self.scale = dim_in**-0.5

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, C) → (B, N, D)."""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        weights = torch.softmax(q @ k.transpose(1, 2) * self.scale, dim=-1)
        x = v + self.proj(weights @ v)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


def build(full: bool) -> Two:
    ours = vitrail.create_model("t2t_vit_t_14", **({} if full else SMALL))
    config = ours.config
    named = {name: config[name] for name in SMALL if name != "token_dim"}
    theirs = TheirT2TViT(**named, dim_head=config["dim"] // config["heads"])
    dim, patches = config["token_dim"], theirs.to_patch_embedding
    patches[3], patches[7] = TokenTransformer(147, dim), TokenTransformer(9 * dim, dim)
    patches[12] = nn.Linear(9 * dim, config["dim"])
    randomise(ours)
    with torch.no_grad():
        patches[3].load_state_dict(ours.patch_embed.transformer1.state_dict())
        patches[7].load_state_dict(ours.patch_embed.transformer2.state_dict())
        patches[12].weight.copy_(ours.patch_embed.project.weight.flatten(1))
        patches[12].bias.copy_(ours.patch_embed.project.bias)
        theirs.cls_token.copy_(ours.class_token.weight)
        fill_blocks(theirs.transformer, ours.blocks)
        theirs.transformer.norm.load_state_dict(ours.norm.state_dict())
        theirs.mlp_head.load_state_dict(ours.head.state_dict())
    theirs.pos_embedding.requires_grad_(False)
    return ours, theirs.eval()


def run(theirs: nn.Module, images: Tensor) -> Tensor:
    """Theirs with the paper's positions, in the precision of the images."""
    with torch.no_grad():
        theirs.pos_embedding.copy_(sequence_positions(*theirs.pos_embedding.shape[1:]))
    return theirs(images)


PAIRS = [
    Pair(
        "T2TViT",
        "vit-pytorch T2TViT",
        build,
        ((48, 48),),
        (224, 224),
        "theirs with the paper's positions and the authors' token transformers in place of its own",
        run,
    )
]
