"""`vitrail data`: what a dataset holds, before anything is trained on it."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import ForceOption, check_new, out
from vitrail.messages import _

HELP = _(
    "Show what data hold. Classes, damaged images, copies of images, leaks between splits; with "
    "--out also examples as a model sees them, as a page."
)
EXAMPLES = ("vitrail data folder:photos --out photos.html",)


def run(
    source: Annotated[
        str, typer.Argument(help=_("folder:PATH, csv:FILE, hub:NAME, fashion-mnist, ..."))
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help=_("Settings of data, such as data.augment.policy=augmix.")),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help=_("A page to write, .html."))
    ] = None,
    image_size: Annotated[
        int, typer.Option(min=1, max=4096, help=_("Pixels of the sides of the images on the page."))
    ] = 224,
    copies: Annotated[
        bool, typer.Option("--copies/--no-copies", help=_("Whether to look for copies of images."))
    ] = True,
    force: ForceOption = False,
) -> None:
    """Shows what a dataset holds."""
    from vitrail.data.duplicates import find_duplicates
    from vitrail.data.image_augment import ImageAugment
    from vitrail.errors import ConfigError
    from vitrail.preprocess import Preprocess
    from vitrail.train.config import make_config
    from vitrail.train.console import describe_bad_image, note, progress_bar
    from vitrail.train.data_factory import open_datasets
    from vitrail.train.data_page import describe_data, write_data_page
    from vitrail.train.remarks import odd_remarks

    if output is not None:
        check_new(output, force)
        if output.suffix.lower() not in (".html", ".htm"):
            raise ConfigError(f"--out {output} does not end in .html.")
    settings = ["data.bad_images=skip", *(overrides or ())]
    config = make_config({"data": {"source": source}}, settings)
    with progress_bar(_("reading images")) as progress:
        datasets = open_datasets(config, progress, check_method=False, must_divide=False)
    splits = datasets.splits
    first = next(iter(splits.values()))
    if first.streamed or first.sampling is not None:
        raise ConfigError(
            f"{source} holds no single images, which this command shows: vitrail train {source} "
            "--dry-run says what it holds."
        )
    # Splits of one folder share its list.
    for name, reason in dict.fromkeys(bad for d in splits.values() for bad in d.bad_images):
        note(describe_bad_image(name, reason))
    # Of the training images and those that are held out of them the list is one.
    for remark in dict.fromkeys(text for d in splits.values() for text in odd_remarks(d)):
        note(remark)
    duplicates = None
    if copies:
        with progress_bar(_("looking for copies")) as progress:
            duplicates = find_duplicates(splits, progress)
    for line in describe_data(splits, duplicates):
        out.print(line, highlight=False, markup=False)
    if output is None:
        return
    size = (image_size, image_size)
    if first.fixed_size:
        size = (first.read(0).shape[1], first.read(0).shape[2])
    preprocess = Preprocess.for_size(size, first.channels)
    preprocess = preprocess.with_resize(config.data.resize or "crop")
    augment = None if first.fixed_size else ImageAugment(config.data.augment, preprocess)
    path = write_data_page(output, source, splits, duplicates, preprocess, augment)
    out.print(_("page: {path}").format(path=path), highlight=False, markup=False)
