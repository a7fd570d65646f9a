"""`vitrail pack`: images or recordings as tar shards, for network drives and clusters."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.messages import _, in_own_language

HELP = _("Write a dataset as tar shards. shards:PATH and webdataset read them.")
EXAMPLES = (
    "vitrail pack folder:photos shards",
    "vitrail pack videos:clips shards",
    "vitrail train shards:shards",
)


def run(
    source: Annotated[
        str, typer.Argument(help=_("folder:PATH, csv:FILE, videos:PATH, hub:NAME, digits, ..."))
    ],
    folder: Annotated[Path, typer.Argument(help=_("The folder to write; empty, or a new one."))],
    shard_size: Annotated[
        int, typer.Option(min=1, help=_("MiB after which a shard is full."))
    ] = 256,
    bad_images: Annotated[
        str, typer.Option(help=_("Unreadable images: raise an error, or skip and list them."))
    ] = "raise",
) -> None:
    """Writes a dataset as tar shards."""
    from typing import Any, cast

    from vitrail.data.registry import open_parts, prepared
    from vitrail.data.shard_writer import check_empty, pack
    from vitrail.train.console import describe_bad_image, note, progress_bar

    check_empty(folder)  # before all images are read
    splits = {}
    for split, opened in open_parts(source).items():
        with progress_bar(_("reading images")) as progress:
            dataset = prepared(opened(), bad_images=cast(Any, bad_images), progress=progress)
        for name, reason in dataset.bad_images:
            note(describe_bad_image(name, reason))
        splits[split] = dataset
    with progress_bar(_("writing")) as progress:
        shards = pack(splits, folder, shard_size=shard_size, progress=progress)
    text = _("written: {path} ({samples:,} {kind} in {shards:,} shards)").format(
        path=folder,
        samples=sum(map(len, splits.values())),
        kind=in_own_language(next(iter(splits.values())).recordings or "images"),
        shards=len(shards),
    )
    out.print(text, highlight=False, markup=False)
