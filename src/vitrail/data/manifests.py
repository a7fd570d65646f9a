"""Tables of paths and labels of images or recordings: CSV, JSON lines, Parquet."""

import functools
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.file_paths import readable
from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.folders import Inventory, split_name
from vitrail.data.formats import SUFFIXES
from vitrail.data.manifest_files import check_there, local_name
from vitrail.data.manifest_labels import (
    SEPARATORS,
    ManifestLabels,
    read_label_columns,
    read_labels,
    read_numbers,
    sorted_names,
)
from vitrail.data.recognition import IMAGES, find_kind
from vitrail.data.recording_dataset import RecordingDataset
from vitrail.data.recording_inputs import KINDS, RecordingKind
from vitrail.data.splits import Parts
from vitrail.data.tables import read_rows
from vitrail.errors import DataError, check_choice
from vitrail.foreign import inside

# Names of columns as people write them, without capitals and signs; the first that is there counts.
COLUMNS = {
    "path": ("path", "filepath", "file", "filename", "imagepath", "image", "img", "imagename",
             "imagefile", "imgpath", "imageid", "imgid", "video", "videopath", "videoname", "clip",
             "volume", "scan", "recording", "signal", "audio", "路径", "文件", "文件名", "图片",
             "图像", "id"),
    "label": ("label", "class", "classname", "labelname", "category", "target", "y", "类别",
              "标签"),
    "labels": ("labels", "classes", "tags", "categories"),
    "split": ("split", "subset", "partition"),
    "weight": ("weight", "sampleweight"),
}  # fmt: skip
OPTIONS = (*COLUMNS, "numbers", "separator", "root", "strip", "suffix", "kind", "encoding")
KIND_NAMES = (IMAGES, *KINDS)


def open_manifest(spec: str, form: str | None = None) -> Parts:
    """Images or recordings that a table lists with their labels, and perhaps splits and weights.

    Videos, volumes and signals are known by their suffixes, and arrays by their shapes.

    Args:
        spec: path of the table, and options such as `labels.csv?label=breed&suffix=.jpg`.

            - `path`, `label`, `split` and `weight` name the columns; `weight=` for no weights;
            - `labels=a,b,c` are columns of 0 and 1 for several labels per image, or one column of
              labels with a separator between them;
            - `separator` is that, if it is not ";" or "|";
            - `numbers=x,y` are columns of numbers;
            - `root` is the folder that paths are relative to, if it is not the table's;
            - `strip` is what paths begin with and what is left out, such as `C:\\Users\\Anna\\`;
            - `suffix` ends every path;
            - `kind` is images, videos, volumes or signals, where files may be of two kinds;
            - `encoding` is that of a text that is not UTF-8, such as gbk or cp1252.
        form: "csv", "jsonl" or "parquet"; None for what the suffix says.

    Returns:
        Its splits; without a column of splits, "train".

    Raises:
        DataError: the table cannot be read, or lacks a column or a value.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = file.write_text(chr(10).join(["file,label", "1.jpg,cat", "2.jpg,dog"]))
        >>> file.with_name("1.jpg").touch()
        >>> open_manifest(str(file))["train"]().labels
        ['cat', 'dog']
    """
    name, _mark, query = spec.partition("?")
    file, options = Path(name).expanduser(), dict(parse_qsl(query, keep_blank_values=True))
    for option in options:
        check_choice("option", option, OPTIONS)
    values = list(read_rows(file, form, options.get("encoding")))
    if not values:
        raise DataError(f"{file} has no rows: write one for each sample, with its path and label.")
    table = _Table(file, values, options)
    files, splits, labels, weights = table.files(), table.splits(), table.labels(), table.weights()
    rows = {split: [i for i, s in enumerate(splits) if s == split] for split in {*splits}}
    counts = {split or "all": labels.counts(rows[split]) for split in rows}
    inventory = Inventory(str(file), counts)
    _find_repeated(inventory, table.cells(table.needed("path")), files, labels, splits)
    kind = table.kind(files)
    base = file.parent / options.get("root", "")
    return {
        split or "train": functools.partial(
            _dataset, base, files, kind, labels, weights, rows[split], inventory
        )
        for split in sorted(rows, key=["", "train", "val", "test"].index)
    }


def _find_repeated(
    inventory: Inventory,
    names: Sequence[Any],
    files: Sequence[Path],
    labels: ManifestLabels,
    splits: Sequence[str],
) -> None:
    """Notes the files of several rows."""
    rows_of: dict[Path, list[int]] = defaultdict(list)
    for row, file in enumerate(files):
        rows_of[file].append(row)
    for rows in rows_of.values():
        name = str(names[rows[0]])
        if len(rows) > 1:
            inventory.repeated.append(name)
        if len({labels.label(row) for row in rows}) > 1:
            inventory.contradicted.append(name)
        if len({splits[row] for row in rows}) > 1:
            inventory.shared.append(name)


def _dataset(
    base: Path,
    files: Sequence[Path],
    kind: RecordingKind | None,
    labels: ManifestLabels,
    weights: Tensor | None,
    rows: Sequence[int],
    inventory: Inventory,
) -> Dataset:
    names = labels.names or sorted_names({labels.classes[row] for row in rows})
    index = {name: number for number, name in enumerate(names)}
    targets = [index.get(labels.classes[row], 0) for row in rows]
    of_rows = [files[row] for row in rows]
    dataset = (
        FolderDataset(base, of_rows, targets, names)
        if kind is None
        else RecordingDataset(base, of_rows, targets, names, kind)
    )
    dataset.inventory, dataset.target = inventory, labels.target
    dataset.values = None if labels.values is None else labels.values[list(rows)]
    dataset.weights = None if weights is None else weights[list(rows)]
    return dataset


class _Table:
    """The rows of a table, and the options that say how they are read."""

    def __init__(self, file: Path, rows: list[dict[str, Any]], options: dict[str, str]) -> None:
        self.file, self.rows, self.options = file, rows, options
        self.columns = list(dict.fromkeys(key for row in rows for key in row))
        self.check_encoding()

    def check_encoding(self) -> None:
        """Raises `DataError` where bytes are not UTF-8, if they are not in names of files."""
        path = self.column("path")
        cells = (cell for row in self.rows for name, cell in row.items() if name != path)
        for text in (*self.columns, *cells):
            if isinstance(text, str) and not text.isascii() and readable(text) != text:
                raise DataError(
                    f"{self.file} is not in UTF-8 ({readable(text)!r}): save it so, or name its "
                    f"encoding, as in '{self.file}?encoding=gbk', or cp1252."
                )

    def cells(self, column: str) -> list[Any]:
        return [row.get(column) for row in self.rows]

    def files(self) -> list[Path]:
        column, options = self.needed("path"), self.options
        base, suffix = self.file.parent / options.get("root", ""), options.get("suffix", "")
        cells, names = [], []
        for number, path in enumerate(self.cells(column), 1):
            if path is None or str(path).strip() == "":
                raise DataError(
                    f"{self.file}: row {number} has no {column}: fill it in, or remove it."
                )
            cells.append(str(path))
            name = f"{str(path).removeprefix(options.get('strip', ''))}{suffix}"
            names.append(local_name(base, name))
        check_there(self.file, base, cells, names, options)
        return [
            inside(base, name, str(self.file), DataError, "name a root=FOLDER") for name in names
        ]

    def kind(self, files: Sequence[Path]) -> RecordingKind | None:
        name = self.options.get("kind")
        if name is None:
            return find_kind(files, str(self.file))
        check_choice("kind", name, KIND_NAMES)
        return KINDS.get(name)

    def splits(self) -> list[str]:
        column = self.column("split")
        if column is None:
            return [""] * len(self.rows)
        names = []
        for number, cell in enumerate(self.cells(column), 1):
            names.append(split_name(str(cell or "")) or "")
            if not names[-1]:
                raise DataError(
                    f"{self.file}: row {number} has the {column} {str(cell or '')!r}: write train, "
                    "val or test, or name another column by ?split=COLUMN."
                )
        return names

    def labels(self) -> ManifestLabels:
        if "numbers" in self.options:
            return read_numbers(self.file, self.named("numbers"))
        if "labels" in self.options and len(columns := self.named("labels")) > 1:
            return read_label_columns(self.file, columns)
        several = self.column("labels") if self.column("label") is None else None
        column = self.column("labels") if "labels" in self.options else several
        separator = self.options.get("separator")
        if column is not None:
            cells = self.cells(column)
            present = (s for s in SEPARATORS if any(s in str(cell) for cell in cells))
            separator = separator or next(present, SEPARATORS[0])
            return read_labels(self.file, cells, column, separator)
        column = self.needed("label")
        return read_labels(self.file, self.cells(column), column, separator)

    def weights(self) -> Tensor | None:
        column = self.column("weight")
        if column is None:
            return None
        weights = read_numbers(self.file, {column: self.cells(column)}).values
        assert weights is not None
        if (weights < 0).any() or not weights.any():
            raise DataError(f"{self.file}: the column {column} has weights below 0, or only 0.")
        return weights[:, 0]

    def named(self, option: str) -> dict[str, list[Any]]:
        """The columns that an option lists, by name."""
        names = [name.strip() for name in self.options[option].split(",")]
        for name in names:
            self.require(name)
        return {name: self.cells(name) for name in names}

    def require(self, column: str) -> None:
        if column not in self.columns:
            parts = [part.strip() for part in column.split(",")]
            if {*parts} <= {*self.columns}:
                raise DataError(f"{self.file}: several columns of labels are ?labels={column}.")
            raise DataError(
                f"{self.file} has no column {column!r}: it has {', '.join(self.columns)}."
            )

    def needed(self, kind: str) -> str:
        column = self.column(kind)
        if column is not None:
            return column
        listed = f"{self.file} has the columns {', '.join(self.columns)}"
        if any(Path(name).suffix.lower() in SUFFIXES for name in self.columns):
            raise DataError(f"{listed}: write their names in a line above, such as path,label.")
        flags = [name for name in self.columns if {*map(str, self.cells(name))} <= {"0", "1"}]
        if kind == "label" and len(flags) > 1:
            raise DataError(f"{listed}: several labels are ?labels={','.join(flags)}.")
        raise DataError(
            f"{listed}, none of which is called {kind}: name it, as {self.file.name}?{kind}=COLUMN."
        )

    def column(self, kind: str) -> str | None:
        """The column of paths, labels, splits or weights, if there is one."""
        if kind in self.options and kind == "weight" and not self.options[kind]:
            return None
        if kind in self.options:
            self.require(self.options[kind])
            return self.options[kind]
        plain = {re.sub(r"[\W_]+", "", name.casefold()): name for name in reversed(self.columns)}
        return next((plain[name] for name in COLUMNS[kind] if name in plain), None)
