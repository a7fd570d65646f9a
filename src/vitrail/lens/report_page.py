"""The report of a run: one HTML page with its curves, mistakes and attention."""

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import VitrailError
from vitrail.hub.fitting import reading
from vitrail.intervals import interval_text
from vitrail.lens import html
from vitrail.lens.curves import training_curves
from vitrail.lens.explanation_page import comparison_section
from vitrail.lens.flat import to_bytes
from vitrail.lens.health_page import health_sections
from vitrail.lens.looking import LookOptions, draw_trace
from vitrail.lens.position import position_baseline
from vitrail.lens.report_classes import class_sections
from vitrail.lens.report_data import (
    ReportData,
    describe_spikes,
    images_per_second,
    percent,
    read_report,
    training_seconds,
)
from vitrail.lens.report_values import value_figures, value_sections
from vitrail.lens.trace import AttentionTrace, observe
from vitrail.messages import _, ngettext
from vitrail.models.base import Backbone
from vitrail.run_folder import RunFolder

EXAMPLES = 4  # examples whose attention is drawn


def how_to_read() -> str:
    """The explanation of attention pictures.

    Returns:
        Plain text.

    Example:
        >>> how_to_read()[:34]
        'Bright patches get high attention.'
    """
    return _(
        "Bright patches get high attention. The color of a patch is that of its weight on the bar "
        "below, from 0 to the largest weight; details of the image only darken and lighten it, and "
        "leave its mean. Look at the bars before you compare two maps: each may have its own "
        "scale. The closer the entropy is to its limit, the more alike a head looks everywhere. "
        "Rollout multiplies the attention of all layers. In the last pictures of the first row, "
        "patches of similar color have similar features (PCA). Layers, heads, rows and columns are "
        "counted from 0."
    )


@checked
def write_report(run: RunFolder | str | Path) -> Path:
    """Writes the report of a run from the files of its folder.

    A run that stopped early gets a report of what there is, which says what is missing.

    Args:
        run: the folder of the run.

    Returns:
        The page, report.html in that folder.

    Raises:
        ConfigError: the folder holds no run, or a file of it cannot be read.
        LoadError: its files contradict each other.

    Example:
        >>> import tempfile
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> run.write_settings({"data": {"source": "digits"}})
        >>> write_report(run).name
        'report.html'
    """
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    data = read_report(run)
    with reading(run.path):
        body = _body(data)
    name = type(data.model).__name__ if data.model is not None else _("A model")
    title = _("{model} trained on {dataset}") if data.dataset else _("{model} trained by Vitrail")
    title = title.format(model=name, dataset=data.dataset)
    subtitle = _("Run {name}").format(name=run.path.resolve().name)
    if data.setup is not None:
        subtitle = _("{run}, method {method}").format(run=subtitle, method=data.setup.method)
    return html.write_page(run.report_file, title, subtitle, body)


def _body(data: ReportData) -> list[str]:
    """All sections of a report."""
    body = [_headline(data), *_setup(data), *_notes(data), *_user_notes(data.run)]
    if data.metrics:
        body.append(html.section(_("Training curves"), html.charts(training_curves(data.metrics))))
    body += [*health_sections(data.run.health), *_logged_images(data)]
    if data.has_accuracy:
        body += class_sections(data)
        if data.model is not None and data.images is not None:
            body += _attention(data.model, data)
    elif "classes" in data.evaluation:
        body += value_sections(data)
    if (comparison := data.run.explanations) is not None:
        body.append(comparison_section(*comparison))
    return body + _reproduction(data)


def attention_section(
    model: Backbone,
    image: Tensor,
    name: str,
    layers: Sequence[int],
    heads: Sequence[int] | None = None,
) -> str:
    """A section of a page on what a model attends to in an image.

    Args:
        model: the model, in evaluation mode.
        image: uint8 (C, H, W), cropped by the model's preprocess.
        name: title of the section.
        layers: attention layers to draw, by position; negative ones count from the end.
        heads: heads to draw; None: all.

    Returns:
        HTML.

    Raises:
        ConfigError: a layer or a head does not exist.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> attention_section(model, image, "Cat", [0])[:12]
        '<h2>Cat</h2>'
    """
    (rows,), sentences = _picture_rows(model, image[None], layers, heads)
    return html.section(name, html.paragraph(sentences, "quiet"), *rows)


def example_sections(run: RunFolder, count: int = 2) -> list[str]:
    """Sections on what a run's model attends to in its first examples.

    Args:
        run: the folder of a run that has finished.
        count: number of examples.

    Returns:
        HTML of each section; none where the run kept no images.

    Raises:
        ConfigError: the folder holds no run.

    Example:
        >>> import tempfile
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> run.write_settings({"data": {"source": "digits"}})
        >>> example_sections(run)
        []
    """
    data = read_report(run)
    if data.images is None or data.model is None:
        return []
    return _examples(data.model, data, count)


def _setup(data: ReportData) -> list[str]:
    """What was trained on what, and where."""
    if data.setup is None:
        return []
    text = _(
        "Method {method}; images: {images}; {epochs:,} epochs of {steps:,} steps with batches of "
        "{batch_size}; seed {seed}; {device}, {precision}."
    )
    counts = ", ".join(f"{split} {count:,}" for split, count in data.setup.images.items())
    return [html.paragraph(text.format(**{**data.setup._asdict(), "images": counts}), "quiet")]


def _notes(data: ReportData) -> list[str]:
    """What is missing, and how the run was evaluated."""
    missing = []
    if data.model is None:
        missing.append(data.model_problem or _("no model yet: continue the run with --resume"))
    if not data.evaluation:
        missing.append(_("no evaluation"))
    elif data.images is None and data.has_accuracy:
        missing.append(_("no images of the evaluation"))
    if not data.metrics:
        missing.append(_("no curves"))
    notes = []
    if missing:
        text = _("Parts of this run are missing: {parts}.").format(parts="; ".join(missing))
        notes.append(html.paragraph(text, "note"))
    if spikes := describe_spikes(data.metrics):
        notes.append(html.paragraph(spikes, "note"))
    if weights := data.evaluation.get("weights"):
        text = _("The weights that were evaluated and saved: {weights}.").format(weights=weights)
        notes.append(html.paragraph(text, "quiet"))
    if evaluator := data.evaluation.get("evaluated_by"):
        text = _("The method learns no labels. Accuracy is that of {evaluator} on its features.")
        notes.append(html.paragraph(text.format(evaluator=evaluator), "quiet"))
    if data.evaluation.get("thresholds") == "validation":
        notes.append(html.paragraph(_describe_thresholds(data), "quiet"))
    if baseline := data.evaluation.get("baseline"):
        notes.append(html.paragraph(_describe_baseline(baseline)))
    if data.model is not None and data.model.origin:
        text = _("Training started from these weights: {origin}.").format(origin=data.model.origin)
        notes.append(html.paragraph(text))
    return notes


def _user_notes(run: RunFolder) -> list[str]:
    """What the user noted with `vitrail note`."""
    texts = [f"{note['date']}: {note['text']}" for note in run.notes]
    return [html.section(_("Notes"), *map(html.paragraph, texts))] if texts else []


def _headline(data: ReportData) -> str:
    evaluation = data.evaluation
    figures: list[tuple[str, str]] = []
    if data.has_accuracy:
        name = _("accuracy on {split}").format(split=evaluation["split"])
        if "top1_low" in evaluation:
            interval = interval_text(evaluation["top1_low"], evaluation["top1_high"])
            name += " " + _("(95 % interval: {interval})").format(interval=interval)
        figures.append((percent(evaluation["top1"]), name))
        if "val_top1" in evaluation:
            interval = interval_text(evaluation["val_top1_low"], evaluation["val_top1_high"])
            name = _("accuracy on validation images (95 % interval: {interval})")
            figures.append((percent(evaluation["val_top1"]), name.format(interval=interval)))
        if "baseline" in evaluation:
            figures.append(_baseline_accuracy(evaluation["baseline"]))
        if "top5" in evaluation:
            figures.append((percent(evaluation["top5"]), _("top-5 accuracy")))
        titles = {
            "balanced_accuracy": _("balanced accuracy: the mean over classes"),
            "macro_f1": _("macro F1"),
            "auc": _("area under the ROC curve, mean over classes"),
            "calibration_error": _("calibration error: confidence beside accuracy"),
        }
        scores = evaluation.get("scores", {})
        figures += [(percent(scores[key]), text) for key, text in titles.items() if key in scores]
        if "evaluated_by" not in evaluation:
            figures.append((f"{evaluation['loss']:.3f}", _("cross-entropy over the classes")))
        figures.append((f"{evaluation['count']:,}", _("evaluated images")))
    elif "classes" in evaluation:
        figures += value_figures(evaluation)
    elif (line := data.last_validation) is not None:
        name = _("validation accuracy at step {step}").format(step=line["step"])
        figures.append((percent(line["top1"]), name))
    if data.model is not None:
        count = sum(p.numel() for p in data.model.parameters())
        figures.append((f"{count:,}", _("parameters")))
    if data.timing:
        minutes = training_seconds(data.timing) / 60
        figures.append((_("{n:.1f} min").format(n=minutes), _("training time")))
        figures.append((f"{images_per_second(data.timing):,.0f}", _("images per second")))
    return html.headline(figures)


def _describe_thresholds(data: ReportData) -> str:
    """On which images the thresholds of several labels were chosen, and what the figures are at."""
    if str(data.evaluation["split"]).endswith("validation"):
        return _(
            "The saved thresholds have the highest F1 on the validation images. The figures here "
            "are of the same images, so they are at thresholds of 0.5: at the saved ones they "
            "would be too good. A test split would tell."
        )
    return _(
        "The threshold of each label has the highest F1 on the validation images; the figures here "
        "are of test images, by which nothing was chosen."
    )


def _baseline_accuracy(baseline: dict[str, Any]) -> tuple[str, str]:
    """The accuracy of the CNN that was trained beside the model, and what it is."""
    text = _(
        "accuracy of {name}, a CNN that learned from the same images (95 % interval: {interval})"
    )
    interval = interval_text(baseline["top1_low"], baseline["top1_high"])
    return percent(baseline["top1"]), text.format(name=baseline["name"], interval=interval)


def _describe_baseline(baseline: dict[str, Any]) -> str:
    """How the CNN was trained, and its figures where they are no accuracy."""
    text = _(
        "Beside the model, {name} ({parameters:,} parameters) was trained from scratch on the same "
        "images: {epochs}, {minutes:.1f} minutes, AdamW at its default settings."
    )
    count, minutes = baseline["epochs"], baseline["seconds"] / 60
    epochs = ngettext("{n:,} epoch", "{n:,} epochs", count).format(n=count)
    text = text.format(**{**baseline, "epochs": epochs, "minutes": minutes})
    names = [name for name in ("map", "micro_f1", "mae", "rmse", "r2") if name in baseline]
    figures = ", ".join(f"{name} {baseline[name]:.4g}" for name in names)
    return f"{text} {figures}".rstrip()


def _logged_images(data: ReportData) -> list[str]:
    """The first and the last of each kind of image that was drawn during training."""
    explanations = {
        "reconstruction": _("The image, the visible part of it, and its reconstruction."),
        "attention": _("Attention of the teacher's last layer, the mean of its heads."),
        "similarity": _(
            "Cosine similarity of images and captions; an image's own caption is on the diagonal."
        ),
    }
    titles = {
        "reconstruction": _("Reconstruction"),
        "attention": _("Attention"),
        "similarity": _("Similarity"),
    }
    sections = []
    for kind, files in data.run.logged_images.items():
        parts = [html.paragraph(explanations.get(kind, ""), "quiet")]
        for step, file in dict.fromkeys([files[0], files[-1]]):
            caption = _("Step {step:,}").format(step=step)
            parts += [html.paragraph(caption), _embedded(file, f"{titles.get(kind, kind)}, {step}")]
        sections.append(html.section(titles.get(kind, kind.capitalize()), *parts))
    return sections


def _embedded(file: Path, alt: str) -> str:
    from PIL import Image

    with Image.open(file) as image:
        return html.image_tag(image.convert("RGB"), alt, max_size=1400)


def _attention(model: Backbone, data: ReportData) -> list[str]:
    title = _("What it attends to")
    try:
        examples = _examples(model, data, EXAMPLES)
    except VitrailError as problem:
        return [html.section(title, html.paragraph(str(problem), "note"))]
    return [html.section(title, html.paragraph(how_to_read(), "quiet")), *examples]


def _examples(model: Backbone, data: ReportData, count: int) -> list[str]:
    """Sections on the first examples, which go through the model as one batch."""
    assert data.images is not None
    labels, entries = data.evaluation["labels"], data.evaluation["examples"][:count]
    if not entries:
        return []
    images = data.images[[entry["image"] for entry in entries]]
    pictures, sentences = _picture_rows(model, images, (-1,))
    sections = [html.paragraph(sentences, "quiet")]
    for entry, rows in zip(entries, pictures, strict=True):
        truth, prediction = labels[entry["truth"]], labels[entry["predicted"]]
        right = _("{truth}, recognized ({confidence:.0%})")
        wrong = _("{truth}, taken for {prediction} ({confidence:.0%})")
        name = (right if prediction == truth else wrong).format(
            truth=truth, prediction=prediction, confidence=entry["confidence"]
        )
        sections.append(html.section(name, *rows, level=3))
    return sections


def _picture_rows(
    model: Backbone, images: Tensor, layers: Sequence[int], heads: Sequence[int] | None = None
) -> tuple[list[list[str]], str]:
    """Images as the model's preprocess crops them → for each its rows of pictures; what they are.

    The maps of scans have their position-only baseline.
    """
    device = next(model.parameters()).device
    inputs = model.preprocess.normalise(images.to(device))
    trace = observe(model, inputs)
    baseline = None
    if isinstance(trace, AttentionTrace) and any(trace.head_names):  # of scans
        baseline = position_baseline(model, inputs, trace)
    options = LookOptions(tuple(layers), None if heads is None else tuple(heads))
    looks = [
        draw_trace(image, trace, options, index=index, baseline=baseline)
        for index, image in enumerate(to_bytes(images, model.preprocess))
    ]
    return [[*map(html.panel_row, look.rows)] for look in looks], " ".join(looks[0].sentences)


def _reproduction(data: ReportData) -> list[str]:
    run = data.run
    parts = []
    for file, title in (
        (run.command_file, _("The command")),
        (run.settings_file, _("The exact settings")),
        (run.bad_images_file, _("Images that were left out")),
    ):
        if file.is_file():
            text = html.escape(file.read_text("utf-8", "backslashreplace").strip())
            parts.append(html.section(title, f"<pre>{text}</pre>"))
    packages = ("vitrail", "torch", "accelerate", "kornia")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    text = _("With Python {python}, {packages}.")
    text = text.format(python=platform.python_version(), packages=", ".join(versions))
    return [*parts, html.paragraph(text, "quiet")]
