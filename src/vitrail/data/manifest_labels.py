"""What a table says of its images: a class, several labels, or numbers."""

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from vitrail.data.file_paths import readable
from vitrail.errors import DataError

MISSING = ("", "nan", "<na>")  # what pandas writes where there is nothing
SEPARATORS = (";", "|")  # between the labels of a cell, where none is named
DECIMAL_COMMA = re.compile(r"[-+]?\d*,(\d+)(?:[eE][-+]?\d+)?")
YES, NO = ("1", "true", "yes"), ("", "0", "-1", "false", "no")  # of columns, one per label


class ManifestLabels(NamedTuple):
    """The labels of the rows of a table.

    Args:
        target: "class", "labels" or "numbers", as of `Dataset`.
        names: names of labels or numbers; of classes they are sorted out by split.
        classes: the class of each row; "" of other targets.
        values: float (rows, names), of other targets than "class".

    Example:
        >>> ManifestLabels("class", [], ["cat"], None).target
        'class'
    """

    target: Literal["class", "labels", "numbers"]
    names: list[str]
    classes: list[str]
    values: Tensor | None

    def label(self, row: int) -> object:
        """row → what can be compared with the label of another one."""
        return self.classes[row] if self.values is None else tuple(self.values[row].tolist())

    def counts(self, rows: Sequence[int]) -> dict[str, int]:
        """How many of some rows have each class or label.

        Args:
            rows: positions in the table.

        Returns:
            Numbers by name; none for numbers.
        """
        if self.target == "numbers":
            return {}
        if self.values is None:
            return dict(Counter(self.classes[row] for row in rows))
        sums = self.values[list(rows)].sum(0).long().tolist()
        return dict(zip(self.names, sums, strict=True))


def read_labels(
    file: Path, cells: Sequence[Any], column: str, separator: str | None = None
) -> ManifestLabels:
    """Reads one column, and tells by its values what it holds.

    Lists, and texts with a separator, are several labels. Numbers, one of which is not whole, are
    numbers. All else are classes.

    Args:
        file: the table, for messages.
        cells: values of the column.
        column: its name.
        separator: what stands between the labels of a cell; "" for one class, whatever it holds;
            None for ";" or "|" where they occur.

    Returns:
        The labels.

    Raises:
        DataError: a cell is empty, or holds something else.

    Example:
        >>> labels = read_labels(Path("t.csv"), ["cat;dog", "", "dog"], "animals")
        >>> labels.names, labels.values.tolist()
        (['cat', 'dog'], [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
        >>> read_labels(Path("t.csv"), ["1.5", "3"], "age").values.tolist()
        [[1.5], [3.0]]
    """
    texts = ["" if cell is None else cell for cell in cells]
    if separator is None and not any(isinstance(cell, list) for cell in texts):
        present = [s for s in SEPARATORS if any(s in str(text) for text in texts)]
        separator = present[0] if present else None
    if separator or any(isinstance(cell, list) for cell in texts):
        return _several([_split(cell, separator) for cell in texts])
    for number, text in enumerate(texts, 1):
        if str(text).strip().casefold() in MISSING:
            raise DataError(f"{file}: row {number} has no {column}: fill it in, or remove it.")
    values = _numbers(texts)
    if separator is None and all(v is not None for v in values) and any(v % 1 for v in values if v):
        return read_numbers(file, {column: cells})
    return ManifestLabels("class", [], [_class_name(file, column, text) for text in texts], None)


def read_label_columns(file: Path, columns: Mapping[str, Sequence[Any]]) -> ManifestLabels:
    """Reads columns of 0 and 1, one per label. -1, false, no and nothing are 0; true and yes are 1.

    Args:
        file: the table, for messages.
        columns: values by name.

    Returns:
        Several labels per row.

    Raises:
        DataError: a value is something else.

    Example:
        >>> read_label_columns(Path("t.csv"), {"cat": ["1", "0"], "dog": [1, 1]}).values.tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    values = []
    for column, cells in columns.items():
        texts = ["" if cell is None else _plain(cell).lower() for cell in cells]
        for number, text in enumerate(texts, 1):
            if text not in YES + NO:
                raise DataError(
                    f"{file}: row {number} has {text!r} in the column {column} of a label: write 1 "
                    "or 0."
                )
        values.append([float(text in YES) for text in texts])
    return ManifestLabels("labels", [*columns], [""] * len(values[0]), torch.tensor(values).T)


def read_numbers(file: Path, columns: Mapping[str, Sequence[Any]]) -> ManifestLabels:
    """Reads columns of numbers. In a column of 4,5 and 3,25 the comma is the decimal point.

    Args:
        file: the table, for messages.
        columns: values by name.

    Returns:
        Numbers of each row.

    Raises:
        DataError: a value is no number.

    Example:
        >>> read_numbers(Path("t.csv"), {"x": ["1", "2.5"]}).values.tolist()
        [[1.0], [2.5]]
        >>> read_numbers(Path("t.csv"), {"x": ["1", "2,5"]}).values.tolist()
        [[1.0], [2.5]]
    """
    values = []
    for column, cells in columns.items():
        numbers = _numbers(cells)
        for row, number in enumerate(numbers):
            if number is None:
                cell = str(cells[row]).strip()
                cure = "write it with a decimal point" if "," in cell else "fill it in"
                raise DataError(
                    f"{file}: row {row + 1} has {cells[row]!r} in the column {column}, which is no "
                    f"number: {cure}, or remove the row."
                )
        values.append(numbers)
    rows = torch.tensor(values, dtype=torch.float32).T.contiguous()
    return ManifestLabels("numbers", [*columns], [""] * len(rows), rows)


def sorted_names(names: Iterable[str]) -> list[str]:
    """Names in order: by number where all are numbers.

    Args:
        names: different names.

    Returns:
        A list of them.

    Example:
        >>> sorted_names({"10", "9"}), sorted_names({"b", "a"})
        (['9', '10'], ['a', 'b'])
    """
    listed = list(names)
    if all(re.fullmatch(r"-?\d+", name) for name in listed):
        return sorted(listed, key=int)
    return sorted(listed)


def _several(rows: list[list[str]]) -> ManifestLabels:
    names = sorted_names({name for row in rows for name in row})
    index = {name: number for number, name in enumerate(names)}
    values = torch.zeros(len(rows), len(names))
    for row, labels in enumerate(rows):
        values[row, [index[label] for label in labels]] = 1.0
    return ManifestLabels("labels", names, [""] * len(rows), values)


def _split(cell: Any, separator: str | None) -> list[str]:
    if isinstance(cell, str) and cell.startswith("[") and cell.endswith("]"):
        with contextlib.suppress(ValueError, RecursionError):
            cell = json.loads(cell)
    if not isinstance(cell, list):
        cell = [cell] if separator == "" else str(cell).split(separator)
    return [readable(name) for part in cell if (name := _plain(part))]


def _plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text.removesuffix(".0") if text in ("1.0", "0.0", "-1.0") else text


def _numbers(cells: Sequence[Any]) -> list[float | None]:
    """Numbers of one column. Whether 1,234 is more or less than 2 only other cells can tell."""
    texts = [cell if isinstance(cell, str) else "" for cell in cells]
    commas = [match for text in texts if (match := DECIMAL_COMMA.fullmatch(text.strip()))]
    is_decimal = any(len(match[1]) != 3 for match in commas) and not any("." in t for t in texts)
    if is_decimal:
        cells = [cell.replace(",", ".") if isinstance(cell, str) else cell for cell in cells]
    return [_number(cell) for cell in cells]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):  # an int of 400 digits
        return None
    return number if math.isfinite(number) else None


def _class_name(file: Path, column: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, float | dict | bytes):
        raise DataError(
            f"{file}: the column {column} holds {value!r}, and one class per image is needed: name "
            "a column of classes by ?label=COLUMN."
        )
    return readable(str(value).strip())
