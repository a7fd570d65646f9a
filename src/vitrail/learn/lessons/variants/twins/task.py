"""A stage of `models/twins.py` does the same, with an MLP in each block."""

import torch
from torch import nn

import vitrail
from vitrail.layers.attention import Attention
from vitrail.layers.conv import ConditionalPosition
from vitrail.layers.spatial_reduction import ReducedAttention, spatial_reduction
from vitrail.layers.window import WindowAttention
from vitrail.learn import Case, Claim, Task

NAMES = {
    "local_attention.attention.": "local_attention.",
    "global_attention.reduce.conv.": "global_attention.reduce.",
    "global_attention.reduce.norm.": "global_attention.norm.",
    "global_attention.attention.": "global_attention.",
}


class Reference(nn.Module):
    """The library's layers in the order of a stage of Twins-SVT."""

    def __init__(self, dim: int, heads: int, window: tuple[int, int], ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.local_attention = WindowAttention(Attention(dim, heads), window)
        self.position = ConditionalPosition(dim)
        self.global_attention = ReducedAttention(dim, heads, spatial_reduction(dim, ratio))

    def forward(self, x):
        x = self.position(x + self.local_attention(self.norm1(x)))
        return x + self.global_attention(self.norm2(x))


def named(state):
    def own(name: str) -> str:
        for old, new in NAMES.items():
            if name.startswith(old):
                return new + name.removeprefix(old)
        return name.replace("position.conv.", "position.")

    return {own(name): value for name, value in state.items()}


def maps(batch: int, height: int, width: int, dim: int):
    return lambda: (torch.randn(batch, height, width, dim),)


def sizes(dim: int, heads: int, window: tuple[int, int], ratio: int):
    return {"dim": dim, "heads": heads, "window": window, "ratio": ratio}


def in_twins(subject):
    """How far the learner's pair is from a stage of a Twins whose MLPs give 0."""
    model = vitrail.Twins(
        16, 2, num_classes=3, dim=(8,), depth=(2,), heads=(2,), window=2, reduction=(4,),
        mlp_ratio=(2,), norm_eps=1e-5,
    ).eval()  # fmt: skip
    stage = model.blocks[0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        for block in stage.blocks:
            for parameter in block.mlp.parameters():
                parameter.zero_()
        pair = subject(8, 2, (2, 2), 4).eval()
        layers = {
            "norm1": stage.blocks[0].norm1, "local_attention": stage.blocks[0].mixer,
            "position": stage.position, "norm2": stage.blocks[1].norm1,
            "global_attention": stage.blocks[1].mixer,
        }  # fmt: skip
        state = {
            f"{name}.{rest}": parameter
            for name, layer in layers.items()
            for rest, parameter in layer.named_parameters()
        }
        pair.load_state_dict(named(state), strict=False)
        features = model.embed(torch.randn(2, 3, 16, 16))
        return pair(features.to_map()) - stage(features).to_map()


TASK = Task(
    subject="TwinsPair",
    cases=(
        Case("B=2, H=4, W=6, window=(2, 3), ratio=2", maps(2, 4, 6, 8), sizes(8, 2, (2, 3), 2)),
        Case("B=1, H=6, W=3, window=(3, 1), ratio=3", maps(1, 6, 3, 6), sizes(6, 3, (3, 1), 3)),
    ),
    reference=Reference,
    weights=named,
    claims=(
        Claim(
            "In a Twins of the library the stage gives the same.",
            "换进库里的 Twins 之后，该阶段的输出应当不变。",
            in_twins,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
