"""`vitrail export`: a model as a file for other runtimes."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail.cli.common import ForceOption, SizeOption, WeightsOption, check_new, err, out
from vitrail.errors import ConfigError
from vitrail.messages import _

HELP = _("Write a model as ONNX or torch.export file. For any batch size, and checked.")
EXAMPLES = ("vitrail export runs/photos photos.onnx", "vitrail export runs/photos photos.pt2")
SUFFIX, PROGRAM = ".onnx", ".pt2"


def run(
    model: Annotated[str, typer.Argument(help=_("A run, a model folder or a Hub id."))],
    destination: Annotated[
        Path | None,
        typer.Argument(
            help=_("The file to write: .onnx, or .pt2 for torch.export. Default: NAME.onnx.")
        ),
    ] = None,
    image_size: SizeOption = None,
    dynamic_size: Annotated[
        bool,
        typer.Option("--dynamic-size", help=_("For images of any size that patches divide.")),
    ] = False,
    opset: Annotated[int | None, typer.Option(help=_("Version of ONNX's operators."))] = None,
    weights: WeightsOption = None,
    device: Annotated[
        str, typer.Option(help=_("Where a .pt2 file will run: cpu, cuda, cuda:1, mps ..."))
    ] = "cpu",
    force: ForceOption = False,
) -> None:
    """Exports a model."""
    # A shell leaves the ~ of "~/a name" to us.
    path = Path(os.path.expanduser(destination or default_path(model)))
    if path.suffix not in (SUFFIX, PROGRAM):
        raise ConfigError(f"{path} does not end in {SUFFIX} or {PROGRAM}.")
    if path.suffix == PROGRAM and opset is not None:
        raise ConfigError(f"--opset={opset} is for .onnx files: leave it out for {path}.")
    check_new(path, force)

    from vitrail.deploy.export import OPSET, export_onnx
    from vitrail.deploy.program import export_program
    from vitrail.train.inference import open_model

    backbone = open_model(model, weights=weights, device=device)
    with err.status(_("exporting {model}").format(model=type(backbone).__name__)):
        size: dict[str, Any] = {
            "image_size": image_size, "dynamic_size": dynamic_size, "overwrite": force
        }  # fmt: skip
        if path.suffix == PROGRAM:
            result = export_program(backbone, path, **size)
        else:
            result = export_onnx(backbone, path, opset=OPSET if opset is None else opset, **size)
    files = [result.path] if result.weights is None else [result.path, result.weights]
    for file in files:
        text = _("written: {path} ({size:.1f} MB)")
        out.print(text.format(path=file, size=file.stat().st_size / 1e6), highlight=False)
    shape = " x ".join(map(str, result.inputs))
    text = _("input: images, float32, {shape}").format(shape=shape)
    out.print(text, highlight=False, markup=False)
    if result.difference is None:
        text = _("not checked: onnxruntime is not installed (pip install onnxruntime)")
    else:
        text = _("checked: the file's logits are within {difference:.0e} of the model's")
        text = text.format(difference=result.difference)
    out.print(text, highlight=False, markup=False)


def default_path(model: str) -> Path:
    """The file's name where none is given.

    Args:
        model: a run, a model folder or a Hub id.

    Returns:
        Beside a local folder, or in the current folder for a model of the Hub.

    Example:
        >>> default_path("google/vit-base").as_posix()
        'vit-base.onnx'
    """
    path = Path(model).expanduser()
    if path.name in ("", ".."):
        path = path.resolve()
    if path.is_file():
        return path.with_suffix(SUFFIX)
    return path.with_name(path.name + SUFFIX) if path.is_dir() else Path(path.name + SUFFIX)
