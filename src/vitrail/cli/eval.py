"""`vitrail eval`: how good a model is on labelled images."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import BadImages, Precision, Size, Weights, open_model, out, prepare
from vitrail.errors import ConfigError


def run(
    model: Annotated[str, typer.Argument(help="A run, a model folder or a Hub id.")],
    data: Annotated[
        str | None,
        typer.Option(help="folder:PATH, hub:NAME, fashion-mnist, ...; a run's own if absent."),
    ] = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    weights: Weights = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    limit: Annotated[
        int | None, typer.Option(min=2, help="So many images, even over classes.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0)] = 0,
    image_size: Size = None,
    precision: Precision = "fp32",
    bad_images: BadImages = "raise",
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON.")] = False,
) -> None:
    """Prints accuracy and loss, and the accuracy of each class."""
    from vitrail.data.loader import Loader
    from vitrail.data.open import open_source
    from vitrail.train.evaluate import evaluate
    from vitrail.train.monitor import bar, note

    data = data or _own_data(model)
    backbone = open_model(model, weights, image_size)
    assert backbone.preprocess is not None
    with bar("reading images") as progress:
        source = open_source(data, split, bad_images=bad_images, limit=limit, progress=progress)
    for name, reason in source.bad:
        note(f"skipped {name}: {reason}")
    if backbone.num_classes != len(source.labels):
        raise ConfigError(
            f"{model} knows {backbone.num_classes} classes and {data} has {len(source.labels)}."
        )
    if backbone.labels is not None and backbone.labels != source.labels:
        raise ConfigError(
            f"{model} knows the classes {', '.join(backbone.labels[:5])}..., and {data} has "
            f"{', '.join(source.labels[:5])}...: they must be the same, in the same order."
        )
    loader = Loader(source, batch_size, backbone.preprocess.crop, workers=workers)
    module = prepare(backbone, precision, next(loader.epoch()).images)
    with bar("evaluation") as progress:
        result = evaluate(module, loader, backbone.preprocess, progress)
    figures = {"top1": result.top1, "top5": result.top5, "loss": result.loss}
    if as_json:
        counts = {"count": len(result.targets), "data": data, "split": split}
        out.print_json(json.dumps({**figures, **counts}), indent=None)
        return
    out.print(f"{data} {split}, {len(result.targets):,} images", highlight=False)
    for name, value in figures.items():
        out.print(f"{name:>6} {value:.4f}", highlight=False)
    confusion = result.confusion()
    for index, label in enumerate(source.labels):
        right, count = int(confusion[index, index]), int(confusion[index].sum())
        out.print(f"{right / max(count, 1):7.1%}  {label} ({right} of {count})", highlight=False)


def _own_data(model: str) -> str:
    """The data that a run was trained on."""
    from vitrail.train.run import read_run

    settings = Path(model) / "run.yaml"
    if not settings.is_file():
        raise ConfigError(
            f"{model} is no run that knows its data: say --data, such as folder:PHOTOS."
        )
    return read_run(settings).data.source
