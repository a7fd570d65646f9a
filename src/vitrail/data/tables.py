"""Rows of tables: CSV, TSV, JSON lines, Parquet."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitrail.errors import DataError

FORMS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
         ".parquet": "parquet", ".pq": "parquet"}  # fmt: skip
DELIMITERS = ",;\t|"


def read_rows(file: Path, form: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a table.

    Args:
        file: a CSV file with column names in its first line, separated by comma, semicolon, tab or
            bar; JSON objects, one a line; or a Parquet file.
        form: "csv", "jsonl" or "parquet"; None for what the suffix says.

    Yields:
        The values of each row by column.

    Raises:
        DataError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = file.write_text("path;label\\n1.jpg;cat\\n")
        >>> list(read_rows(file))
        [{'path': '1.jpg', 'label': 'cat'}]
    """
    form = form or FORMS.get(file.suffix.lower())
    if form is None:
        raise DataError(
            f"{file}: a table of suffix {file.suffix!r} is not known: write csv:, jsonl: or "
            "parquet: before its name."
        )
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise DataError(f"{file} is no regular file: give one.")
    if file.is_dir():
        raise DataError(f"{file} is a folder: name the table itself, or give folder:{file}.")
    try:
        yield from {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[form](file)
    except OSError as problem:
        raise DataError(f"{file}: cannot be read ({problem.strerror or problem}).") from None


def _csv(file: Path) -> Iterator[dict[str, Any]]:
    text = _text(file)
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    try:
        for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter):
            # None is the name of fields beyond the last column.
            yield {name.strip(): value for name, value in row.items() if name is not None}
    except csv.Error as problem:
        raise DataError(f"{file}: not a table ({problem}).") from None


def _jsonl(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_text(file).splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as problem:
                raise DataError(f"{file}: line {number} is no JSON: {problem}.") from None
            yield row if isinstance(row, dict) else {}


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{file} needs the package pyarrow: pip install pyarrow") from None
    try:
        table = pyarrow.parquet.ParquetFile(file)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
    except pyarrow.ArrowException as problem:
        raise DataError(f"{file}: no Parquet file ({str(problem).splitlines()[0]}).") from None


def _text(file: Path) -> str:
    """UTF-8, or the UTF-16 of spreadsheets. Other bytes stay, because names of files have them."""
    data = file.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="surrogateescape")
