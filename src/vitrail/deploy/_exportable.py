"""What is exported, whatever the format: a fused float32 copy, its input, and what to check."""

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrail.deploy.fuse import copied, fuse, module_in
from vitrail.deploy.precision import HalfLinear
from vitrail.deploy.towers import ImageEncoder, TextEncoder
from vitrail.errors import ConfigError, VitrailError
from vitrail.files import check_absent, to_json
from vitrail.layers.mamba import Mamba
from vitrail.layers.patch import AXES, PatchEmbed, to_tuple
from vitrail.layers.recording import RecordedMixer
from vitrail.methods.clip import ZeroShotClassifier
from vitrail.models.base import Backbone
from vitrail.models.limits import check_sizes, within_memory
from vitrail.models.surgery import resized
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import PositiveInt, Size, check_value

LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
TOLERANCE = 1e-4  # of outputs, absolute; relative where they are larger than 1


class Case(NamedTuple):
    """Inputs, and the outputs that the file has to reproduce."""

    inputs: Tensor
    outputs: Tensor


class Exportable(NamedTuple):
    """A model that is ready to be traced.

    Attributes:
        module: float32, on the CPU, fused, in evaluation mode.
        example: the input to trace with.
        dynamic: the axes of the input that may have any size.
        input_name: "images", or "ids" of a text tower.
        output_name: "logits", "features" of a model without a head, or "embeddings".
        cases: what the file is checked with.
        about: metadata, JSON by name.
    """

    module: nn.Module
    example: Tensor
    dynamic: dict[int, Any]
    input_name: str
    output_name: str
    cases: list[Case]
    about: dict[str, str]


def prepare(
    model: nn.Module,
    image_size: Size | None,
    dynamic_size: bool,
    batch_size: int | None = None,
    least: int = 1,
) -> Exportable:
    """Checks a model and makes a copy for tracing.

    Arguments and errors are those of `export_onnx`; `least` is the smallest number of patches per
    axis if sizes are dynamic.
    """
    if batch_size is not None:
        batch_size = check_value("batch_size", batch_size, PositiveInt)
    if image_size is not None:
        image_size = check_value("image_size", image_size, Size)
        check_sizes({"image_size": image_size})
    dynamic_size = check_value("dynamic_size", dynamic_size, bool)
    module = module_in(model)
    if isinstance(module, TextEncoder):
        return _text(module, batch_size)
    if not isinstance(module, Backbone | ZeroShotClassifier | ImageEncoder):
        raise ConfigError(_refusal(module))
    plain = _plain(module)
    backbone = _backbone(plain)
    size = tuple(backbone.preprocess.size)
    if image_size is not None:
        size = to_tuple(image_size, len(backbone.image_size))
    # Those of an image tower's head, if there is one, are not of its embeddings.
    labels = None if isinstance(plain, ImageEncoder) else plain.labels
    traced_size, about = size, _about(backbone, size, labels)
    batches, example_batch, dynamic = _batches(batch_size)
    cases = [_images(plain, batch, size) for batch in batches]
    if plain is not backbone or backbone.num_classes:
        _check_labels(labels, cases[0].outputs.shape[-1])
    if dynamic_size:
        embed = _patch_embed(backbone)
        # Traced at another size than the model's own, at which positions are not resampled.
        sides = zip(backbone.image_size, embed.patch, strict=True)
        traced_size = tuple(side + (i + 1) * patch for i, (side, patch) in enumerate(sides))
        cases.append(_images(plain, batches[0], traced_size))
        dynamic |= _dynamic_sides(embed, least)
    elif size != backbone.image_size:  # so that the graph does not resample
        if isinstance(plain, Backbone):
            plain = resized(plain, size)
        else:
            plain.backbone = resized(backbone, size)
    example = torch.zeros(example_batch, backbone.channels, *traced_size)
    output_name = "logits" if backbone.num_classes else "features"
    if not isinstance(plain, Backbone):
        output_name = "embeddings" if isinstance(plain, ImageEncoder) else "logits"
    return Exportable(fuse(plain), example, dynamic, "images", output_name, cases, about)


def _check_labels(labels: Sequence[str] | None, outputs: int) -> None:
    """Raises `ConfigError` for names that a head, which was replaced, does not have."""
    if labels is not None and len(labels) != outputs:
        raise ConfigError(
            f"the model has {len(labels)} labels and {outputs} outputs: set model.labels to one "
            "name per output, or to None."
        )


def _batches(batch_size: int | None) -> tuple[tuple[int, ...], int, dict[int, Any]]:
    """Batches to check with, the batch to trace with, and the axis if it may have any size."""
    if batch_size is not None:
        return (batch_size,), batch_size, {}
    # 2 to trace with: an axis of size 1 would become a constant of the graph.
    return (1, 3), 2, {0: torch.export.Dim("batch", min=1)}


def _text(tower: TextEncoder, batch_size: int | None) -> Exportable:
    plain = _plain(tower)
    text = plain.text
    batches, example_batch, dynamic = _batches(batch_size)

    def case(batch: int) -> Case:
        generator = torch.Generator().manual_seed(batch)
        shape = (batch, text.context)
        with within_memory(f"a batch of {batch} texts"):
            ids = torch.randint(text.words.num_embeddings, shape, generator=generator)
            if text.end is not None:
                ids[:, -1] = text.end
            return _case(plain, ids)

    about = {"context": json.dumps(text.context), "end": json.dumps(text.end)}
    cases = [case(batch) for batch in batches]  # too large a batch is found here
    example = torch.zeros(example_batch, text.context, dtype=torch.int64)
    return Exportable(fuse(plain), example, dynamic, "ids", "embeddings", cases, about)


def check_path(path: str | Path, overwrite: bool) -> Path:
    """Checks that a file can be written, before the minutes that an export takes.

    Args:
        path: the file.
        overwrite: whether it may be there.

    Returns:
        It as a path.

    Raises:
        ConfigError: it is there or is a folder, or the folder that it would be in cannot be written
            to.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"path={path!r} is not the path of a file.")
    path = Path(os.path.expanduser(path))  # as where models are read
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: give the file to write in it.")
    check_absent(path, overwrite)
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise ConfigError(f"{path} cannot be written: {parent} is a file.")
    if not os.access(parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written: {parent} does not allow it.")
    return path


def check_outputs(call: Callable[[Tensor], Tensor], cases: list[Case], runtime: str) -> float:
    """Compares the outputs of an exported file with those of the model.

    Args:
        call: the file, from inputs to outputs.
        cases: inputs and the model's outputs.
        runtime: its name for the error.

    Returns:
        The largest difference.

    Raises:
        VitrailError: it is too large.
    """
    differences = [
        (call(inputs) - outputs).abs().max() / outputs.abs().max().clamp(min=1)
        for inputs, outputs in cases
    ]
    largest = float(torch.stack(differences).max())
    if not largest <= TOLERANCE:  # NaN is refused, too
        raise VitrailError(
            f"{runtime}'s outputs are {largest:.1e} from PyTorch's, and {TOLERANCE:.0e} is the "
            "limit: nothing was written."
        )
    return largest


def first_cause(problem: BaseException) -> str:
    """The first line of the exception at the beginning of the chain."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return f"{type(problem).__name__}: {str(problem).strip()}".splitlines()[0].rstrip(". :")


@contextlib.contextmanager
def own_defaults() -> Iterator[None]:
    """A context without the caller's autocast, default dtype and default device."""
    dtype, cpu = torch.get_default_dtype(), torch.device("cpu")
    # Only where it is needed: PyTorch traces less under a default device that was set.
    on_cpu = contextlib.nullcontext() if torch.get_default_device() == cpu else cpu
    try:
        torch.set_default_dtype(torch.float32)
        with torch.autocast("cpu", enabled=False), on_cpu:
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context that silences the exporter's loggers and warnings, which address its developers."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _refusal(module: nn.Module) -> str:
    name = type(module).__name__
    if hasattr(module, "image_proj"):
        return (
            f"{name} has two towers: give deploy.ImageEncoder(method), deploy.TextEncoder(method), "
            "or method.zero_shot(labels)."
        )
    if isinstance(getattr(module, "backbone", None), Backbone):
        return f"{name} is a method, not a model: give method.backbone."
    return f"{name} is no model of Vitrail: give one that create_model or load returns."


def _backbone(model: nn.Module) -> Backbone:
    return model if isinstance(model, Backbone) else model.backbone  # type: ignore[return-value]


def _plain(model: Any) -> Any:
    """A float32 copy on the CPU without recorders."""
    if any(isinstance(module, HalfLinear) for module in model.modules()):
        raise ConfigError(
            "a model in bfloat16 (`halve`) cannot be exported: export the one it was made from."
        )
    if any(tensor.is_meta for tensor in model.parameters()):
        raise ConfigError("a model on the meta device has no weights to export: load them first.")
    plain = copied(model).cpu().float().eval().requires_grad_(False)
    for module in plain.modules():
        if isinstance(module, RecordedMixer):
            module.recorder = None
        if isinstance(module, Mamba):
            module.backend = "torch"
    return plain


def _patch_embed(model: Backbone) -> PatchEmbed:
    embed = getattr(model, "patch_embed", None)
    if not isinstance(model, SequenceBackbone) or not isinstance(embed, PatchEmbed):
        raise ConfigError(
            f"{type(model).__name__} cannot be exported for any size (dynamic_size=True): set "
            f"image_size={model.image_size[0]}, say."
        )
    return embed


def _dynamic_sides(embed: PatchEmbed, least: int) -> dict[int, Any]:
    """By axis of the images, the sizes of at least so many patches that patches divide."""
    Dim, dynamic = torch.export.Dim, {}
    counts = {1: ("patches",), 2: ("rows", "columns"), 3: ("steps", "rows", "columns")}
    for i, p in enumerate(embed.patch):
        # Patches that overlap fit any size.
        side, count = AXES[len(embed.patch)][i], counts[len(embed.patch)][i]
        whole = embed.stride == embed.patch
        dynamic[2 + i] = p * Dim(count, min=least) if whole else Dim(side, min=p * least)
    return dynamic


def _images(model: nn.Module, batch: int, size: tuple[int, ...]) -> Case:
    """Images of noise and PyTorch's outputs. Raises `DataError` for a size that does not fit."""
    generator = torch.Generator().manual_seed(batch)
    with within_memory(f"a batch of {batch}, {' x '.join(map(str, size))} pixels each,"):
        images = torch.randn(batch, _backbone(model).channels, *size, generator=generator)
        return _case(model, images)


def _case(model: nn.Module, inputs: Tensor) -> Case:
    with torch.no_grad():
        outputs = model(inputs)
    if not outputs.isfinite().all():
        raise VitrailError("the logits of noise are not finite: the model's weights are damaged.")
    return Case(inputs, outputs)


def _about(model: Backbone, size: tuple[int, ...], labels: Sequence[str] | None) -> dict[str, str]:
    """The metadata: JSON by name."""
    preprocess = model.preprocess
    if tuple(preprocess.size) != size:
        preprocess = preprocess.at(size)
    about = {
        "labels": labels,
        "preprocess": preprocess.to_dict(),
        "vitrail": {
            "architecture": type(model).__name__,
            "keywords": model.config,
            "image_size": size,
            "origin": model.origin,
        },
    }
    return {name: to_json(value) for name, value in about.items()}
