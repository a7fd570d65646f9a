"""A run's report: one page that holds everything there is to see of it."""

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from vitrail.errors import ConfigError, VitrailError
from vitrail.hub import model_folder
from vitrail.hub.load import load
from vitrail.lens import plots
from vitrail.lens import html
from vitrail.lens.record import observe
from vitrail.models.base import Backbone

DRAWN = {
    "reconstruction": "The image, what the model was given of it, and what it made of that.",
    "attention": "Where the last layer of the teacher looks, mean of its heads.",
    "similarity": "Cosines between images and captions; each row's own caption is on the diagonal.",
}
LOOKED_AT = 4  # examples whose attention is drawn
LISTED, CROSSED, NUMBERED = 40, 60, 20  # classes: in the list, in the matrix, with its numbers

HOW_TO_READ = (
    "Bright is where the class token looks, or the patches on average where there is none. Each "
    "picture has its own scale, from the least weight to the greatest. Rollout follows attention "
    "through all layers. A Mamba has no attention; shown is how much of each patch its scans still "
    "carry when they reach the token. In the last picture of the first row, the three main "
    "directions of the patch features are red, green and blue: patches of like colour are alike to "
    "the model"
)


def write_report(run: str | Path) -> Path:
    """Writes RUN/report.html from the files of the run folder alone → its path.

    A run that stopped early gets a report of what there is; it says what is missing. Raises
    `ConfigError` for a folder that holds no run.
    """
    run = Path(run)
    lines = _lines(run / "metrics.jsonl")
    evaluation = _json(run / "evaluation.json")
    if not (lines or evaluation or (run / "run.yaml").is_file()):
        raise ConfigError(f"{run} holds no run: there is neither run.yaml nor metrics.jsonl.")
    images = _images(run)
    model, missing = _model(run)
    judged = "top1" in evaluation
    if not evaluation:
        missing.append("no evaluation")
    elif images is None and judged:
        missing.append("no images of the evaluation")
    if not lines:
        missing.append("no curves")
    body = [_headline(run, lines, evaluation, model)]
    if missing:
        told = f"Parts of this run are missing: {'; '.join(missing)}."
        body.append(html.paragraph(told, "note"))
    if kept := evaluation.get("weights"):
        body.append(html.paragraph(f"Judged and kept are the weights of the {kept}.", "quiet"))
    if judge := evaluation.get("judge"):
        told = f"It learned no labels: a class is what its {judge} among training images have."
        body.append(html.paragraph(told, "quiet"))
    if model is not None and model.origin:
        body.append(html.paragraph(f"The weights began from: {model.origin}."))
    if lines:
        body.append(html.section("How training went", html.charts(plots.curves(lines))))
    body += _what_was_drawn(run)
    if judged:
        body += _where_it_errs(evaluation, images)
    if judged and model is not None and images is not None:
        body += _what_it_looks_at(model, evaluation, images)
    body += _how_to_repeat(run)
    name = type(model).__name__ if model is not None else "A model"
    source = _source(run)
    title = f"{name} trained on {source}" if source else f"{name} trained by Vitrail"
    return html.write(run / "report.html", title, f"Run {run.resolve().name}", body)


def look_section(
    model: Backbone,
    image: Tensor,
    name: str,
    layers: Sequence[int],
    heads: Sequence[int] | None = None,
) -> str:
    """A page's section on one image: uint8 (C, H, W), already cropped to the model's size."""
    (rows,) = _look_at(model, image[None], layers, heads)
    origin = [html.paragraph(model.origin, "quiet")] if model.origin else []
    return html.section(name, *rows, *origin)


def example_sections(run: Path, count: int = 2) -> list[str]:
    """What a finished run's model looks at, on the first of its examples."""
    evaluation, images = _json(run / "evaluation.json"), _images(run)
    if images is None:
        return []
    return _examples(load(run / "model"), evaluation, images, count)


def percent(part: float) -> str:
    """0.9123 → "91.23 %"."""
    return f"{100 * part:.2f} %"


def _headline(
    run: Path, lines: list[dict[str, Any]], evaluation: dict[str, Any], model: Backbone | None
) -> str:
    pairs: list[tuple[str, str]] = []
    if "top1" in evaluation:
        pairs.append((percent(evaluation["top1"]), f"accuracy on {evaluation['split']}"))
        if len(evaluation["labels"]) > 5:
            pairs.append((percent(evaluation["top5"]), "within the best five"))
        if "judge" not in evaluation:
            pairs.append((f"{evaluation['loss']:.3f}", "loss"))
        pairs.append((f"{evaluation['count']:,}", "images judged"))
    elif held := [line for line in lines if line["split"] == "val" and "top1" in line]:
        pairs.append((percent(held[-1]["top1"]), f"validation accuracy at step {held[-1]['step']}"))
    if model is not None:
        pairs.append((f"{sum(p.numel() for p in model.parameters()):,}", "parameters"))
    if timing := _lines(run / "timing.jsonl"):
        rates = sorted(line["images_per_second"] for line in timing)
        pairs += [
            (f"{_seconds(timing) / 60:.1f} min", "training"),
            (f"{rates[len(rates) // 2]:,.0f}", "images a second"),
        ]
    return html.figures(pairs)


def _what_was_drawn(run: Path) -> list[str]:
    """The first and the last of each kind of picture that was kept while it learned."""
    kinds: dict[str, list[Path]] = {}
    for file in sorted((run / "pictures").glob("*-*.png")):
        kinds.setdefault(file.stem.rpartition("-")[0], []).append(file)
    sections = []
    for kind, files in kinds.items():
        parts = [html.paragraph(DRAWN.get(kind, ""), "quiet")]
        for file in dict.fromkeys([files[0], files[-1]]):
            step = int(file.stem.rpartition("-")[2])
            parts += [html.paragraph(f"Step {step:,}"), _embedded(file, f"{kind}, step {step}")]
        sections.append(html.section(kind.capitalize(), *parts))
    return sections


def _embedded(file: Path, words: str) -> str:
    from PIL import Image

    with Image.open(file) as image:
        return html.picture(image.convert("RGB"), words, most=1400)


def _seconds(timing: list[dict[str, Any]]) -> float:
    """Seconds over all sittings: the clock starts anew each time a run is resumed."""
    total, last = 0.0, 0.0
    for line in timing:
        total += line["seconds"] - last if line["seconds"] >= last else line["seconds"]
        last = line["seconds"]
    return total


def _where_it_errs(evaluation: dict[str, Any], images: Tensor | None) -> list[str]:
    labels = evaluation["labels"]
    shown = _classes(evaluation)
    hidden = len(labels) - LISTED
    more = [html.paragraph(f"and {hidden} easier ones", "quiet")] if hidden > 0 else []
    classes = html.section("Accuracy of each class, hardest first", shown, *more)
    if len(labels) <= CROSSED:
        told = html.paragraph("Rows are the truth, columns what the model said.", "quiet")
        crossed = html.section("What is taken for what", told, _matrix(evaluation))
        parts = [html.sides(classes, crossed)] if len(labels) <= NUMBERED else [classes, crossed]
    else:
        parts = [classes]
    if images is not None and evaluation["mistakes"]:
        told = "Wrong, and surest of it. Here wrong labels come to light, too."
        gallery = "".join(_mistake(entry, labels, images) for entry in evaluation["mistakes"])
        parts.append(
            html.section(
                "Most confident mistakes",
                html.paragraph(told, "quiet"),
                f'<div class="gallery">{gallery}</div>',
            )
        )
    return parts


def _classes(evaluation: dict[str, Any]) -> str:
    """A line for each class: how often it is right, and what it is most often taken for."""
    labels, confusion = evaluation["labels"], evaluation["confusion"]
    rows = ['<tr><th>class</th><th colspan="2">right</th><th>most often taken for</th></tr>']
    order = sorted(range(len(labels)), key=lambda i: (not sum(confusion[i]), _right(confusion, i)))
    for index in order[:LISTED]:
        part = _right(confusion, index)
        wrong = [(n, -j) for j, n in enumerate(confusion[index]) if j != index and n]
        most = ""
        if wrong:
            times, other = max(wrong)
            most = f"{labels[-other]} ({times})"
        value = percent(part) if sum(confusion[index]) else "no images"
        rows.append(
            f'<tr><td>{html.text(labels[index])}</td><td width="28%"><span class="bar" '
            f'style="--part:{100 * part:.1f}%"></span></td><td class="number">{value}</td>'
            f'<td class="quiet">{html.text(most)}</td></tr>'
        )
    return f'<table class="list">{"".join(rows)}</table>'


def _right(confusion: Sequence[Sequence[int]], index: int) -> float:
    return confusion[index][index] / max(sum(confusion[index]), 1)


def _matrix(evaluation: dict[str, Any]) -> str:
    """The confusion matrix: what is right in blue; errors in amber, deepest for the commonest."""
    labels, confusion = evaluation["labels"], evaluation["confusion"]
    totals = [max(sum(row), 1) for row in confusion]
    errors = [
        count / totals[i]
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if i != j
    ]
    worst = max([*errors, 0.05])  # a few errors do not look like many
    names = [label if len(label) <= 24 else f"{label[:23]}…" for label in labels]
    head = "".join(f'<th scope="col">{html.text(name)}</th>' for name in names)
    rows = []
    for i, row in enumerate(confusion):
        cells = []
        for j, count in enumerate(row):
            part = count / totals[i] if i == j else count / totals[i] / worst
            told = f"{labels[i]}, said to be {labels[j]}: {count}"
            kind = ("right" if i == j else "missed") + (" deep" if part > 0.6 else "")
            style = f' class="{kind}" style="--part:{100 * part:.0f}%"' if count else ""
            number = str(count) if count and len(labels) <= NUMBERED else ""
            cells.append(f'<td{style} title="{html.text(told)}">{number}</td>')
        rows.append(f'<tr><th scope="row">{html.text(names[i])}</th>{"".join(cells)}</tr>')
    cell = min(34, (440 if len(labels) <= NUMBERED else 900) // len(labels))
    return (
        f'<div class="scroll"><table class="matrix" style="--cell:{cell}px">'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _mistake(entry: dict[str, Any], labels: Sequence[str], images: Tensor) -> str:
    truth, predicted = html.text(labels[entry["truth"]]), html.text(labels[entry["predicted"]])
    drawn = html.picture(plots.as_picture(images[entry["image"]]), labels[entry["truth"]], 224)
    return (
        f'<figure title="{html.text(entry["name"])}">{drawn}{truth}<br>'
        f'<span class="wrong">taken for {predicted}, {entry["confidence"]:.0%}</span></figure>'
    )


def _what_it_looks_at(model: Backbone, evaluation: dict[str, Any], images: Tensor) -> list[str]:
    told = html.paragraph(f"{HOW_TO_READ}, here in all examples.", "quiet")
    try:
        return [
            html.section("What it looks at", told),
            *_examples(model, evaluation, images, LOOKED_AT),
        ]
    except VitrailError as problem:
        return [html.section("What it looks at", html.paragraph(str(problem), "note"))]


def _examples(model: Backbone, evaluation: dict[str, Any], images: Tensor, count: int) -> list[str]:
    """Sections on the first examples, looked at together."""
    labels, entries = evaluation["labels"], evaluation["examples"][:count]
    if not entries:
        return []
    shown = images[[entry["image"] for entry in entries]]
    sections = []
    for entry, rows in zip(entries, _look_at(model, shown, (-1,)), strict=True):
        truth, predicted = labels[entry["truth"]], labels[entry["predicted"]]
        seen = f"taken for {predicted}" if predicted != truth else "recognised"
        name = f"{truth}, {seen} ({entry['confidence']:.0%})"
        sections.append(html.section(name, *rows, level=3))
    return sections


def _look_at(
    model: Backbone, images: Tensor, layers: Sequence[int], heads: Sequence[int] | None = None
) -> list[list[str]]:
    """Images uint8 (B, C, H, W), already cropped → for each its rows of pictures."""
    if model.preprocess is None:
        raise ConfigError("this model does not say how images are prepared: it has no preprocess.")
    device = next(model.parameters()).device
    look = observe(model, model.preprocess.normalise(images.to(device)))
    return [
        [
            html.strip(row)
            for row in plots.panels(image, look, index=index, layers=layers, heads=heads)
        ]
        for index, image in enumerate(images)
    ]


def _how_to_repeat(run: Path) -> list[str]:
    parts = []
    for name, title in (
        ("command.txt", "The command"),
        ("run.yaml", "The exact settings"),
        ("bad_images.txt", "Images that were left out"),
    ):
        if (run / name).is_file():
            words = html.text((run / name).read_text("utf-8").strip())
            parts.append(html.section(title, f"<pre>{words}</pre>"))
    packages = ("vitrail", "torch", "accelerate", "kornia")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    told = f"With Python {platform.python_version()}, {', '.join(versions)}."
    return [*parts, html.paragraph(told, "quiet")]


def _model(run: Path) -> tuple[Backbone | None, list[str]]:
    """The run's model, or why there is none. Never fetches one: only the run's own counts."""
    if not (run / "model" / model_folder.CONFIG).is_file():
        return None, ["no model yet: let it finish, with --resume"]
    try:
        return load(run / "model"), []
    except VitrailError as problem:
        return None, [str(problem).rstrip(".")]


def _source(run: Path) -> str:
    """What the run was trained on, as its settings spell it."""
    import yaml

    if not (run / "run.yaml").is_file():
        return ""
    settings = yaml.safe_load((run / "run.yaml").read_text("utf-8")) or {}
    source = str((settings.get("data") or {}).get("source") or "")
    kind, _, rest = source.partition(":")
    return f"the folder {Path(rest).name}" if kind == "folder" else source


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
