"""The file that `vitrail predict --out` writes: row by row, and whole or not at all."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from torch import nn

from vitrail.files import sync

PARTIAL = ".vitrail-partial"  # after the name of a file that is not finished
ESCAPE = "surrogateescape"  # names of files need not be UTF-8
FLUSHED = 64  # rows between two writes to the disk


class PredictionsFile:
    """Rows about images in a .csv or .jsonl file.

    Rows go to a file beside it as they come, so that memory stays bounded. A command that was
    stopped goes on from there, if it is given the same model, images and settings.

    Args:
        path: a .jsonl file for an object per image, or a .csv file with columns image, truth if
            there is one, class and probability, class_2 and probability_2, ...; of several labels
            image, labels and probabilities, separated by ";"; of numbers a column for each.
        settings: what the rows depend on; rows of other settings are not gone on from.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "classes.csv"
        >>> file = PredictionsFile(path, {"top": 2})
        >>> file.write([{"image": "1.jpg", "classes": {"cat": 0.75, "dog": 0.25}}])
        >>> file.finish()
        >>> path.read_text().split()
        ['image,class,probability,class_2,probability_2', '1.jpg,cat,0.75,dog,0.25']
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self.partial = path, path.with_name(path.name + PARTIAL)
        self._head = json.dumps({"settings": settings}, sort_keys=True) + "\n"
        self._end = 0  # bytes of the partial file that hold whole rows

    def keep(self, multiple: int) -> list[str]:
        """Keeps the rows of an earlier command but the last, so that others can follow.

        Args:
            multiple: images per batch. Whole batches are kept, without the last one, so that each
                image is in the batch that it would have been in, and has the same bits.

        Returns:
            The images of the rows that are kept, in their order.
        """
        names: list[str] = []
        ends: list[int] = []
        try:
            with self.partial.open("rb") as file:
                if file.readline() != self._head.encode():
                    return []
                ends.append(file.tell())
                for line in file:
                    try:
                        name = json.loads(line.decode("utf-8", ESCAPE))["image"]
                    except (ValueError, KeyError, TypeError):
                        break  # the last one was cut off
                    names.append(str(name))
                    ends.append(ends[-1] + len(line))
        except OSError:
            return []
        count = max(len(names) // multiple - 1, 0) * multiple
        self._end = ends[count] if count else 0
        return names[:count]

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Writes rows as they come.

        Args:
            rows: of `as_row`, about images that are not among those of `keep`.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.partial.open("r+b" if self._end else "wb") as file:
            if self._end:
                file.truncate(self._end)
                file.seek(self._end)
            else:
                file.write(self._head.encode())
            try:
                for number, row in enumerate(rows):
                    file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", ESCAPE))
                    if number % FLUSHED == 0:
                        file.flush()
            finally:
                file.flush()
                os.fsync(file.fileno())

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows that were written."""
        with self.partial.open("rb") as file:
            file.readline()
            for line in file:
                yield json.loads(line.decode("utf-8", ESCAPE))

    def finish(self) -> None:
        """Makes the file of the rows that were written."""
        temporary = self.path.with_name(f"{self.path.name}{PARTIAL}-{self.path.suffix[1:]}")
        with temporary.open("w", encoding="utf-8", errors=ESCAPE, newline="") as file:
            if self.path.suffix == ".jsonl":
                for row in self.rows():
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                self._write_table(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        sync(self.path.parent)
        self.partial.unlink()

    def _write_table(self, file: IO[str]) -> None:
        writer = csv.writer(file, lineterminator="\n")
        ranks = max((len(row.get("classes", ())) for row in self.rows()), default=0)
        for number, row in enumerate(self.rows()):
            names, cells = _cells(row, ranks)
            if number == 0:
                writer.writerow(names)
            writer.writerow(cells)
        if not file.tell():
            writer.writerow(_cells({"image": "", "classes": {}}, 0)[0])


def _cells(row: Mapping[str, Any], ranks: int) -> tuple[Sequence[str], Sequence[Any]]:
    """A row → names of the columns, and their values."""
    if "numbers" in row:
        return ["image", *row["numbers"]], [row["image"], *row["numbers"].values()]
    if "labels" in row:
        labels = row["labels"]
        texts = [";".join(labels), ";".join(map(str, labels.values()))]
        return ["image", "labels", "probabilities"], [row["image"], *texts]
    keys = [key for key in ("image", "truth") if key in row]
    names = [
        f"{name}_{rank}" if rank > 1 else name
        for rank in range(1, ranks + 1)
        for name in ("class", "probability")
    ]
    pairs = [value for pair in row["classes"].items() for value in pair]
    return [*keys, *names], [*(row[key] for key in keys), *pairs]


def digest_of(model: nn.Module) -> str:
    """A hash of a model's weights, by which rows of another model are known.

    Args:
        model: the model.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> digest_of(nn.Identity())
        'e3b0c44298fc1c14'
    """
    content = hashlib.sha256()
    for name, value in model.state_dict().items():
        content.update(name.encode())
        content.update(value.detach().cpu().float().numpy().tobytes())
    return content.hexdigest()[:16]


def digest_of_paths(paths: Iterable[Path]) -> str:
    """A hash of a list of images, by which rows of another list are known.

    Args:
        paths: the images, in their order.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> digest_of_paths([])
        'e3b0c44298fc1c14'
    """
    content = hashlib.sha256()
    for path in paths:
        content.update(os.fsencode(path) + b"\0")
    return content.hexdigest()[:16]
