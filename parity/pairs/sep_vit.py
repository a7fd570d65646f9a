"""SepViT and vit-pytorch's, with the authors' norms and windows."""

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn
from vit_pytorch.sep_vit import ChanLayerNorm
from vit_pytorch.sep_vit import SepViT as TheirSepViT

import vitrail
from parity.maps import conv_of, fill_mlp, fill_norm
from parity.oracle import randomise
from parity.pairs import Pair, Two

SMALL = {
    "image_size": 64, "num_classes": 7, "dim": (16, 32, 64), "depth": (1, 2, 2), "heads": (2, 4, 8),
    "window": (4, 2, 2), "second_window": (4, 4, 0),
}  # fmt: skip


class WithoutToken(nn.Module):
    """Logits of a window that is the whole map, whose token the authors leave out."""

    def forward(self, logits: Tensor) -> Tensor:
        first = torch.arange(logits.shape[-1]) == 0
        return logits.masked_fill(first, -torch.inf)


class Nothing(nn.Module):
    """In place of an MLP where there is none."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


def fill_attention(theirs: nn.Module, norm: nn.Module, ours: nn.Module, map_size: int) -> None:
    """Copies a norm and the attention after it, with one token for all windows, as theirs."""
    fill_norm(theirs.norm, norm)
    theirs.scale = (len(norm.weight) // theirs.heads) ** -0.5
    if hasattr(ours, "window_tokens"):
        theirs.window_size = ours.window[0]
        tokens = ours.window_tokens.weight
        theirs.window_tokens.copy_(tokens[0, 0])
        tokens.copy_(theirs.window_tokens.expand_as(tokens))
        heads, qk = theirs.heads, nn.Linear(ours.token_qk.in_features, ours.token_qk.out_features)
        qk.load_state_dict(ours.token_qk.state_dict())
        theirs.window_tokens_to_qk = nn.Sequential(
            Rearrange("b h n d -> b n (h d)"),
            ours.token_norm,
            nn.GELU(),
            qk,
            Rearrange("b n (two h d) -> b h n (two d)", two=2, h=heads),
        )
        weight, bias, proj = ours.qkv.weight, ours.qkv.bias, ours.proj
    else:
        theirs.window_size = map_size
        theirs.attend.insert(0, WithoutToken())
        q, kv, proj = ours.attention.q, ours.attention.kv, ours.attention.proj
        weight, bias = torch.cat([q.weight, kv.weight]), torch.cat([q.bias, kv.bias])
    theirs.to_qkv = nn.Conv1d(weight.shape[1], weight.shape[0], 1)
    theirs.to_qkv.weight.copy_(weight[..., None])
    theirs.to_qkv.bias.copy_(bias)
    theirs.to_out[0] = conv_of(proj.weight, proj.bias)


@torch.no_grad()
def build(full: bool) -> Two:
    ours = randomise(vitrail.create_model("sepvit_tiny", norm_eps=1e-5, **({} if full else SMALL)))
    config = ours.config
    theirs = TheirSepViT(
        num_classes=config["num_classes"],
        dim=config["dim"][0],
        depth=config["depth"],
        heads=config["heads"],
    )
    for i, (embed, position, transformer) in enumerate(theirs.layers):
        coarsen = ours.blocks[i].downsample if i else ours.patch_embed
        embed.conv.load_state_dict(coarsen.conv.state_dict())
        norm = fill_norm(ChanLayerNorm(config["dim"][i]), coarsen.norm)
        stage = ours.blocks[i]
        position.proj.load_state_dict(stage.position.state_dict())
        for block, (attention, mlp) in zip(stage.blocks, transformer.layers, strict=True):
            fill_attention(attention, block.norm1, block.mixer, ours.grid[0] // 2**i)
            fill_mlp(mlp, block.norm2, block.mlp)
        # the authors' positions stand after the first block
        transformer.layers.insert(1, nn.ModuleList([position.proj, Nothing()]))
        transformer.norm = nn.Identity()
        theirs.layers[i] = nn.ModuleList([nn.Sequential(embed, norm), nn.Identity(), transformer])
    norm = fill_norm(ChanLayerNorm(config["dim"][-1]), ours.norm)
    theirs.mlp_head = nn.Sequential(norm, theirs.mlp_head[0], ours.head)
    return ours, theirs.eval()


PAIRS = [
    Pair(
        "SepViT",
        "vit-pytorch SepViT",
        build,
        ((64, 64),),
        (224, 224),
        "theirs with the authors' heads, windows, norms after convolutions, norm of window tokens, "
        "biases of q, k and v, and positions after the first block; ours with equal window tokens",
    )
]
