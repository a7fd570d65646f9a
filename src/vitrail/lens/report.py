"""A run's report: one page that holds everything there is to see of it."""

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from vitrail.errors import TierError, VitrailError
from vitrail.hub.load import load
from vitrail.lens import page, plots
from vitrail.lens.record import Look
from vitrail.models.base import Backbone

LOOKED_AT = 4  # examples whose attention is drawn


def write_report(run: str | Path) -> Path:
    """Writes RUN/report.html from the files of the run folder alone → its path.

    A run that stopped early gets a report of what there is; it says what is missing.
    """
    run = Path(run)
    lines = _lines(run / "metrics.jsonl")
    evaluation = _json(run / "evaluation.json")
    images = _images(run)
    try:
        model: Backbone | None = load(run / "model")
    except VitrailError:
        model = None
    body = [_headline(run, lines, evaluation, model)]
    if model is None or not evaluation:
        body.append(page.paragraph("This run has not finished: figures and pictures are partial."))
    if model is not None and model.origin:
        body.append(page.paragraph(f"It began from: {model.origin}."))
    if lines:
        body.append(page.section("How training went", page.svg(plots.curves_figure(lines))))
    if evaluation:
        body += _where_it_errs(evaluation, images)
    if evaluation and model is not None and images is not None:
        body += _what_it_looks_at(model, evaluation, images)
    body += _how_to_repeat(run)
    name = type(model).__name__ if model is not None else "model"
    return page.write(
        run / "report.html", f"Run {run.resolve().name}", f"{name}, trained by Vitrail", body
    )


def look_section(
    model: Backbone,
    image: Tensor,
    name: str,
    layers: Sequence[int],
    heads: Sequence[int] | None = None,
) -> str:
    """A page's section on one image: uint8 (C, H, W), already cropped to the model's size."""
    assert model.preprocess is not None
    look = Look(model, model.preprocess.normalise(image[None]))
    figure = plots.look_figure(image, look, layers=layers, heads=heads, origin=model.origin)
    return page.section(name, page.picture(figure))


def example_sections(run: Path, count: int = 2) -> list[str]:
    """What a finished run's model looks at, on the first of its examples."""
    evaluation, images = _json(run / "evaluation.json"), _images(run)
    assert images is not None
    return [
        _example(load(run / "model"), entry, images, evaluation["labels"])
        for entry in evaluation["examples"][:count]
    ]


def percent(part: float) -> str:
    """0.9123 → "91.23 %"."""
    return f"{100 * part:.2f} %"


def _headline(
    run: Path, lines: list[dict[str, Any]], evaluation: dict[str, Any], model: Backbone | None
) -> str:
    pairs: list[tuple[str, str]] = []
    if evaluation:
        pairs += [
            (percent(evaluation["top1"]), f"accuracy on {evaluation['split']}"),
            (percent(evaluation["top5"]), "within the best five"),
            (f"{evaluation['loss']:.3f}", "loss"),
            (f"{evaluation['count']:,}", "images judged"),
        ]
    elif held := [line for line in lines if line["split"] == "val"]:
        pairs.append((percent(held[-1]["top1"]), f"validation accuracy at step {held[-1]['step']}"))
    if model is not None:
        pairs.append((f"{sum(p.numel() for p in model.parameters()):,}", "parameters"))
    timing = _lines(run / "timing.jsonl")
    if timing:
        rates = sorted(line["images_per_second"] for line in timing)
        pairs += [
            (f"{_seconds(timing) / 60:.1f} min", "training"),
            (f"{rates[len(rates) // 2]:,.0f}", "images a second"),
        ]
    return page.figures(pairs)


def _seconds(timing: list[dict[str, Any]]) -> float:
    """Seconds over all sittings: the clock starts anew each time a run is resumed."""
    total, last = 0.0, 0.0
    for line in timing:
        total += line["seconds"] - last if line["seconds"] >= last else line["seconds"]
        last = line["seconds"]
    return total


def _where_it_errs(evaluation: dict[str, Any], images: Tensor | None) -> list[str]:
    labels = evaluation["labels"]
    ranked = sorted(zip(evaluation["per_class"], labels, strict=True))
    rows = "".join(
        f'<tr><td>{page.text(label)}</td><td><span class="bar" style="width:{200 * part:.0f}px">'
        f"</span></td><td>{percent(part)}</td></tr>"
        for part, label in ranked[:40]
    )
    parts = [page.section("Accuracy of each class, hardest first", f"<table>{rows}</table>")]
    if len(labels) <= 60:
        drawn = page.svg(plots.confusion_figure(evaluation["confusion"], labels), narrow=True)
        parts.append(page.section("What is taken for what", drawn))
    if images is not None and evaluation["mistakes"]:
        cells = []
        for entry in evaluation["mistakes"]:
            truth, predicted = labels[entry["truth"]], labels[entry["predicted"]]
            cells.append(
                f'<figure title="{page.text(entry["name"])}">'
                f'<img alt="" src="{page.thumbnail(images[entry["image"]])}">'
                f'<span class="wrong">{page.text(predicted)} {entry["confidence"]:.0%}</span><br>'
                f'<span class="dark">is {page.text(truth)}</span></figure>'
            )
        gallery = f'<div class="gallery">{"".join(cells)}</div>'
        told = "Wrong, and surest of it. Some are mistakes of the labels."
        parts.append(
            page.section("Most confident mistakes", page.paragraph(told, quiet=True), gallery)
        )
    return parts


def _what_it_looks_at(model: Backbone, evaluation: dict[str, Any], images: Tensor) -> list[str]:
    labels = evaluation["labels"]
    told = (
        "Where the last layer's summary looks, attention followed through all layers (rollout), "
        "patches coloured by their features, and each head."
    )
    parts = [page.section("What it looks at", page.paragraph(told, quiet=True))]
    try:
        for entry in evaluation["examples"][:LOOKED_AT]:
            parts.append(_example(model, entry, images, labels))
    except TierError as problem:
        parts.append(page.paragraph(str(problem)))
    return parts


def _example(model: Backbone, entry: dict[str, Any], images: Tensor, labels: Sequence[str]) -> str:
    truth, predicted = labels[entry["truth"]], labels[entry["predicted"]]
    name = f"{truth}, seen as {predicted} ({entry['confidence']:.0%})"
    return look_section(model, images[entry["image"]], name, (-1,))


def _how_to_repeat(run: Path) -> list[str]:
    parts = []
    for name, title in (("command.txt", "The command"), ("run.yaml", "The exact settings")):
        if (run / name).is_file():
            words = page.text((run / name).read_text("utf-8").strip())
            parts.append(page.section(title, f"<pre>{words}</pre>"))
    if (run / "bad_images.txt").is_file():
        words = page.text((run / "bad_images.txt").read_text("utf-8").strip())
        parts.append(page.section("Images that were left out", f"<pre>{words}</pre>"))
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("vitrail", "torch")
    )
    return [*parts, page.paragraph(f"With {versions}.", quiet=True)]


def _images(run: Path) -> Tensor | None:
    path = run / "evaluation.safetensors"
    return safetensors.torch.load_file(path)["images"] if path.is_file() else None


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines only: the last may be half written."""
    if not path.is_file():
        return []
    whole = path.read_text("utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]
