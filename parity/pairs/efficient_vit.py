"""EfficientViT, and vit-pytorch's `efficient.ViT` with the mixers of their libraries in it."""

from collections import abc
from unittest import mock

import torch
from linformer import Linformer as TheirLinformer
from nystrom_attention import Nystromformer as TheirNystromformer
from nystrom_attention import nystrom_attention
from torch import Tensor, nn
from vit_pytorch.efficient import ViT as TheirEfficientViT

from parity.from_vit_pytorch import fill_plain
from parity.oracle import randomise
from parity.pairs import Pair, Two
from vitrail.models.efficient_vit import VARIANTS, EfficientViT

SMALL = {
    "image_size": (40, 56), "patch_size": 8, "num_classes": 7,
    "dim": 48, "depth": 2, "heads": 4, "mlp_dim": 4 * 48, "rank": 9,
}  # fmt: skip
FULL = VARIANTS["vit_nystrom_small_patch16_224"].keywords


def build(mixer: str, keywords: dict[str, object], transformer: nn.Module) -> Two:
    """Ours and theirs around the same mixer; `transformer` gets its weights from the caller."""
    ours = randomise(EfficientViT(**{**keywords, "mixer": mixer}, norm_eps=1e-5))
    names = ("image_size", "patch_size", "num_classes", "dim")
    theirs = TheirEfficientViT(**{n: keywords[n] for n in names}, transformer=transformer)
    fill_plain(theirs, ours)
    return ours, theirs.eval()


@torch.no_grad()
def linformer(full: bool) -> Two:
    keywords = FULL if full else SMALL
    tokens = 1 + (14 * 14 if full else 5 * 7)
    dim, heads, depth, rank = (keywords[n] for n in ("dim", "heads", "depth", "rank"))
    transformer = TheirLinformer(dim, tokens, depth, k=rank, heads=heads)
    ours, theirs = build("linformer", keywords, transformer)
    for mine, (attention, mlp) in zip(ours.blocks, transformer.net.layers, strict=True):
        attention.norm.load_state_dict(mine.norm1.state_dict())
        theirs_fn = attention.fn
        for name in "qkv":
            getattr(theirs_fn, f"to_{name}").load_state_dict(getattr(mine.mixer, name).state_dict())
        theirs_fn.proj_k.copy_(mine.mixer.sums[:, :rank])
        theirs_fn.proj_v.copy_(mine.mixer.sums[:, rank:])
        theirs_fn.to_out.load_state_dict(mine.mixer.proj.state_dict())
        mlp.norm.load_state_dict(mine.norm2.state_dict())
        mlp.fn.w1.load_state_dict(mine.mlp.fc1.state_dict())
        mlp.fn.w2.load_state_dict(mine.mlp.fc2.state_dict())
    return ours, theirs


def inverse_of_each(a: Tensor, iterations: int) -> Tensor:
    """As theirs, but scaled for each matrix, as in the paper, and not for the batch as a whole."""
    z = a.mT / a.sum(-2).amax(-1)[..., None, None]  # rows sum to 1
    identity = torch.eye(a.shape[-1], dtype=a.dtype)
    for _ in range(iterations):
        az = a @ z
        z = 0.25 * z @ (13 * identity - (az @ (15 * identity - (az @ (7 * identity - az)))))
    return z


class Patched(TheirNystromformer):
    """Theirs with that pseudoinverse."""

    def forward(self, x: Tensor) -> Tensor:
        with mock.patch.object(nystrom_attention, "moore_penrose_iter_pinv", inverse_of_each):
            return super().forward(x)


@torch.no_grad()
def nystrom(full: bool) -> Two:
    # Tokens must be a multiple of landmarks: theirs would pad with tokens that are attended to.
    keywords = {**FULL, "image_size": (256, 224), "rank": 45} if full else SMALL
    dim, heads = keywords["dim"], keywords["heads"]
    transformer = Patched(
        dim=dim, depth=keywords["depth"], dim_head=dim // heads, heads=heads,
        num_landmarks=keywords["rank"],
    )  # fmt: skip
    ours, theirs = build("nystrom", keywords, transformer)
    for mine, (attention, mlp) in zip(ours.blocks, transformer.layers, strict=True):
        attention.norm.load_state_dict(mine.norm1.state_dict())
        mine.mixer.qkv.bias.zero_()
        attention.fn.to_qkv.weight.copy_(mine.mixer.qkv.weight)
        attention.fn.to_out[0].load_state_dict(mine.mixer.proj.state_dict())
        attention.fn.res_conv.load_state_dict(mine.mixer.attend.conv.state_dict())
        mlp.norm.load_state_dict(mine.norm2.state_dict())
        mlp.fn.net[0].load_state_dict(mine.mlp.fc1.state_dict())
        mlp.fn.net[3].load_state_dict(mine.mlp.fc2.state_dict())
    return ours, theirs


class Favor(nn.Module):
    """A layer of Performers as its authors' formula has it, with all weights one by one."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block, mixer = self.block, self.block.mixer
        normed = block.norm1(x)
        heads = mixer.heads
        q, k, v = (
            t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in mixer.qkv(normed).chunk(3, -1)
        )
        weights = self.phi(q, (-1,)) @ self.phi(k, (-2, -1)).mT
        weights = weights / weights.sum(-1, keepdim=True)
        x = x + mixer.proj((weights @ v).transpose(1, 2).flatten(2))
        return x + block.mlp(block.norm2(x))

    def phi(self, x: Tensor, stabiliser: tuple[int, ...]) -> Tensor:
        omega = self.block.mixer.attend.omega
        x = x / x.shape[-1] ** 0.25
        u = torch.einsum("bhnd,md->bhnm", x, omega)
        half = (x**2).sum(-1, keepdim=True) / 2
        return (torch.exp(u - half - u.amax(stabiliser, keepdim=True).detach()) + 1e-4) / len(
            omega
        ) ** 0.5


def performer(_full: bool) -> Two:
    transformer = nn.Sequential()
    ours, theirs = build("performer", SMALL, transformer)
    transformer.extend(Favor(block) for block in ours.blocks)
    return ours, theirs


NOTE = "their norms around the patch projection taken out; no biases of q, k and v"


def pair(
    original: str,
    build_one: abc.Callable[[bool], Two],
    full: tuple[int, ...],
    note: str = NOTE,
) -> Pair:
    return Pair("EfficientViT", original, build_one, ((40, 56),), full, note)


PAIRS = [
    pair("vit-pytorch efficient + linformer", linformer, (224, 224)),
    pair(
        "vit-pytorch efficient + nystrom-attention",
        nystrom,
        (256, 224),
        f"{NOTE}; pseudoinverse of each matrix by itself, as in the paper",
    ),
    pair(
        "vit-pytorch efficient + FAVOR+ written out",
        performer,
        (),
        "their norms around the patch projection taken out; performer-pytorch needs distutils",
    ),
]
