"""Datasets as tar shards, which `shards:PATH` and the library webdataset read."""

import io
import itertools
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from torch import Tensor

from vitrail.data.check import Progress
from vitrail.data.dataset import Dataset
from vitrail.data.file_paths import readable
from vitrail.data.file_spans import PACKED, Source
from vitrail.data.formats import format_of, is_image_name, pillow
from vitrail.data.image_file import ImageFile
from vitrail.data.manifest_labels import sorted_names
from vitrail.data.order import order
from vitrail.data.recognition import IMAGES
from vitrail.data.shard_description import DESCRIPTION
from vitrail.data.videos import images_in
from vitrail.errors import ConfigError, DataError
from vitrail.files import atomic_folder, atomic_write

SUFFIXES = {
    "JPEG": "jpg", "PNG": "png", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "NPY": "npy",
    "JPEG 2000": "jp2", "WebP": "webp", "AVIF": "avif", "HEIC": "heic",
}  # fmt: skip
MEBIBYTE = 2**20
LARGEST_IN_MEMORY = 2**26  # bytes of the frames of one recording


def pack(
    splits: Mapping[str, Dataset],
    folder: Path,
    *,
    shard_size: int = 256,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes datasets of images or recordings as tar shards.

    A sample has an image or a recording, whose bytes are those of its file; `.cls`, the index of
    its class; `.txt` its caption; `.json` its "file_name", and "labels", "numbers" and "weight"
    where it has them. A folder of frames or slices is a tar file of its own, `.frames.tar`; clips,
    volumes and signals of a dataset in memory are arrays. Samples are in one random order, always
    the same, so that a shard holds all classes and can be read in its own order. `dataset.json`
    has the names of the classes, the kind of recordings and the length of each shard.

    Args:
        splits: datasets by "train", "val" and "test".
        folder: where to, which must be empty or not exist; it is there as a whole or not at all.
        shard_size: MiB after which a shard is full.
        progress: called with (done, total).

    Returns:
        The shards.

    Raises:
        ConfigError: the folder is not empty.
        DataError: samples cannot be read, or are of several kinds.

    Example:
        >>> import tempfile
        >>> from vitrail.data.registry import open_dataset
        >>> digits = open_dataset("digits", limit=20)
        >>> [path.name for path in pack({"test": digits}, Path(tempfile.mkdtemp()) / "shards")]
        ['test-000000.tar']
    """
    check_empty(folder)
    names = next(iter(splits.values())).labels
    if any(dataset.labels != names for dataset in splits.values()):
        names = sorted_names({name for dataset in splits.values() for name in dataset.labels})
    kinds = {_kind(dataset) for dataset in splits.values()}
    if len(kinds) > 1:
        raise DataError(f"the splits are of {' and '.join(sorted(kinds))}: pack each by itself.")
    total, done = sum(map(len, splits.values())), 0
    lengths: dict[str, int] = {}
    with atomic_folder(folder) as temporary:
        for split, dataset in splits.items():
            samples = enumerate(_samples(dataset, names))
            for first in samples:
                path = temporary / f"{split}-{len(lengths):06}.tar"
                lengths[path.name] = 0
                with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as shard:
                    for number, members in itertools.chain([first], samples):
                        _add(shard, f"{number:09}", members)
                        lengths[path.name] += 1
                        done += 1
                        if progress is not None:
                            progress(done, total)
                        if shard.offset >= shard_size * MEBIBYTE:
                            break
        description = {"labels": names, "kind": kinds.pop(), "shards": lengths}
        atomic_write(temporary / DESCRIPTION, json.dumps(description, indent=1) + "\n")
    return [folder / name for name in lengths]


def check_empty(folder: Path) -> None:
    """Checks that a folder can be written without anything of a user's in it.

    Args:
        folder: one that is empty or does not exist.

    Raises:
        ConfigError: it is something else.

    Example:
        >>> check_empty(Path("/"))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: / is there and not an empty folder: name another one.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder} is there and not an empty folder: name another one.")


def _add(shard: tarfile.TarFile, key: str, members: Mapping[str, bytes | BinaryIO]) -> None:
    for suffix, content in members.items():
        with io.BytesIO(content) if isinstance(content, bytes) else content as file:
            header = tarfile.TarInfo(f"{key}.{suffix}")  # without a time: always the same bytes
            header.size = file.seek(0, os.SEEK_END)
            file.seek(0)
            shard.addfile(header, file)


def _kind(dataset: Dataset) -> str:
    """ "images", or the kind of recordings."""
    if dataset.recordings:
        return dataset.recordings
    if dataset.streamed or not len(dataset):
        return IMAGES
    sample = dataset.open(0)
    axes = 2 if isinstance(sample, ImageFile) else sample.ndim - 1
    return {1: "signals", 3: "volumes"}.get(axes, IMAGES)


def _samples(dataset: Dataset, names: list[str]) -> Iterator[dict[str, bytes | BinaryIO]]:
    """The members of each sample by suffix, in one random order; a stream's in its own."""
    index_of = {name: number for number, name in enumerate(names)}
    targets = [index_of[name] for name in dataset.labels]
    if dataset.streamed:
        for pixels, target, position in dataset.samples(None, 0, 0):
            record: dict[str, Any] = {"file_name": readable(dataset.name(position))}
            label = str(targets[target]) if targets else ""
            yield {**_image(pixels, dataset.name(position)), **_texts(label, "", record)}
        return
    labels = dataset.targets()
    for index in order(len(dataset), 0, 0).tolist():
        record = {"file_name": readable(dataset.key(index))}
        label = str(targets[labels[index]]) if targets and dataset.target == "class" else ""
        if dataset.values is not None:
            values = dict(zip(dataset.labels, dataset.values[index].tolist(), strict=True))
            present = [name for name, value in values.items() if value]
            record[dataset.target] = values if dataset.target == "numbers" else present
        if dataset.weights is not None:
            record["weight"] = float(dataset.weights[index])
        caption = dataset.captions[index] if dataset.captions else ""
        if dataset.recordings:
            content = _recording(dataset.file(index))
        else:
            content = _image(dataset.open(index), dataset.name(index))
        yield {**content, **_texts(label, caption, record)}


def _texts(label: str, caption: str, record: dict[str, Any]) -> dict[str, bytes]:
    texts = {"cls": label, "txt": caption, "json": json.dumps(record, ensure_ascii=False)}
    return {suffix: text.encode() for suffix, text in texts.items() if text}


def _recording(source: Source) -> dict[str, bytes | BinaryIO]:
    """A recording as it is: its file, or a tar file of its frames."""
    try:
        if source.is_dir():
            return {PACKED[1:]: _frames(source)}
        suffix = source.suffix.lower()
        if source.name.lower().endswith(".nii.gz"):
            suffix = ".nii.gz"
        elif suffix == ".txt":  # which would be a caption
            suffix = ".csv"
        return {suffix[1:]: source.open("rb")}
    except OSError as problem:
        raise DataError(f"{source}: cannot be read ({problem.strerror}).") from None


def _frames(folder: Source) -> BinaryIO:
    target = tempfile.SpooledTemporaryFile(LARGEST_IN_MEMORY)  # noqa: SIM115  # closed by `_add`
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for number, file in enumerate(images_in(folder)):
            data = file.read_bytes()
            header = tarfile.TarInfo(f"{number:06}{file.suffix.lower()}")
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return cast(BinaryIO, target)


def _image(image: Tensor | ImageFile, name: str) -> dict[str, bytes | BinaryIO]:
    """An image file as it is; pixels as PNG, or as an array if they have other channels or axes."""
    if isinstance(image, ImageFile):
        own = os.path.splitext(name)[1].lower() if is_image_name(name) else ".png"
        return {SUFFIXES.get(format_of(image.data) or "", own[1:]): image.data}
    file = io.BytesIO()
    if image.ndim == 3 and image.shape[0] in (1, 3):
        pixels = image.permute(1, 2, 0).squeeze(-1).numpy()
        pillow().fromarray(pixels).save(file, "png")
        return {"png": file.getvalue()}
    import numpy as np

    np.save(file, image.permute(1, 2, 0).numpy() if image.ndim == 3 else image.numpy())
    return {"npy": file.getvalue()}
