"""Export of a model as a program of `torch.export`, which PyTorch runs without Vitrail.

ExecuTorch and AOTInductor start from such programs, too:

    export_program(model, "model.pt2")
    program = torch.export.load("model.pt2")
    logits = program.module()(images)
"""

import io
from pathlib import Path

import torch
from torch import nn

from vitrail.arguments import checked
from vitrail.deploy._exportable import (
    check_outputs,
    check_path,
    first_cause,
    own_defaults,
    prepare,
    quiet,
)
from vitrail.deploy.export import Exported
from vitrail.errors import ConfigError, VitrailError
from vitrail.files import atomic_write
from vitrail.layers.mamba import Mamba
from vitrail.values import Size


@checked
@own_defaults()
def export_program(
    model: nn.Module,
    path: str | Path,
    *,
    image_size: Size | None = None,
    dynamic_size: bool = False,
    batch_size: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Exports a model as a program of `torch.export`, and checks its outputs.

    The program is fused, float32 and for the CPU, takes one tensor and holds PyTorch's own
    operators only. `extra_files` of `torch.export.load` reads the metadata of `export_onnx` from
    it, JSON by name: "preprocess.json", "labels.json" and "vitrail.json".

    Args:
        model: as in `export_onnx`.
        path: file to write; `torch.export.load` wants it to end in ".pt2".
        image_size: as in `export_onnx`.
        dynamic_size: as in `export_onnx`, from two patches per axis on.
        batch_size: as in `export_onnx`; ExecuTorch wants it fixed.
        overwrite: whether a file that is there is replaced.

    Returns:
        The file that was written, the input's shape, and the difference from the model.

    Raises:
        ConfigError: the file is there, or the model cannot be exported with these arguments.
        DataError: patches do not divide `image_size`.
        VitrailError: the program's outputs differ.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> export_program(model, "model.onnx")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: model.onnx does not end in .pt2.
    """
    path = check_path(path, overwrite)
    if path.suffix != ".pt2":
        raise ConfigError(f"{path} does not end in .pt2.")
    # One patch per axis would be a graph of its own for PyTorch.
    exportable = prepare(model, image_size, dynamic_size, batch_size, least=2)
    for module in exportable.module.modules():
        if isinstance(module, Mamba):
            module.backend = "export"
    buffer = io.BytesIO()
    extra = {f"{name}.json": text for name, text in exportable.about.items()}
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(
                exportable.module, (exportable.example,), dynamic_shapes=(exportable.dynamic,)
            )
            torch.export.save(program, buffer, extra_files=extra)
            buffer.seek(0)
            run = torch.export.load(buffer).module()
            difference = check_outputs(run, exportable.cases, "the program")
    except VitrailError:
        raise
    except Exception as problem:  # torch.export's have no class in common, nor have its guards
        cure = " Export one file per size, with image_size." if dynamic_size else ""
        raise ConfigError(
            f"PyTorch {torch.__version__} does not export this "
            f"{type(exportable.module).__name__}: {first_cause(problem)}.{cure}"
        ) from problem
    atomic_write(path, buffer.getvalue())
    axes = enumerate(exportable.example.shape)
    inputs = tuple(
        exportable.dynamic[i].__name__ if i in exportable.dynamic else side for i, side in axes
    )
    return Exported(path, None, inputs, difference)
