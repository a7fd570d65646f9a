"""Rows of tables: CSV, TSV, JSON lines, Parquet."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitrail.errors import DataError

FORMS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
         ".json": "json", ".parquet": "parquet", ".pq": "parquet"}  # fmt: skip
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar", ".gz")
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
DELIMITERS = ",;\t|"


def find_table(folder: Path) -> Path | None:
    """The table in a folder that is likeliest to list images with their labels.

    Args:
        folder: a folder.

    Returns:
        A file of which "train" or else "label" is a part of the name, if there is one; otherwise
        the first table. None where there is none.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("sample_submission.csv", "train.csv", "README.txt"):
        ...     (folder / name).touch()
        >>> find_table(folder).name
        'train.csv'
    """
    tables = [file for file in sorted(folder.glob("*")) if is_table(file)]
    words = ("train", "label")
    named = (file for word in words for file in tables if word in file.name.casefold())
    return next(named, tables[0] if tables else None)


def is_table(file: Path) -> bool:
    """Whether a file is a table by its suffix.

    Args:
        file: its path.

    Returns:
        Whether it is; .txt and .json may be anything, and are none.

    Example:
        >>> is_table(Path("labels.csv")), is_table(Path("notes.txt"))
        (True, False)
    """
    suffix = file.suffix.lower()
    return suffix in FORMS and suffix not in (".txt", ".json")


def is_archive(name: str) -> bool:
    """Whether a file is an archive by its name.

    Args:
        name: its name.

    Returns:
        Whether it is.

    Example:
        >>> is_archive("pets.tar.gz"), is_archive("pets.csv")
        (True, False)
    """
    return name.lower().endswith(ARCHIVES)


def read_rows(
    file: Path, form: str | None = None, encoding: str | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a table.

    Args:
        file: a CSV file with column names in its first line, separated by comma, semicolon, tab or
            bar; JSON objects, one a line, or a list of them; or a Parquet file.
        form: "csv", "json", "jsonl" or "parquet"; None for what the suffix says.
        encoding: of a text; None for UTF-8, or the UTF-16 of spreadsheets.

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
    if form is None and file.suffix.lower() in SPREADSHEETS:
        raise DataError(f"{file}: spreadsheets are not read: save it as CSV, in UTF-8.")
    if form is None and is_archive(file.name):
        raise DataError(f"{file} is an archive: unpack it, and name the table in it.")
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
        if form == "parquet":
            yield from _parquet(file)
        else:
            readers = {"csv": _csv, "json": _json, "jsonl": _jsonl}
            yield from readers[form](file, _text(file, encoding))
    except OSError as problem:
        raise DataError(f"{file}: cannot be read ({problem.strerror or problem}).") from None


def _csv(file: Path, text: str) -> Iterator[dict[str, Any]]:
    first, _, rest = text.partition("\n")
    delimiter = max(DELIMITERS, key=first.count)
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # for spreadsheets
        delimiter, text = first.strip()[-1], rest
    try:
        reader: csv.DictReader[Any] = csv.DictReader(
            io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True
        )
        for row in reader:
            # None is the name of fields beyond the last column; spreadsheets leave empty ones.
            if any(cell.strip() for cell in row.pop(None, None) or ()):
                raise DataError(
                    f"{file}: line {reader.line_num} has more cells than the first line has "
                    f"columns: put a text that holds {delimiter!r} in quotes."
                )
            yield {name.strip(): value for name, value in row.items()}
    except csv.Error as problem:
        raise DataError(f"{file}: not a table ({problem}).") from None


def _json(file: Path, text: str) -> Iterator[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{file}: no JSON: {problem}.") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{file} is no list of objects, one per image, such as "
            '[{"path": "1.jpg", "label": "cat"}]: write one.'
        )
    yield from rows


def _jsonl(file: Path, text: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
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


def _text(file: Path, encoding: str | None) -> str:
    """UTF-8, or the UTF-16 of spreadsheets. Other bytes stay, because names of files have them."""
    data = file.read_bytes()
    if encoding is not None:
        try:
            return data.decode(encoding)
        except (LookupError, UnicodeError) as problem:
            raise DataError(f"{file}: encoding={encoding!r} does not fit: {problem}.") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="surrogateescape")
