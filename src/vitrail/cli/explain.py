"""`vitrail explain compare`: how far explanations of a run can be believed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vitrail.cli.common import DeviceOption, ForceOption, SizeOption, WeightsOption, check_new, out
from vitrail.errors import ConfigError
from vitrail.messages import _

if TYPE_CHECKING:
    from torch import Tensor

    from vitrail.lens.faithfulness.compare import Faithfulness
    from vitrail.models.base import Backbone
    from vitrail.run_folder import RunFolder

HELP = _(
    "Test how far explanations of a model can be believed. By deletion and insertion of patches, "
    "and by random weights. To draw one, use vitrail look --explain."
)
EXAMPLES = (
    "vitrail explain compare runs/photos",
    "vitrail explain compare runs/photos --explanations relevance,grad_cam --count 32",
    "vitrail explain compare runs/photos --images 'photos/*.jpg' --target owl",
)
MAX_MAPS = 8  # images whose maps are drawn


def run(
    task: Annotated[Literal["compare"], typer.Argument(help=_("What is done: compare."))],
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help=_("A run, a model folder or a Hub id."))
    ],
    images: Annotated[
        str | None,
        typer.Option(help=_("A file, folder or pattern. Default: test images that the run kept.")),
    ] = None,
    explanations: Annotated[
        str | None,
        typer.Option(help=_("Names, such as relevance,grad_cam. Default: all that serve it.")),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help=_("A class, by name or index. Default: the likeliest of each image.")),
    ] = None,
    count: Annotated[int, typer.Option(min=2, max=1024, help=_("Images at most."))] = 16,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help=_("Seed of random weights and maps."))
    ] = 0,
    weights: WeightsOption = None,
    image_size: SizeOption = None,
    device: DeviceOption = None,
    output: Annotated[
        Path, typer.Option("--out", "-o", help=_("The page: .html, or .json for the figures."))
    ] = Path("explain.html"),
    force: ForceOption = False,
) -> None:
    """Compares explanations of a model."""
    from rich.table import Table

    from vitrail.files import atomic_write
    from vitrail.lens import explanation_page as page
    from vitrail.lens import html
    from vitrail.lens.flat import to_bytes
    from vitrail.run_folder import RunFolder
    from vitrail.train.inference import open_model

    del task  # there is only one so far
    if output.suffix not in (".html", ".json"):
        raise ConfigError(f"--out {output} is neither .html nor .json.")
    check_new(output, force)
    backbone = open_model(model, weights=weights, image_size=image_size, device=device)
    samples, split = _samples(backbone, RunFolder(model), images, count)
    inputs = backbone.preprocess.normalise(samples).to(next(backbone.parameters()).device)
    results = _results(backbone, inputs, explanations, target, seed)
    rows = page.summarize_results(results)
    table = Table(*page.table_head())
    for row in rows:
        table.add_row(*page.table_row(row))
    out.print(table)
    for sentence in page.recommendation(rows):
        out.print(sentence, markup=False)
    text = page.comparison_json(rows, len(samples), split)
    if RunFolder(model).exists:
        atomic_write(RunFolder(model).explanations_file, text)
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".json":
        atomic_write(output, text)
    else:
        pictures = to_bytes(samples[:MAX_MAPS], backbone.preprocess)
        captions = page.class_captions(backbone, inputs, target)
        maps = page.map_rows(pictures, results, captions)
        note = _("Below each image stands the class that is explained, and its probability.")
        body = [
            page.comparison_section(rows, len(samples), split),
            html.section(_("Maps"), html.paragraph(note, "quiet"), *map(html.panel_row, maps)),
        ]
        html.write_page(output, _("Explanations compared"), backbone.origin or model, body)
    out.print(_("written: {path}").format(path=output), highlight=False, markup=False)


def _results(
    model: "Backbone", inputs: "Tensor", explanations: str | None, target: str | None, seed: int
) -> list["Faithfulness"]:
    """The result of each explanation and of random maps, with progress on stderr."""
    from rich.console import Console
    from rich.progress import track

    from vitrail.lens.faithfulness.compare import COMPARED, measure_explanations

    names = None if explanations is None else [name.strip() for name in explanations.split(",")]
    results = measure_explanations(model, inputs, names, target, seed=seed)
    count = len(COMPARED if names is None else names) + 1
    return list(track(results, _("explanations"), count, console=Console(stderr=True)))


def _samples(
    model: "Backbone", run: "RunFolder", images: str | None, count: int
) -> tuple["Tensor", str]:
    """Images as the model's preprocess crops them (B, C, *size), and where they are from."""
    import torch

    from vitrail.data.recording_inputs import find_inputs
    from vitrail.lens.report_data import read_report
    from vitrail.train.inference import read_images

    if images is not None:
        paths = find_inputs([images], model.preprocess)[:count]
        crops = [image for _name, image in read_images(model.preprocess.single, paths, "raise")]
        return torch.stack(crops), images
    if run.exists:
        data = read_report(run)
        # A mistake may be kept as an example too.
        images_of_run = () if data.images is None else data.images
        different = [*{image.numpy().tobytes(): image for image in images_of_run}.values()]
        if len(different) > 1:
            return torch.stack(different[:count]), str(data.evaluation.get("split", "test"))
    raise ConfigError("this model has kept no test images: name some by --images.")
