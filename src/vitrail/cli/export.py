"""`vitrail export`: a model as a file for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import Weights, err, out
from vitrail.errors import ConfigError

SUFFIX = ".onnx"


def run(
    model: Annotated[str, typer.Argument(help="A run, a model folder or a Hub id.")],
    destination: Annotated[
        Path | None, typer.Argument(help="The .onnx file to write; named as the model if absent.")
    ] = None,
    _onnx: Annotated[bool, typer.Option("--onnx", help="As ONNX: the only format so far.")] = True,
    image_size: Annotated[
        int | None, typer.Option(help="Pixels of the images it will get; absent: as the model.")
    ] = None,
    dynamic_size: Annotated[
        bool, typer.Option("--dynamic-size", help="For images of any size that patches divide.")
    ] = False,
    opset: Annotated[int | None, typer.Option(help="The version of ONNX's operators.")] = None,
    weights: Weights = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Writes a model as ONNX, for any batch size, and checks it in onnxruntime."""
    path = destination or beside(model)
    if path.suffix != SUFFIX:
        raise ConfigError(f"{path} does not end in {SUFFIX}.")
    if path.exists() and not force:
        raise ConfigError(f"{path} is already there: choose another name, or overwrite by --force.")

    import vitrail
    from vitrail.deploy.export import OPSET, export_onnx

    backbone = vitrail.load(model, weights=weights)
    with err.status(f"exporting {type(backbone).__name__}"):
        made = export_onnx(
            backbone,
            path,
            image_size=image_size,
            dynamic_size=dynamic_size,
            opset=OPSET if opset is None else opset,
        )
    files = [made.path] if made.weights is None else [made.path, made.weights]
    for file in files:
        out.print(f"written: {file} ({file.stat().st_size / 1e6:.1f} MB)", highlight=False)
    shape = " x ".join(map(str, made.inputs))
    out.print(f"takes: images, float32, {shape}", highlight=False, markup=False)
    if made.difference is None:
        told = "not checked: onnxruntime is not installed (pip install 'vitrail[export]')"
    else:
        told = f"checked: onnxruntime's logits are within {made.difference:.0e} of PyTorch's"
    out.print(told, highlight=False, markup=False)


def beside(model: str) -> Path:
    """The file's name where none is given: beside a folder, or here for what is on the Hub."""
    place = Path(model).expanduser()
    if place.name in ("", ".."):
        place = place.resolve()
    if place.is_file():
        return place.with_suffix(SUFFIX)
    return place.with_name(place.name + SUFFIX) if place.is_dir() else Path(place.name + SUFFIX)
