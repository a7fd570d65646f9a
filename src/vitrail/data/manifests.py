"""Tables of paths and labels: CSV, JSON lines, Parquet."""

import functools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from vitrail.data.dataset import Dataset
from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.folders import Inventory, readable, split_name
from vitrail.data.splits import Parts
from vitrail.data.tables import read_rows
from vitrail.errors import DataError, check_choice

# Names of columns as people write them, without capitals and signs; the first that is there counts.
COLUMNS = {
    "path": ("path", "filepath", "file", "filename", "imagepath", "image", "img", "imagename",
             "imagefile", "imgpath"),
    "label": ("label", "class", "classname", "labelname", "category", "target", "y"),
    "split": ("split", "subset", "partition"),
}  # fmt: skip
OPTIONS = (*COLUMNS, "root", "suffix")


class _Row(NamedTuple):
    path: Path
    label: str
    split: str


def open_manifest(spec: str, form: str | None = None) -> Parts:
    """Images that a table lists with their classes, and perhaps their splits.

    Args:
        spec: path of the table, and options such as `labels.csv?label=breed&suffix=.jpg`: `path`,
            `label` and `split` name the columns; `root`, the folder that paths are relative to, if
            it is not the table's; `suffix` ends every path.
        form: "csv", "jsonl" or "parquet"; None for what the suffix says.

    Returns:
        Its splits; without a column of splits, "train".

    Raises:
        DataError: the table cannot be read, or lacks a column or a value.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = file.write_text("file,label\\n1.jpg,cat\\n2.jpg,dog\\n")
        >>> open_manifest(str(file))["train"]().labels
        ['cat', 'dog']
    """
    name, _mark, query = spec.partition("?")
    file, options = Path(name).expanduser(), dict(parse_qsl(query, keep_blank_values=True))
    for option in options:
        check_choice("option", option, OPTIONS)
    values = list(read_rows(file, form))
    if not values:
        raise DataError(f"{file} has no rows: write one for each image, with its path and label.")
    rows = _read(file, values, options)
    splits = dict.fromkeys(row.split for row in rows)
    counts = {split: Counter(row.label for row in rows if row.split == split) for split in splits}
    inventory = Inventory(str(file), {split or "all": dict(n) for split, n in counts.items()})
    base = file.parent / options.get("root", "")
    return {
        split or "train": functools.partial(
            _dataset, base, [row for row in rows if row.split == split], inventory
        )
        for split in sorted(splits, key=["", "train", "val", "test"].index)
    }


def _dataset(base: Path, rows: Sequence[_Row], inventory: Inventory) -> Dataset:
    labels = _sorted({row.label for row in rows})
    index = {label: number for number, label in enumerate(labels)}
    files = [row.path for row in rows]
    dataset = FolderDataset(base, files, [index[row.label] for row in rows], labels)
    dataset.inventory = inventory
    return dataset


def _read(file: Path, values: list[dict[str, Any]], options: dict[str, str]) -> list[_Row]:
    columns = list(dict.fromkeys(key for row in values for key in row))
    path_column, label_column = (
        _needed(file, columns, kind, options) for kind in ("path", "label")
    )
    split_column = _column(file, columns, "split", options)
    base, suffix = file.parent / options.get("root", ""), options.get("suffix", "")
    rows = []
    for number, row in enumerate(values, 1):
        path, label = row.get(path_column), row.get(label_column)
        for column, value in ((path_column, path), (label_column, label)):
            if value is None or str(value).strip() == "":
                raise DataError(f"{file}: row {number} has no {column}: fill it in, or remove it.")
        split = ""
        if split_column is not None:
            text = str(row.get(split_column) or "")
            split = split_name(text) or ""
            if not split:
                raise DataError(
                    f"{file}: row {number} has the {split_column} {text!r}: write train, val or "
                    "test, or name another column by ?split=COLUMN."
                )
        rows.append(_Row(base / f"{path}{suffix}", _class_name(file, label_column, label), split))
    return rows


def _needed(file: Path, columns: list[str], kind: str, options: dict[str, str]) -> str:
    column = _column(file, columns, kind, options)
    if column is None:
        raise DataError(
            f"{file} has the columns {', '.join(columns)}, none of which is called {kind}: name "
            f"it, as {file.name}?{kind}=COLUMN."
        )
    return column


def _column(file: Path, columns: list[str], kind: str, options: dict[str, str]) -> str | None:
    """The column of paths, labels or splits, if there is one."""
    if kind in options:
        if options[kind] not in columns:
            raise DataError(f"{file} has no column {options[kind]!r}: it has {', '.join(columns)}.")
        return options[kind]
    plain = {re.sub(r"[\W_]+", "", column.casefold()): column for column in reversed(columns)}
    return next((plain[name] for name in COLUMNS[kind] if name in plain), None)


def _class_name(file: Path, column: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, float | list | dict | bytes):
        raise DataError(
            f"{file}: the column {column} holds {value!r}, and one class per image is needed: name "
            "a column of classes by ?label=COLUMN."
        )
    return readable(str(value).strip())


def _sorted(labels: set[str]) -> list[str]:
    """By number where all are numbers."""
    if all(re.fullmatch(r"-?\d+", label) for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)
