"""ViT, DeiT and SimpleViT in timm, transformers and vit-pytorch, on one, two and three axes."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from vit_pytorch import simple_vit, simple_vit_1d, simple_vit_3d, vit, vit_1d, vit_3d

import vitrail
from parity.from_vit_pytorch import (
    fill_blocks,
    fill_plain,
    fill_positions,
    rearranged,
)
from parity.oracle import randomise
from parity.pairs import Pair, Two, from_timm, from_transformers

TIMM = {"embed_dim": 48, "depth": 3, "num_heads": 4, "img_size": 32, "patch_size": 8}


def timm_vit(name: str, full: bool) -> Two:
    small = {**TIMM, "num_classes": 7, "dynamic_img_size": True}
    return from_timm(name, **({} if full else small))


TRANSFORMERS = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
    "image_size": 32, "patch_size": 8, "num_labels": 7,
}  # fmt: skip
TINY = {
    "hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768,
    "image_size": 224, "patch_size": 16, "num_labels": 1000,
}  # fmt: skip
SMALL_DINOV2 = {**TINY, "hidden_size": 384, "num_attention_heads": 6, "patch_size": 14}
SMALL_DINOV2["image_size"] = 518
CLASSIFIERS = {
    "ViT": (transformers.ViTConfig, transformers.ViTForImageClassification),
    "DeiT": (transformers.DeiTConfig, transformers.DeiTForImageClassification),
    "DeiT two heads": (
        transformers.DeiTConfig,
        transformers.DeiTForImageClassificationWithTeacher,
    ),
    "DINOv2": (transformers.Dinov2Config, transformers.Dinov2ForImageClassification),
    "DINOv2 registers": (
        transformers.Dinov2WithRegistersConfig,
        transformers.Dinov2WithRegistersForImageClassification,
    ),
}


def classifier(kind: str, settings: dict[str, Any]) -> Any:
    """transformers' model of a kind."""
    config, model = CLASSIFIERS[kind]
    return model(config(**settings))


def transformers_vit(kind: str, full: bool) -> Two:
    published = SMALL_DINOV2 if kind == "DINOv2" else TINY
    return from_transformers(classifier(kind, published if full else TRANSFORMERS))


def resized_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits at any size, which ViT and DeiT have to be asked for."""
    resized = not model.config.model_type.startswith("dinov2")
    return model(images, **({"interpolate_pos_encoding": True} if resized else {})).logits


# By the number of axes: sizes of small models and of those in vit-pytorch's README, their patches,
# and what its constructors call them. Heads are as wide there as dim / heads.
SMALL = {"num_classes": 7, "dim": 48, "depth": 3, "heads": 4, "mlp_dim": 96}
FULL = {"num_classes": 1000, "dim": 1024, "depth": 6, "heads": 8, "mlp_dim": 2048}
SIZES = {
    1: (((64,), (8,)), ((256,), (16,))),
    2: (((32, 24), (8, 8)), ((256, 256), (32, 32))),
    3: (((4, 16, 24), (2, 8, 8)), ((16, 128, 128), (2, 16, 16))),
}
THEIRS = {
    "ViT": {1: vit_1d.ViT, 2: vit.ViT, 3: vit_3d.ViT},
    "SimpleViT": {1: simple_vit_1d.SimpleViT, 2: simple_vit.SimpleViT, 3: simple_vit_3d.SimpleViT},
}


def named(size: tuple[int, ...], patch: tuple[int, ...]) -> dict[str, Any]:
    """Sizes as vit-pytorch calls them."""
    if len(size) == 1:
        return {"seq_len": size[0], "patch_size": patch[0]}
    if len(size) == 2:
        return {"image_size": size, "patch_size": patch}
    return {
        "frames": size[0],
        "image_size": size[1:],
        "frame_patch_size": patch[0],
        "image_patch_size": patch[1:],
    }


def vit_pytorch(name: str, axes: int, more: dict[str, Any], full: bool) -> Two:
    """A model and vit-pytorch's; `more` are keywords of both."""
    keywords = {**(FULL if full else SMALL), **more}
    size, patch = SIZES[axes][full]
    ours = vitrail.create_model(
        name, **keywords, image_size=size, patch_size=patch, norm_eps=1e-5
    ).eval()
    head_dim = keywords["dim"] // keywords["heads"]
    theirs = THEIRS[name][axes](**keywords, **named(size, patch), dim_head=head_dim).eval()
    randomise(ours)
    with torch.no_grad():
        if name == "ViT" and axes != 2:  # their last norm is in the head
            fill_plain(theirs, ours)
            fill_blocks(theirs.transformer, ours.blocks)
        elif name == "ViT":
            rearranged(ours, theirs)
            fill_positions(theirs, ours)
            theirs.mlp_head.load_state_dict(ours.head.state_dict())
        else:
            rearranged(ours, theirs)
            theirs.linear_head.load_state_dict(ours.head.state_dict())
    if name == "SimpleViT" and axes == 2:  # computed once, the others' in each forward
        with default(torch.float64):
            table = simple_vit.posemb_sincos_2d(*ours.grid, ours.dim, dtype=torch.float64)
        theirs.pos_embedding = table
    return ours, theirs


@contextlib.contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    """PyTorch's default while inside, in which vit-pytorch computes sines and cosines."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def in_precision(model: nn.Module, images: Tensor) -> Tensor:
    """Logits with positions as precise as the images."""
    with default(images.dtype):
        return model(images)


def pair(name: str, axes: int, note: str = "", full: bool = True, **more: Any) -> Pair:
    """A pair with vit-pytorch's model on so many axes."""
    (size, _), (readme, _) = SIZES[axes]
    second = tuple(2 * side for side in size)
    computed = name == "SimpleViT" and axes != 2  # theirs takes other sizes, too
    module = THEIRS[name][axes].__module__.partition(".")[2]
    return Pair(
        name,
        " ".join([f"vit-pytorch {module}", *more.values()]),
        functools.partial(vit_pytorch, name, axes, more),
        (size, second) if computed else (size,),
        readme if full else (),
        f"its norms around the patch projection taken out; no biases of q, k and v{note}",
        run=in_precision,
    )


OWN, TWO = ((32, 32),), ((32, 32), (40, 24))
FLOAT32 = "positions at another size are resampled in float32 there, and compared in {}"
PAIRS = [
    *(
        Pair(
            model,
            f"timm {name}",
            functools.partial(timm_vit, name),
            OWN,
            (224, 224),
            FLOAT32.format("test_timm.py"),
        )
        for model, name in (
            ("ViT", "vit_tiny_patch16_224"),
            ("DeiT", "deit_tiny_distilled_patch16_224"),
        )
    ),
    *(
        Pair(
            model,
            f"transformers {kind}",
            functools.partial(transformers_vit, kind),
            sizes,
            (224, 224),
            note,
            run=resized_logits,
        )
        for model, kind, sizes, note in (
            ("ViT", "ViT", TWO, ""),
            ("ViT", "DINOv2", OWN, FLOAT32.format("test_transformers.py")),
            ("DeiT", "DeiT two heads", TWO, ""),
        )
    ),
    *(pair("ViT", axes) for axes in SIZES),
    pair("ViT", 2, full=False, pool="mean"),
    *(pair("SimpleViT", axes, ", of projections neither") for axes in SIZES),
]
