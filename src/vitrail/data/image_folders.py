"""Images in folders: of classes, named by them, without labels, or with captions."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from vitrail.data.dataset import Dataset
from vitrail.data.file_paths import FilePaths, readable
from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.folders import (
    FILLERS,
    Classes,
    FolderLayout,
    LeftAside,
    layout_of,
    scan,
    split_name,
)
from vitrail.data.formats import is_image_name
from vitrail.data.splits import Parts
from vitrail.data.tables import find_table, is_table, read_rows
from vitrail.errors import DataError
from vitrail.foreign import inside

METADATA = ("metadata.jsonl", "metadata.csv")
NUMBER_AT_THE_END = re.compile(r"[\W_]*\d+\W*$")  # of a file's name: cat.0, dog (12), pug_3


def open_folder(path: str) -> Parts:
    """Images in a subfolder per class, or in folders of splits with such subfolders.

    Args:
        path: the folder.

    Returns:
        Its splits; without folders of splits, "train".

    Raises:
        DataError: there is no such folder, or it holds no classes.

    Example:
        >>> open_folder("nowhere")
        Traceback (most recent call last):
        vitrail.errors.DataError: no folder 'nowhere': give one with a subfolder of images for...
    """
    root = folder_at(path, "a subfolder of images for each class")
    layout = layout_of(root, is_image_name)
    roots = layout.folders or {"all": layout.root}
    return {
        "train" if split == "all" else split: functools.partial(_labelled, layout, split, folder)
        for split, folder in roots.items()
    }


def _labelled(layout: FolderLayout, split: str, root: Path) -> Dataset:
    classes = layout.splits[split]
    fills = {name.casefold() for name in classes} <= FILLERS  # "images", or no class at all
    if fills and (table := find_table(root)) is not None:
        raise DataError(
            f"{root} holds no folders of classes, but a table: write table:{table}, if it is one "
            "of paths and labels."
        )
    if not classes:
        raise DataError(
            f"{root} holds no class folders with images: make one for each class.{_flat_cure(root)}"
        )
    return _dataset_of(layout, split, root)


def _dataset_of(layout: FolderLayout, split: str, root: Path) -> Dataset:
    classes = layout.splits[split]
    files = FilePaths(name for paths in classes.values() for name in FilePaths.of(paths).names)
    targets = [target for target, paths in enumerate(classes.values()) for _ in paths]
    dataset = FolderDataset(root, files, targets, list(classes))
    dataset.inventory = layout.inventory
    return dataset


def _flat_cure(root: Path) -> str:
    """What else the images in a folder without folders of classes can be used as."""
    names = sorted(file.name for file in root.glob("*") if is_image_name(file.name))
    if not names:
        return ""
    if len({class_in(name) for name in names} - {""}) in range(2, len(names) // 2 + 1):
        return f" names:{root} takes the class from names such as {names[0]}."
    return f" Images without classes are images:{root}, for method.name=mae and others."


def class_in(name: str) -> str:
    """The class that the name of a file says, before a number at its end.

    Args:
        name: of a file.

    Returns:
        The class; "" where there is none, or no number.

    Example:
        >>> class_in("cat.0.jpg"), class_in("great_pyrenees_12.jpg"), class_in("7.png")
        ('cat', 'great_pyrenees', '')
    """
    stem = Path(name).stem
    number = NUMBER_AT_THE_END.search(stem)
    return "" if number is None else readable(stem[: number.start()])


def open_names(path: str) -> Parts:
    """Images whose names begin with their class, in a folder and below: cat.0.jpg, dog_12.png.

    Args:
        path: the folder.

    Returns:
        The split "train".

    Raises:
        DataError: there is no such folder, or the name of an image says no class.

    Example:
        >>> open_names("nowhere")
        Traceback (most recent call last):
        vitrail.errors.DataError: no folder 'nowhere': give one with images such as cat.0.jpg.
    """
    root = folder_at(path, "images such as cat.0.jpg")
    tree, left_aside = scan(root, is_image_name)
    return {"train": functools.partial(_named, root, FilePaths(tree.walk()), left_aside)}


def _named(root: Path, files: FilePaths, left_aside: LeftAside) -> Dataset:
    classes: dict[str, list[Path]] = {}
    for file in files:
        if not (label := class_in(file.name)):
            raise DataError(
                f"{file} says no class: names:PATH is for names such as cat.0.jpg or dog_12.png. "
                "Move it elsewhere, or name the folder of those that do."
            )
        classes.setdefault(label, []).append(file)
    if not files:
        raise DataError(f"{root} holds no images: give a folder of images such as cat.0.jpg.")
    ordered: Classes = {label: FilePaths.of(classes[label]) for label in sorted(classes)}
    return _dataset_of(FolderLayout(root, {"all": ordered}, left_aside=left_aside), "all", root)


def open_images(path: str) -> Parts:
    """All images in a folder and below, without labels.

    Args:
        path: the folder.

    Returns:
        The split "train".

    Raises:
        DataError: there is no such folder, or it holds fewer than two images.

    Example:
        >>> open_images("nowhere")
        Traceback (most recent call last):
        vitrail.errors.DataError: no folder 'nowhere': give one with images.
    """
    root = folder_at(path, "images")
    tree, left_aside = scan(root, is_image_name)
    layout = FolderLayout(root, {"all": {"": FilePaths(tree.walk())}}, left_aside=left_aside)
    return {"train": functools.partial(_unlabelled, layout)}


def _unlabelled(layout: FolderLayout) -> Dataset:
    files = layout.splits["all"][""]
    if len(files) < 2:
        raise DataError(f"{layout.root} holds {len(files)} images: two or more are needed.")
    dataset = FolderDataset(layout.root, files, [0] * len(files), [])
    dataset.inventory = layout.inventory
    return dataset


def open_captioned(path: str) -> Parts:
    """Images that a metadata.jsonl or metadata.csv lists, with columns file_name and text.

    Args:
        path: a folder with that file, or with folders of splits that have one each.

    Returns:
        Its splits; without folders of splits, "train".

    Raises:
        DataError: there is no such folder or file.

    Example:
        >>> open_captioned("nowhere")
        Traceback (most recent call last):
        vitrail.errors.DataError: no folder 'nowhere': give one with images and a metadata.jsonl.
    """
    root = folder_at(path, f"images and a {METADATA[0]}")
    if _metadata(root) is None:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and _metadata(p))
        splits = {split: folder for folder in folders if (split := split_name(folder.name))}
        if splits:
            return {split: functools.partial(_captioned, f) for split, f in splits.items()}
    return {"train": functools.partial(_captioned, root)}


def _metadata(root: Path) -> Path | None:
    return next((root / name for name in METADATA if (root / name).is_file()), None)


def _captioned(root: Path) -> Dataset:
    """The images that a file of captions lists, by the convention of Hugging Face's imagefolder."""
    file = _metadata(root)
    if file is None:
        raise DataError(
            f"{root} has no {' or '.join(METADATA)}: write one that names each image's file_name "
            "and text."
        )
    pairs = list(_pairs(file))
    if len(pairs) < 2:
        raise DataError(f"{file} lists {len(pairs)} images: two or more are needed.")
    dataset = FolderDataset(root, [path for path, _text in pairs], [0] * len(pairs), [])
    dataset.captions = [text for _path, text in pairs]
    return dataset


def _pairs(file: Path) -> Iterator[tuple[Path, str]]:
    """(path, caption) of each row."""
    for number, row in enumerate(read_rows(file), 1):
        name, text = (row.get(key) for key in ("file_name", "text"))
        if not (name and isinstance(text, str)):
            raise DataError(
                f"{file}: row {number} has {', '.join(map(str, row)) or 'nothing'}: file_name and "
                "text are needed."
            )
        yield inside(file.parent, name, str(file), DataError), text


def folder_at(path: str, content: str) -> Path:
    """A folder that is there.

    Args:
        path: as the user wrote it.
        content: what it should hold, for the message.

    Returns:
        The folder.

    Raises:
        DataError: there is none.

    Example:
        >>> folder_at(".", "images").is_dir()
        True
    """
    if "://" in path:
        raise DataError(f"{path!r} is an address, and no folder: download it, and give a folder.")
    root = Path(path).expanduser()
    if root.is_file():
        cure = f"unpack it, and give the folder with {content}"
        if is_table(root):
            cure = f"write table:{root}, if it is a table of paths and labels"
        raise DataError(f"{str(root)!r} is a file, and no folder: {cure}.")
    if not root.is_dir():
        raise DataError(f"no folder {str(root)!r}: give one with {content}.")
    return root
