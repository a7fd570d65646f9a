"""Export of a model to ONNX, a file format that other runtimes read.

The file holds its labels and its preprocessing. To write it, and to run it without PyTorch on
preprocessed float32 images (batch, C, H, W):

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

from vitrail.deploy.fuse import fuse
from vitrail.deploy.precision import HalfLinear
from vitrail.errors import ConfigError, VitrailError
from vitrail.files import TEMPORARY, atomic_write
from vitrail.layers.mamba import Mamba
from vitrail.layers.patch import AXES, PatchEmbed, to_tuple
from vitrail.layers.recording import RecordedMixer
from vitrail.models.base import Backbone
from vitrail.models.surgery import resized
from vitrail.models.tiers import SequenceBackbone

OPSET = 20  # the first in which GELU is one node; onnxruntime runs it since 1.17
OPSETS = (18, 23)  # first and last that PyTorch translates to
TOLERANCE = 1e-4  # of logits, absolute; relative where they are larger than 1
LARGEST = 1_900_000_000  # bytes of weights in one file: protobuf's limit is 2 GiB
LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class Exported(NamedTuple):
    """What `export_onnx` wrote.

    Attributes:
        path: the ONNX file.
        weights: the file of the weights beside it, where one file would be too large; else None.
        inputs: shape of the input "images"; a name stands for an axis of any size.
        difference: largest difference of onnxruntime's logits from PyTorch's; None if onnxruntime
            is not installed.

    Example:
        >>> Exported(Path("model.onnx"), None, ("batch", 3, 224, 224), 1e-6).inputs[0]
        'batch'
    """

    path: Path
    weights: Path | None
    inputs: tuple[str | int, ...]
    difference: float | None


class _Case(NamedTuple):
    """Images, and the logits that the file has to reproduce."""

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
    """Exports a model to ONNX for any batch size, and checks its logits in onnxruntime.

    The input is "images", float32 (batch, C, H, W), preprocessed; the output is "logits" (batch,
    classes), or pooled "features" of a model without a head. The model is fused, and its weights
    are stored in float32. The file's metadata holds JSON: "preprocess", "labels", and under
    "vitrail" the architecture with its keywords. The file is written whole or not at all, and not
    if its logits differ from PyTorch's.

    Args:
        model: the model; it is left unchanged.
        path: file to write.
        image_size: pixels, one number or one per axis; None for the size of the model's
            preprocessing. Learned positions are resampled to it.
        dynamic_size: whether the file takes any image size that patches divide; positions are then
            resampled in the graph.
        opset: version of ONNX's operators.

    Returns:
        The files that were written, the input's shape, and the difference from PyTorch.

    Raises:
        ConfigError: a package is missing, or the model cannot be exported with these arguments.
        DataError: patches do not divide `image_size`.
        VitrailError: onnxruntime cannot run the file, or its logits differ.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> export_onnx(model, "model.onnx", opset=1)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: opset=1 is not within 18 to 23.
    """
    path = Path(path)
    for name in ("onnx", "onnxscript"):
        if find_spec(name) is None:
            raise ConfigError(f"exporting needs the package {name}: pip install 'vitrail[export]'.")
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ConfigError(f"opset={opset} is not within {OPSETS[0]} to {OPSETS[1]}.")
    plain, size = _plain(model), _size(model, image_size)
    traced_size, cases = size, [_case(plain, 1, size), _case(plain, 3, size)]
    if dynamic_size:
        # Traced at another size than the model's own, at which positions are not resampled.
        sides = zip(plain.image_size, _embed(plain).patch, strict=True)
        traced_size = tuple(side + (i + 1) * patch for i, (side, patch) in enumerate(sides))
        cases.append(_case(plain, 1, traced_size))
    else:
        plain = resized(plain, size)  # so that the graph does not resample
    graph = _translate(fuse(plain), traced_size, dynamic_size, opset)
    graph.metadata_props.update(_about(model, size))
    weights, difference = _write(graph, path, cases)
    inputs = tuple(d if isinstance(d, int) else str(d) for d in graph.graph.inputs[0].shape)
    return Exported(path, weights, inputs, difference)


def _plain(model: Backbone) -> Backbone:
    """A float32 copy on the CPU without recorders."""
    if any(isinstance(module, HalfLinear) for module in model.modules()):
        raise ConfigError(
            "a model in bfloat16 (`halve`) cannot be exported: export the one it was made from."
        )
    plain = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    for module in plain.modules():
        if isinstance(module, RecordedMixer):
            module.recorder = None
        if isinstance(module, Mamba):
            module.backend = "torch"
    return plain


def _size(model: Backbone, image_size: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if image_size is not None:
        return to_tuple(image_size, len(model.image_size))
    return tuple(model.preprocess.size)


def _embed(model: Backbone) -> PatchEmbed:
    embed = getattr(model, "patch_embed", None)
    if not isinstance(model, SequenceBackbone) or not isinstance(embed, PatchEmbed):
        raise ConfigError(
            f"{type(model).__name__} cannot be exported for any size (dynamic_size=True): give "
            "image_size instead."
        )
    return embed


def _case(model: Backbone, batch: int, size: tuple[int, ...]) -> _Case:
    """Images of noise and PyTorch's logits. Raises `DataError` for a size that does not fit."""
    generator = torch.Generator().manual_seed(batch)
    images = torch.randn(batch, model.channels, *size, generator=generator)
    with torch.no_grad():
        logits = model(images)
    if not logits.isfinite().all():
        raise VitrailError("the logits of noise are not finite: the model's weights are damaged.")
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
            # Patches that overlap fit any size.
            side, count = AXES[len(patch)][i], counts[len(patch)][i]
            dynamic[2 + i] = p * Dim(count, min=1) if stride == patch else Dim(side, min=p)
    # A batch of 2: an axis of size 1 would become a constant of the graph.
    images = torch.zeros(2, model.channels, *size)
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
        cure = " Export one file per size, with image_size." if dynamic_size else ""
        raise ConfigError(
            f"PyTorch {torch.__version__} does not export this {type(model).__name__}: "
            f"{_first_cause(problem)}.{cure}"
        ) from problem
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # source files and lines of this machine
    return program.model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's loggers and warnings, which address its developers."""
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


def _first_cause(problem: BaseException) -> str:
    """The first line of the exception at the beginning of the chain."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return f"{type(problem).__name__}: {str(problem).strip()}".splitlines()[0].rstrip(". :")


def _about(model: Backbone, size: tuple[int, ...]) -> dict[str, str]:
    """The metadata: JSON by name."""
    preprocess = model.preprocess
    if tuple(preprocess.size) != size:
        preprocess = preprocess.at(size)
    about = {
        "labels": model.labels,
        "preprocess": preprocess.to_dict(),
        "vitrail": {
            "architecture": type(model).__name__,
            "keywords": model.config,
            "image_size": size,
            "origin": model.origin,
        },
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in about.items()}


def _write(graph: Any, path: Path, cases: list[_Case]) -> tuple[Path | None, float | None]:
    """Checks and writes the file → the file of the weights or None, the difference or None."""
    import onnx_ir

    older_weights = list(path.parent.glob(f"{glob.escape(path.name)}.{'?' * 8}.data"))
    weights = None
    if sum(value.const_value.nbytes for value in graph.graph.initializers.values()) <= LARGEST:
        data = onnx_ir.to_proto(graph).SerializeToString()
        difference = _check(data, cases)
        atomic_write(path, data)
    else:
        # A new name: readers of the old ONNX file still find the old weights.
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = path.with_name(f"{path.name}.{secrets.token_hex(4)}.data")
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            onnx_ir.save(graph, temporary, format="protobuf", external_data=weights.name)
            difference = _check(str(temporary), cases)
            with open(weights, "rb") as opened:
                os.fsync(opened.fileno())
            atomic_write(path, temporary.read_bytes())
        except BaseException:
            weights.unlink(missing_ok=True)
            raise
        finally:
            temporary.unlink(missing_ok=True)
    for file in older_weights:
        file.unlink()
    return weights, difference


def _check(file: bytes | str, cases: list[_Case]) -> float | None:
    """The largest difference of onnxruntime's logits, or None without onnxruntime.

    Raises `VitrailError` if it is too large, or onnxruntime cannot run the file.
    """
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        outputs = [session.run(None, {"images": case.images.numpy()})[0] for case in cases]
    except Exception as problem:  # onnxruntime's exceptions have no class in common
        raise VitrailError(
            f"onnxruntime {onnxruntime.__version__} does not run the exported file, so nothing was "
            f"written: {_first_cause(problem)}."
        ) from problem
    differences = [
        (torch.from_numpy(output) - logits).abs().max() / logits.abs().max().clamp(min=1)
        for output, (_, logits) in zip(outputs, cases, strict=True)
    ]
    largest = float(torch.stack(differences).max())
    if not largest <= TOLERANCE:  # NaN is refused, too
        raise VitrailError(
            f"onnxruntime's logits are {largest:.1e} from PyTorch's, and {TOLERANCE:.0e} is the "
            "limit: nothing was written."
        )
    return largest
