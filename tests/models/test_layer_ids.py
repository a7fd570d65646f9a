"""Layers of pyramids for layer-wise learning rate decay and for `freeze`: one per block."""

import re
from typing import Any

import pytest
import torch

import vitrail
from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.models.registry import model_classes
from vitrail.models.tiers import PyramidBackbone

DEPTHS = (2, 2, 18, 2)
PYRAMIDS = [name for name, model in model_classes().items() if issubclass(model, PyramidBackbone)]
# Stage and index of a block in a name; for a MobileViTBlock also the index in its transformer.
BLOCK = re.compile(r"blocks\.(\d+)\.(?:blocks\.)?(\d+)\.(?:blocks\.(\d+)\.)?")


def get_swin_layer(name: str, num_layers: int, depths: tuple[int, ...]) -> int:
    """What SimMIM's code computes for a name of Swin's (microsoft/SimMIM, optimizer.py)."""
    if name.startswith("patch_embed"):
        return 0
    if name.startswith("layers"):
        stage, block = int(name.split(".")[1]), name.split(".")[3]
        if block in ("reduction", "norm"):
            return sum(depths[: stage + 1])
        return sum(depths[:stage]) + int(block) + 1
    return num_layers - 1


def swin_name(name: str) -> str:
    """The authors' name of a parameter; they downsample at the end of a stage."""
    if match := re.match(r"blocks\.(\d)\.downsample\.", name):
        return f"layers.{int(match[1]) - 1}.downsample.{name[match.end() :]}"
    return re.sub(r"^blocks", "layers", name.replace("embed_norm", "patch_embed.norm"))


def test_swin_s_layers_are_those_of_simmim() -> None:
    with torch.device("meta"):
        model = vitrail.create_model("swin_base_patch4_window7_224")
    ids = model.layer_ids()
    total = sum(DEPTHS) + 2
    assert ids == {name: get_swin_layer(swin_name(name), total, DEPTHS) for name in ids}
    assert ids["patch_embed.weight"] == ids["embed_norm.weight"] == 0
    assert ids["blocks.2.blocks.17.mlp.fc1.weight"] == 22
    assert ids["blocks.3.downsample.reduction.weight"] == 22
    assert ids["norm.weight"] == ids["head.weight"] == model.depth + 1 == 25


@pytest.mark.parametrize("name", PYRAMIDS)
def test_layers_grow_from_block_to_block(name: str) -> None:
    model = small(name)
    blocks: dict[tuple[int, ...], set[int]] = {}
    for parameter, layer in model.layer_ids().items():
        assert 0 <= layer <= model.depth + 1
        if match := BLOCK.match(parameter):
            key = tuple(int(group) for group in match.groups() if group is not None)
            blocks.setdefault(key, set()).add(layer)
    # A MobileViT block is more than its transformer: what is before it has the layer before.
    inner = {key: layers for key, layers in blocks.items() if len(key) == 3}
    outer = {key[:2] for key in inner}
    ordered = [layers for key, layers in sorted(blocks.items()) if key not in outer]
    ids = [max(layers) for layers in ordered]
    assert ids == sorted(set(ids)) == list(range(1, model.depth + 1))
    assert all(len(layers) == 1 for layers in ordered)


@pytest.mark.parametrize("name", PYRAMIDS)
def test_freezing_counts_layers(name: str) -> None:
    model = small(name)
    ids = model.layer_ids()
    for layers in (0, 1, 2, model.depth + 1, model.depth + 2):
        model.freeze(layers)
        frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
        assert frozen == {n for n, layer in ids.items() if layer < layers}
    assert len(frozen) == len(ids), "depth + 2 freezes all"
    model.freeze(-1)
    learning = {ids[n] for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {model.depth + 1}, "as in a slice, -1 leaves out the last layer"
    for wrong in (-model.depth - 3, model.depth + 3):
        with pytest.raises(ConfigError, match=f"layers={wrong} is not within -"):
            model.freeze(wrong)


@pytest.mark.parametrize(
    ("name", "parameter", "neighbor"),
    [
        ("PVTv2", "blocks.0.norm.weight", "blocks.0.blocks.1.norm1.weight"),
        ("PVTv2", "blocks.1.norm.weight", "blocks.1.blocks.0.norm1.weight"),
        ("Twins", "blocks.0.position.weight", "blocks.0.blocks.0.norm1.weight"),
        ("Twins", "blocks.1.position.weight", "blocks.1.blocks.0.norm1.weight"),
        ("PVT", "blocks.2.class_token.weight", "blocks.1.blocks.0.norm1.weight"),
        ("NesT", "blocks.1.position.weight", "blocks.0.blocks.0.norm1.weight"),
        ("LeViT", "blocks.1.downsample.narrow.norm.weight", "blocks.0.blocks.1.narrow.norm.weight"),
        ("MobileViT", "blocks.2.1.local.conv.weight", "blocks.2.0.2.conv.weight"),
        ("MobileViT", "blocks.2.1.merge.conv.weight", "blocks.2.1.blocks.0.norm1.weight"),
    ],
)
def test_what_is_no_block_has_the_layer_of_one(name: str, parameter: str, neighbor: str) -> None:
    ids: dict[str, Any] = small(name).layer_ids()
    assert ids[parameter] == ids[neighbor]
