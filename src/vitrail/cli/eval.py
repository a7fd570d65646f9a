"""`vitrail eval`: how good a model is on labelled images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitrail.cli.common import (
    BadImages,
    Precision,
    Size,
    Weights,
    kept_method,
    naming,
    open_model,
    out,
    prepare,
)
from vitrail.errors import ConfigError, check_choice

if TYPE_CHECKING:
    from torch import nn

    from vitrail.data.loader import Loader
    from vitrail.models.base import Backbone
    from vitrail.train.metrics import Evaluation


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
    probe: Annotated[
        str | None,
        typer.Option(
            help="Evaluator the features, not the head, by labelled training images: knn, the 20 "
            "nearest of them; linear, a classifier that learns from them."
        ),
    ] = None,
    train_limit: Annotated[
        int | None, typer.Option(min=2, help="With --probe: so many of them, even over classes.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(min=1, help="With --probe: features after so many blocks.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON.")] = False,
) -> None:
    """Prints accuracy and loss, and the accuracy of each class."""
    from vitrail.data.loader import Loader
    from vitrail.data.registry import open_dataset
    from vitrail.train.metrics import evaluate
    from vitrail.train.monitor import bar, note

    _check(probe, split, train_limit, layer)
    data = data or _own_data(model)
    backbone = open_model(model, weights, image_size)
    assert backbone.preprocess is not None

    def open_loader(split: str, limit: int | None) -> Loader:
        with bar("reading images") as progress:
            source = open_dataset(data, split, bad_images=bad_images, limit=limit, progress=progress)
        for name, reason in source.bad:
            note(f"skipped {name}: {reason}")
        return Loader(source, batch_size, backbone.preprocess.crop, workers=workers)

    loader = open_loader(split, limit)
    labels = loader.source.labels
    if not labels:
        raise ConfigError(f"{data} has no labels to judge by: say --data, such as folder:PHOTOS.")
    if probe is not None:
        if layer is not None:
            backbone.cut(layer)
        module = prepare(backbone, precision, next(loader.epoch()).images)
        result, told = _probe(module, probe, open_loader("train", train_limit), loader)
    else:
        # Where the model has no head, its run may have kept what names classes beside it.
        method = None if backbone.num_classes else kept_method(model)
        _check_labels(model, backbone, data, labels)
        module = naming(prepare(backbone, precision, next(loader.epoch()).images), method)
        with bar("evaluation") as progress:
            result, told = evaluate(module, loader, backbone.preprocess, progress), {}
    figures = {"top1": result.top1, "top5": result.top5, "loss": result.loss}
    if as_json:
        counts = {"count": len(result.targets), "data": data, "split": split}
        out.print_json(json.dumps({**figures, **counts, **told}), indent=None)
        return
    words = "".join(f", {key.replace('_', ' ')} {value}" for key, value in told.items())
    out.print(f"{data} {split}, {len(result.targets):,} images{words}", highlight=False)
    for name, value in figures.items():
        out.print(f"{name:>6} {value:.4f}", highlight=False)
    confusion = result.confusion()
    for index, label in enumerate(labels):
        right, count = int(confusion[index, index]), int(confusion[index].sum())
        out.print(f"{right / max(count, 1):7.1%}  {label} ({right} of {count})", highlight=False)


def _check(probe: str | None, split: str, train_limit: int | None, layer: int | None) -> None:
    """Raises `ConfigError` for options that contradict each other."""
    if probe is not None:
        check_choice("--probe", probe, ("knn", "linear"))
        if split == "train":
            raise ConfigError("--probe learns from the training images: judge it on --split test.")
    elif train_limit is not None or layer is not None:
        option = "--layer" if train_limit is None else "--train-limit"
        raise ConfigError(f"{option} is of probes: add --probe knn or --probe linear.")


def _check_labels(model: str, backbone: "Backbone", data: str, labels: list[str]) -> None:
    """Raises `ConfigError` unless the model knows these classes."""
    if backbone.num_classes not in (0, len(labels)):
        raise ConfigError(
            f"{model} knows {backbone.num_classes} classes and {data} has {len(labels)}."
        )
    if backbone.labels is not None and backbone.labels != labels:
        raise ConfigError(
            f"{model} knows the classes {', '.join(backbone.labels[:5])}..., and {data} has "
            f"{', '.join(labels[:5])}...: they must be the same, in the same order."
        )


def _probe(
    backbone: "nn.Module", kind: str, bank: "Loader", judged: "Loader"
) -> tuple["Evaluation", dict[str, Any]]:
    """The evaluation of features by labelled ones, and what to say of how it was done."""
    from vitrail.models.base import Backbone
    from vitrail.train import probe
    from vitrail.train.metrics import summarise
    from vitrail.train.evaluator import EPSILON, NEIGHBOURS, compute_features
    from vitrail.train.monitor import bar

    assert isinstance(backbone, Backbone)
    labels = judged.source.labels
    if bank.source.labels != labels:
        raise ConfigError(
            f"the classes to learn from ({', '.join(bank.source.labels[:5])}...) are not those "
            f"to judge by ({', '.join(labels[:5])}...)."
        )
    with bar("features to learn from") as progress:
        known, classes, _ = compute_features(backbone, bank, backbone.preprocess, progress)
    with bar("features to judge") as progress:
        features, targets, indices = compute_features(
            backbone, judged, backbone.preprocess, progress
        )
    told: dict[str, Any] = {"probe": kind, "training_images": len(classes)}
    if kind == "knn":
        near = probe.knn(known, classes, features, len(labels), k=NEIGHBOURS)
        logits = (near + EPSILON).log()
    else:
        fit = probe.fit(known, classes, len(labels))
        logits, told["penalty"] = fit(features), fit.strength
    return summarise(logits, targets, indices), told


def _own_data(model: str) -> str:
    """The data that a run was trained on."""
    from vitrail.train.config import read_config

    settings = Path(model) / "run.yaml"
    if not settings.is_file():
        raise ConfigError(
            f"{model} is no run that knows its data: say --data, such as folder:PHOTOS."
        )
    return read_config(settings).data.source
