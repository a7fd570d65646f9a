"""A model as an ONNX file: one that other runtimes read, and that says itself what it is.

To write it, and to run it without PyTorch on float32 images (batch, C, H, W), normalised:

    exported = export_onnx(model, "model.onnx")
    session = onnxruntime.InferenceSession("model.onnx")
    logits = session.run(None, {"images": images})[0]
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
"""

import contextlib
import copy
import glob
import json
import logging
import os
import secrets
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitrail.deploy.precision import HalfLinear
from vitrail.errors import ConfigError, VitrailError
from vitrail.files import TEMPORARY, atomic_write
from vitrail.hub.load import at_size
from vitrail.layers.patch import AXES, PatchEmbed, to_tuple
from vitrail.layers.mamba import Mamba
from vitrail.layers.recording import RecordedMixer
from vitrail.models.base import Backbone, SequenceBackbone

OPSET = 20  # from here on GELU is one node, and onnxruntime has it since 1.17
OPSETS = (18, 23)  # what PyTorch translates to
TOLERANCE = 1e-4  # of logits, absolute, or relative where they are larger than 1
LARGEST = 1_900_000_000  # bytes in one file: protobuf ends at 2 GiB
LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class Exported(NamedTuple):
    """What `export_onnx` wrote."""

    path: Path
    weights: Path | None  # a file of their own, beside `path`, where one file would be too large
    inputs: tuple[str | int, ...]  # the shape of "images"; names where any size will do
    difference: float | None  # the largest seen to PyTorch; None: onnxruntime is not installed


class _Case(NamedTuple):
    """What the file has to reproduce."""

    images: Tensor
    logits: Tensor


def export_onnx(
    model: Backbone,
    path: str | Path,
    *,
    image_size: int | tuple[int, ...] | None = None,
    dynamic_size: bool = False,
    opset: int = OPSET,
) -> Exported:
    """Writes a model as ONNX, for any batch size; its logits are then checked in onnxruntime.

    In goes "images", float32 (batch, C, H, W), normalised; out come "logits" (batch, classes), or
    pooled "features" of a model without a head. Weights are stored in float32. JSON in the file's
    metadata says the rest: "preprocess", "labels", and under "vitrail" what made it. The file
    appears whole or not at all, and not if it says something else than PyTorch.

    image_size: pixels; None: what the model's preprocessing gives. Learned positions are resampled
    to it. dynamic_size: any image that patches divide will do, and positions are resampled in the
    graph. opset: the version of ONNX's operators. `model` is left as it is.

    Raises `ConfigError` where a package is missing, or the model cannot be exported like this;
    `DataError` for a size that does not fit; `VitrailError` where onnxruntime disagrees.
    """
    path = Path(path)
    for name in ("onnx", "onnxscript"):
        if find_spec(name) is None:
            raise ConfigError(f"exporting needs the package {name}: pip install 'vitrail[export]'.")
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ConfigError(f"opset={opset} is not within {OPSETS[0]} to {OPSETS[1]}.")
    plain, size = _plain(model), _size(model, image_size)
    traced, sizes = size, [(1, size), (3, size)]
    if dynamic_size:
        # Not the model's own size, at which positions are not resampled.
        sides = zip(plain.image_size, _embed(plain).patch, strict=True)
        traced = tuple(side + (i + 1) * patch for i, (side, patch) in enumerate(sides))
        sizes.append((1, traced))
    cases = [_case(plain, batch, at) for batch, at in sizes]
    if not dynamic_size:
        # here and now, so that the graph need not resample
        plain = at_size(plain, size).requires_grad_(False)
    graph = _translate(plain, traced, dynamic_size, opset)
    graph.metadata_props.update(_about(model, size))
    weights, difference = _write(graph, path, cases)
    inputs = tuple(d if isinstance(d, int) else str(d) for d in graph.graph.inputs[0].shape)
    return Exported(path, weights, inputs, difference)


def _plain(model: Backbone) -> Backbone:
    """A float32 copy on the CPU that nobody is looking into."""
    if any(isinstance(module, HalfLinear) for module in model.modules()):
        raise ConfigError(
            "this model was halved, which is for PyTorch alone: export the one it was made from."
        )
    plain = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    for module in plain.modules():
        if isinstance(module, RecordedMixer):
            module.tap = None
        if isinstance(module, Mamba):
            module.backend = "torch"
    return plain


def _size(model: Backbone, image_size: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if image_size is not None:
        return to_tuple(image_size, len(model.image_size))
    return model.image_size if model.preprocess is None else tuple(model.preprocess.size)


def _embed(model: Backbone) -> PatchEmbed:
    embed = getattr(model, "patch_embed", None)
    if not isinstance(model, SequenceBackbone) or not isinstance(embed, PatchEmbed):
        raise ConfigError(
            f"{type(model).__name__} cannot be exported for any size: leave out dynamic_size, and "
            "give image_size."
        )
    return embed


def _case(model: Backbone, batch: int, size: tuple[int, ...]) -> _Case:
    """Images of noise, and what PyTorch makes of them. Raises `DataError` for a wrong size."""
    chance = torch.Generator().manual_seed(batch)
    images = torch.randn(batch, model.channels, *size, generator=chance)
    with torch.no_grad():
        logits = model(images)
    if not logits.isfinite().all():
        raise VitrailError("what the model says of noise is not finite: its weights are damaged.")
    return _Case(images, logits)


def _translate(model: Backbone, size: tuple[int, ...], dynamic_size: bool, opset: int) -> Any:
    """The model as onnx_ir's Model."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    Dim = torch.export.Dim
    dynamic = {0: Dim("batch", min=1)}
    if dynamic_size:
        patch, stride = _embed(model).patch, _embed(model).stride
        counts = {1: ("patches",), 2: ("rows", "columns"), 3: ("steps", "rows", "columns")}
        for i, p in enumerate(patch):
            # Patches that overlap take what is left over.
            side, count = AXES[len(patch)][i], counts[len(patch)][i]
            dynamic[2 + i] = p * Dim(count, min=1) if stride == patch else Dim(side, min=p)
    images = torch.zeros(2, model.channels, *size)  # 2: a batch of 1 would be taken for a constant
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (images,),
                dynamo=True,
                dynamic_shapes=(dynamic,),
                input_names=["images"],
                output_names=["logits" if model.num_classes else "features"],
                opset_version=opset,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as problem:
        cure = " Export once a size, with image_size=." if dynamic_size else ""
        raise ConfigError(
            f"PyTorch {torch.__version__} does not export this {type(model).__name__}: "
            f"{_gist(problem)}.{cure}"
        ) from problem
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # where each node came from, paths and all
    return program.model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells its developers."""
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


def _gist(problem: BaseException) -> str:
    """The first line of what it all began with."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return f"{type(problem).__name__}: {str(problem).strip()}".splitlines()[0].rstrip(". :")


def _about(model: Backbone, size: tuple[int, ...]) -> dict[str, str]:
    """The metadata: JSON by name."""
    preprocess = model.preprocess
    if preprocess is not None and tuple(preprocess.size) != size:
        preprocess = preprocess.at(size)
    about = {
        "labels": model.labels,
        "preprocess": preprocess.to_dict() if preprocess is not None else None,
        "vitrail": {
            "architecture": type(model).__name__,
            "keywords": model.config,
            "image_size": size,
            "origin": model.origin,
        },
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in about.items()}


def _write(graph: Any, path: Path, cases: list[_Case]) -> tuple[Path | None, float | None]:
    """Checks and writes → the file of the weights, if they have one, and the difference."""
    import onnx_ir

    older = list(path.parent.glob(f"{glob.escape(path.name)}.{'?' * 8}.data"))
    weights = None
    if sum(value.const_value.nbytes for value in graph.graph.initializers.values()) <= LARGEST:
        data = onnx_ir.to_proto(graph).SerializeToString()
        difference = _check(data, cases)
        atomic_write(path, data)
    else:
        # Under a new name: nobody reads it until the file that names it is there.
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = path.with_name(f"{path.name}.{secrets.token_hex(4)}.data")
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            onnx_ir.save(graph, temporary, format="protobuf", external_data=weights.name)
            difference = _check(str(temporary), cases)
            with open(weights, "rb") as file:
                os.fsync(file.fileno())
            atomic_write(path, temporary.read_bytes())
        except BaseException:
            weights.unlink(missing_ok=True)
            raise
        finally:
            temporary.unlink(missing_ok=True)
    for left in older:
        left.unlink()
    return weights, difference


def _check(file: bytes | str, cases: list[_Case]) -> float | None:
    """The largest difference of onnxruntime's logits; None without onnxruntime.

    Raises `VitrailError` where it is too large, or onnxruntime cannot run the file.
    """
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        found = [session.run(None, {"images": case.images.numpy()})[0] for case in cases]
    except Exception as problem:  # onnxruntime's have no class in common
        raise VitrailError(
            f"onnxruntime {onnxruntime.__version__} does not run what was exported, so nothing was "
            f"written: {_gist(problem)}."
        ) from problem
    parts = [
        (torch.from_numpy(got) - logits).abs().max() / logits.abs().max().clamp(min=1)
        for got, (_, logits) in zip(found, cases, strict=True)
    ]
    largest = float(torch.stack(parts).max())
    if not largest <= TOLERANCE:  # nor if it is not a number
        raise VitrailError(
            f"onnxruntime's logits are {largest:.1e} from PyTorch's, and {TOLERANCE:.0e} is the "
            "limit: nothing was written."
        )
    return largest
