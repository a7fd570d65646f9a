"""Export of a model to ONNX, a file format that other runtimes read.

The file holds its labels and its preprocessing. To write it, and to run it without PyTorch on
preprocessed float32 images (batch, C, H, W):

    exported = export_onnx(model, "model.onnx")
    session = onnxruntime.InferenceSession("model.onnx")
    logits = session.run(None, {"images": images})[0]
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
"""

import glob
import os
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.deploy._exportable import (
    Exportable,
    check_outputs,
    check_path,
    first_cause,
    own_defaults,
    prepare,
    quiet,
)
from vitrail.errors import ConfigError, VitrailError, how_to_install
from vitrail.files import TEMPORARY, atomic_write
from vitrail.values import Size, check_value

OPSET = 20  # the first in which GELU is one node; onnxruntime runs it since 1.17
OPSETS = (18, 23)  # first and last that PyTorch translates to
LARGEST = 1_900_000_000  # bytes of weights in one file: protobuf's limit is 2 GiB


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


@checked
@own_defaults()
def export_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    image_size: Size | None = None,
    dynamic_size: bool = False,
    batch_size: int | None = None,
    opset: int = OPSET,
    overwrite: bool = False,
) -> Exported:
    """Exports a model to ONNX, and checks its outputs in onnxruntime.

    The input is "images", float32 (batch, C, H, W), preprocessed; the output is "logits" (batch,
    classes), or pooled "features" of a model without a head. A tower of CLIP has "embeddings", and
    the one of texts takes "ids", int64 (batch, context). The model is fused, and its weights
    are stored in float32. The file's metadata holds JSON: "preprocess", "labels", and under
    "vitrail" the architecture with its keywords. The file is written whole or not at all, and not
    if its logits differ from PyTorch's.

    Args:
        model: a model, a tower of CLIP (`ImageEncoder`, `TextEncoder`), or its `zero_shot`
            classifier, in which words are the head. It is left unchanged.
        path: file to write.
        image_size: pixels, one number or one per axis; None for the size of the model's
            preprocessing. Learned positions are resampled to it.
        dynamic_size: whether the file takes any image size that patches divide; positions are then
            resampled in the graph.
        batch_size: images (texts) per call, for runtimes that want it fixed; None for any number.
        opset: version of ONNX's operators.
        overwrite: whether a file that is there is replaced.

    Returns:
        The files that were written, the input's shape, and the difference from PyTorch.

    Raises:
        ConfigError: a package is missing, the file is there, or the model cannot be exported with
            these arguments.
        DataError: patches do not divide `image_size`.
        VitrailError: onnxruntime cannot run the file, or its logits differ.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> export_onnx(model, "model.onnx", opset=1)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: opset=1 is not within 18 to 23.
    """
    path = check_path(path, overwrite)
    for name in ("onnx", "onnxscript"):
        if find_spec(name) is None:
            raise ConfigError(f"exporting needs the package {name}: {how_to_install(name)}.")
    opset = check_value("opset", opset, int)
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ConfigError(f"opset={opset} is not within {OPSETS[0]} to {OPSETS[1]}.")
    exportable = prepare(model, image_size, dynamic_size, batch_size)
    graph = _translate(exportable, dynamic_size, opset)
    graph.metadata_props.update(exportable.about)
    weights, difference = _write(graph, path, exportable)
    inputs = tuple(d if isinstance(d, int) else str(d) for d in graph.graph.inputs[0].shape)
    return Exported(path, weights, inputs, difference)


def _translate(exportable: Exportable, dynamic_size: bool, opset: int) -> Any:
    """The model as onnx_ir's Model."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    try:
        with quiet():
            program = torch.onnx.export(
                exportable.module,
                (exportable.example,),
                dynamo=True,
                dynamic_shapes=(exportable.dynamic,),
                input_names=[exportable.input_name],
                output_names=[exportable.output_name],
                opset_version=opset,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as problem:
        cure = " Export one file per size, with image_size." if dynamic_size else ""
        raise ConfigError(
            f"PyTorch {torch.__version__} does not export this "
            f"{type(exportable.module).__name__}: {first_cause(problem)}.{cure}"
        ) from problem
    assert program is not None
    _fold_what_scans_capture(program.model)
    ClearMetadataAndDocStringPass()(program.model)  # source files and lines of this machine
    for value in program.model.graph.initializers.values():
        # Said twice, the shape would stay when onnxruntime's quantizer transposes the tensor.
        value.shape = value.type = None
    return program.model


def _fold_what_scans_capture(model: Any) -> None:
    """Makes constants of what the bodies of scans read from the graph around them.

    PyTorch folds small tensors only, and OpenVINO refuses a body that reads a computed value.
    """
    from onnxscript.optimizer import fold_constants_ir

    inner: set[Any] = set()
    captured: list[Any] = []
    for scan in (node for node in model.graph if node.op_type == "Scan"):
        body = scan.attributes["body"].as_graph()
        inner.update(body)
        captured += [value.producer() for node in body for value in node.inputs if value]
    sources, pending = set(), [n for n in captured if n is not None and n not in inner]
    while pending:
        sources.add(node := pending.pop())
        before = (value.producer() for value in node.inputs if value is not None)
        pending += [n for n in before if n is not None and n not in sources]
    with quiet():
        fold_constants_ir(model, should_fold=lambda node: node in sources)


def _write(graph: Any, path: Path, exportable: Exportable) -> tuple[Path | None, float | None]:
    """Checks and writes the file → the file of the weights or None, the difference or None."""
    import onnx_ir

    older_weights = list(path.parent.glob(f"{glob.escape(path.name)}.{'?' * 8}.data"))
    weights = None
    if sum(value.const_value.nbytes for value in graph.graph.initializers.values()) <= LARGEST:
        data = onnx_ir.to_proto(graph).SerializeToString()
        difference = _check(data, exportable)
        atomic_write(path, data)
    else:
        # A new name: readers of the old ONNX file still find the old weights.
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = path.with_name(f"{path.name}.{secrets.token_hex(4)}.data")
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            onnx_ir.save(graph, temporary, format="protobuf", external_data=weights.name)
            difference = _check(str(temporary), exportable)
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


def _check(file: bytes | str, exportable: Exportable) -> float | None:
    """The largest difference of onnxruntime's outputs, or None without onnxruntime.

    Raises `VitrailError` if it is too large, or onnxruntime cannot run the file.
    """
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()

    def run(inputs: Tensor) -> Tensor:
        outputs = session.run(None, {exportable.input_name: inputs.cpu().numpy()})[0]
        return torch.from_numpy(outputs).to(inputs.device)

    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return check_outputs(run, exportable.cases, "onnxruntime")
    except VitrailError:
        raise
    except Exception as problem:  # onnxruntime's exceptions have no class in common
        raise VitrailError(
            f"onnxruntime {onnxruntime.__version__} does not run the exported file, so nothing was "
            f"written: {first_cause(problem)}."
        ) from problem
