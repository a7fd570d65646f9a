"""Opens datasets by name: a folder, a table, the Hub, or what a package ships."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from vitrail.arguments import Unchecked, checked
from vitrail.data.cifar import open_cifar
from vitrail.data.dataset import Dataset
from vitrail.data.hub_datasets import open_hub
from vitrail.data.image_folders import open_captioned, open_folder, open_images, open_names
from vitrail.data.manifests import open_manifest
from vitrail.data.moving_shapes import open_moving_shapes
from vitrail.data.packaged import open_digits, open_fashion_mnist
from vitrail.data.recording_dataset import open_recordings
from vitrail.data.shards import describe_damage, open_shards
from vitrail.data.splits import Parts, Progress, balanced, drop_unreadable, open_part
from vitrail.data.tables import FORMS, is_archive, is_table
from vitrail.errors import DataError, check_choice, suggest
from vitrail.registry import Registry
from vitrail.values import PositiveInt

Opener = TypeVar("Opener", bound=Callable[..., Dataset | None])
Split = Literal["train", "val", "test", "all"]

KINDS: dict[str, Callable[[str], Parts]] = {  # `open_dataset` takes KIND:PATH
    "folder": open_folder,
    "images": open_images,
    "names": open_names,
    "captions": open_captioned,
    "hub": open_hub,
    "shards": open_shards,
    "table": open_manifest,
    **{form: functools.partial(open_manifest, form=form) for form in ("csv", "jsonl", "parquet")},
    **{kind: functools.partial(open_recordings, kind) for kind in ("videos", "volumes", "signals")},
    "cifar10": functools.partial(open_cifar, classes=10),
    "cifar100": functools.partial(open_cifar, classes=100),
}
PACKAGED: dict[str, Callable[[], Parts]] = {
    "fashion-mnist": open_fashion_mnist,
    "cifar10": functools.partial(open_hub, "uoft-cs/cifar10"),
    "digits": functools.partial(open_digits, "digits"),
    "mnist5k": functools.partial(open_digits, "mnist5k"),
    "moving-shapes": open_moving_shapes,
}


@checked
def open_dataset(
    name: str | Path,
    split: Split = "train",
    *,
    bad_images: Literal["raise", "skip"] = "raise",
    limit: PositiveInt | None = None,
    stream_limit: PositiveInt | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Opens a split of a dataset.

    Args:
        name: the path of a folder of classes, or one of

            - `folder:PATH`: a subfolder of images per class; or folders of splits with such
              subfolders, called train or training; val, valid, validation or dev; test, testing or
              eval, in any case. Without folders of splits, all images are "train".
            - `names:PATH`: all images in a folder and below, whose names say their classes before
              a number: `cat.0.jpg`, `dog_12.png`.
            - `images:PATH`: all images in a folder and below, without labels.
            - `captions:PATH`: images that a metadata.jsonl or metadata.csv lists, with columns
              file_name and text; or folders train/ and test/ with such files.
            - `csv:FILE`, `jsonl:FILE`, `parquet:FILE`, or `table:FILE` by its suffix: a table with
              a column of paths of images or recordings, one of labels, and perhaps one of splits.
              `table:FILE?path=A&label=B&split=C` names the columns, `root=FOLDER` the folder that
              paths are relative to, `suffix=.jpg` what ends them.
            - `videos:PATH`, `volumes:PATH`, `signals:PATH`: as `folder:PATH`, of videos and folders
              of frames; of .npy, NIfTI and stacks of slices; of .csv, .npy and .wav.
            - `cifar10:PATH`, `cifar100:PATH`: the archive of its authors, or a folder of its files.
            - `shards:PATH`: tar files in the layout of WebDataset: a folder of them, or a pattern
              such as `photos/train-{000..127}.tar`, here or on a server (`shards:https://...`).
            - `hub:NAME` or `hub:NAME?config=C&streaming`: the Hugging Face Hub.
            - `fashion-mnist`, `cifar10`, `digits`, `mnist5k`, `moving-shapes`, which are clips;
            - `NAME` or `NAME:PATH` of what `register_dataset` has registered.
        split: "train", "val", "test", or "all" for the images of all splits.
        bad_images: "raise" for an error that names them, "skip" to leave them out.
        limit: number of samples, evenly over the classes; None for all.
        stream_limit: number of samples of a streamed dataset only.
        progress: called with (done, total) while files are checked.

    Returns:
        The dataset.

    Raises:
        DataError: something is missing or unreadable, or there is no such split.

    Example:
        >>> open_dataset("digits", "test").labels[:3]
        ['0', '1', '2']
    """
    _split, dataset = open_part(open_parts(name), split, str(name))
    return prepared(
        dataset, bad_images=bad_images, limit=limit, stream_limit=stream_limit, progress=progress
    )


def prepared(
    dataset: Dataset,
    *,
    bad_images: Literal["raise", "skip"] = "raise",
    check: bool = True,
    limit: int | None = None,
    stream_limit: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """A dataset without what cannot be read, and with no more samples than are asked for.

    Args:
        dataset: the samples. Those in memory and streamed ones are not checked.
        bad_images: "raise" for an error that names unreadable ones, "skip" to leave them out.
        check: whether to look for unreadable ones.
        limit: number of samples, evenly over the classes; None for all.
        stream_limit: number of samples of a streamed dataset only.
        progress: called with (done, total).

    Returns:
        The samples that can be read.

    Raises:
        DataError: there are unreadable ones.

    Example:
        >>> len(prepared(open_dataset("digits"), limit=20))
        20
    """
    check_choice("bad_images", bad_images, ("raise", "skip"))
    damage = dataset.damage
    if damage and bad_images == "raise":
        raise DataError(describe_damage(damage))
    if dataset.streamed:
        return dataset.take(limit or stream_limit)
    if check and not dataset.fixed_size and (dataset.checked_first or bad_images == "skip"):
        dataset = drop_unreadable(dataset, bad_images, progress)
    dataset.bad_images = [*damage, *(bad for bad in dataset.bad_images if bad not in damage)]
    return dataset if limit is None or limit >= len(dataset) else balanced(dataset, limit)


def open_parts(name: str | Path) -> Parts:
    """The splits that a dataset has, each of which is opened when it is called.

    Args:
        name: as `open_dataset` takes it.

    Returns:
        Functions that return datasets, by "train", "val" and "test".

    Raises:
        DataError: something is missing.

    Example:
        >>> list(open_parts("digits"))
        ['train', 'test']
    """
    name = f"folder:{name}" if isinstance(name, Path) else name
    kind, colon, path = name.partition(":")
    if kind in KINDS and colon and not path:
        raise DataError(f"{name} names nothing: write its path after the colon.")
    if kind in KINDS and colon:
        return KINDS[kind](path)
    if name in PACKAGED:
        return PACKAGED[name]()
    if kind in DATASETS.names_of_others():
        return _own(kind, path)
    if name and Path(name).is_dir():
        raise DataError(f"dataset {name!r} is a folder: write folder:{name}")
    if name and Path(name).is_file():
        cure = f"write table:{name}" if is_table(Path(name)) else "give a folder or a table"
        if Path(name).suffix.lower() in FORMS and not is_table(Path(name)):
            cure = f"write table:{name}, if it lists paths and labels"
        cure = f"unpack it, and write folder:{Path(name).stem}" if is_archive(name) else cure
        raise DataError(f"dataset {name!r} is a file: {cure}.")
    names = [*PACKAGED, *DATASETS.names_of_others()]
    raise DataError(
        f"no dataset {name!r}.{suggest(name, names)} There are: folder:PATH, names:PATH, "
        f"images:PATH, captions:PATH, table:FILE, hub:NAME, {', '.join(names)}."
    )


def absolute_name(name: str) -> str:
    """The name of a dataset with an absolute path, so that it means the same everywhere.

    Args:
        name: as `open_dataset` takes it.

    Returns:
        The name, with what it names made absolute if that is on this machine.

    Example:
        >>> absolute_name("digits"), absolute_name("folder:.") == f"folder:{Path.cwd()}"
        ('digits', True)
    """
    kind, colon, path = name.partition(":")
    file = Path(path.partition("?")[0]).expanduser()
    # A pattern stands for files, and is none itself.
    is_local = file.exists() or (kind == "shards" and "://" not in path)
    if not (colon and path and is_local):
        return name
    return f"{kind}:{file.absolute()}{path[len(path.partition('?')[0]) :]}"


@checked
def register_dataset(name: Annotated[str, Unchecked()]) -> Callable[[Opener], Opener]:
    """Adds a dataset of your own, so that recipes and commands can name it.

    Args:
        name: its name; `NAME` and `NAME:PATH` then open it.

    Returns:
        A decorator of a function of the path, "" for none, and the split, "train" or "test", that
        returns a `Dataset`, or None for "test" if there is no test split.

    Raises:
        ConfigError: another dataset has that name, or the function takes other arguments.

    Example:
        >>> from vitrail.data.in_memory import InMemoryDataset
        >>> @register_dataset("squares")
        ... def squares(path: str, split: str) -> Dataset:
        ...     images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
        ...     return InMemoryDataset(images, torch.arange(4) % 2, ["small", "large"])
        >>> len(open_dataset("squares"))
        4
    """
    return DATASETS.register(name)


def _own(kind: str, path: str) -> Parts:
    opener = DATASETS.get(kind)
    parts = {"train": functools.partial(_checked, kind, opener, path, "train")}
    test = opener(path, "test")
    if test is not None:
        parts["test"] = functools.partial(_checked, kind, lambda *_: test, path, "test")
    return parts


def _checked(kind: str, opener: Callable[..., Any], path: str, split: str) -> Dataset:
    dataset = opener(path, split)
    if not hasattr(dataset, "read_batch"):
        raise DataError(
            f"the dataset {kind!r} returns {type(dataset).__name__}, and not a vitrail.data.Dataset"
            ": return one, such as PairDataset([(image, label), ...])."
        )
    return dataset


DATASETS: Registry[Callable[[str, str], Dataset | None]] = Registry(
    "dataset",
    dict.fromkeys((*KINDS, *PACKAGED), f"{__name__}:open_dataset"),
    arguments=("path", "split"),
    decorator="vitrail.data.register_dataset",
)
