"""Tar shards in the layout of WebDataset as a dataset: any sample is read where it lies."""

import functools
import glob
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl

import torch

from vitrail.data.dataset import Dataset
from vitrail.data.folders import Inventory, LeftAside, split_name
from vitrail.data.images import BadImage
from vitrail.data.manifest_labels import ManifestLabels, read_labels, read_numbers, sorted_names
from vitrail.data.recording_inputs import KINDS, RecordingKind
from vitrail.data.remote_shards import copy_shards
from vitrail.data.shard_datasets import ShardDataset, ShardRecordings
from vitrail.data.shard_description import CLASSES, DESCRIPTION, read_beside
from vitrail.data.splits import SPLITS, Parts
from vitrail.data.tar_index import Parts as TarParts
from vitrail.data.tar_index import TarIndex, TarSample, index_of
from vitrail.errors import DataError, check_choice

MOST_SHARDS = 100_000  # that a pattern may stand for


def open_shards(spec: str) -> Parts:
    """Images or recordings in tar files, as webdataset's `ShardWriter` and `vitrail pack` write.

    Names of tar files or of their folder say which split they are of: `train-000000.tar`,
    `imagenet-val-03.tar`, `test/00.tar`. Classes have the names that `classes.txt`, one per line,
    or `dataset.json` beside the tar files lists; without them, what the samples say.

    What is damaged or missing is the `damage` of a split, which `prepared` refuses or leaves out.

    Args:
        spec: a folder of tar files; a pattern such as `photos/train-{000..127}.tar` or
            `photos/*.tar`; or such an address, as `https://host/photos` or `s3://bucket/*.tar`,
            whose files are copied to the cache folder once. Options: `?image=left.jpg` and
            `?label=cls2` name the members of a sample to read, where it has several; `label` may be
            a key of its JSON object. `?kind=` is videos, volumes or signals, where neither the
            suffixes nor dataset.json say so.

    Returns:
        Its splits; "train" if no name says one.

    Raises:
        DataError: there are no such files, or nothing in them can be read.

    Example:
        >>> open_shards("nowhere/*.tar")
        Traceback (most recent call last):
        vitrail.errors.DataError: no tar files at 'nowhere/*.tar': give a folder of them, or a...
    """
    pattern, _mark, query = spec.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for option in options:
        check_choice("option", option, TarParts._fields)
    paths, missing = _find(pattern)
    folder = paths[0].parent if paths else Path(pattern).parent
    if "kind" in options:
        check_choice("kind", options["kind"], ("images", *KINDS))
    else:
        options["kind"] = _kind_beside(folder)
    options["kind"] = options["kind"].removeprefix("images")
    kind, indexes = _read(paths, TarParts(**options))
    unused = sum((index.unused for index in indexes), Counter[str]())
    splits = _splits(pattern, [*paths, *(Path(name) for name, _reason in missing)])
    damage = _damage(paths, indexes, missing, splits)
    samples = [sample for index in indexes for sample in index.samples]
    files = [path for path, index in zip(paths, indexes, strict=True) for _ in index.samples]
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(files):
        rows.setdefault(splits[path], []).append(row)
    for split, listed in damage.items():
        if listed and split not in rows:  # nothing is left
            raise DataError(describe_damage(listed))
    if not samples:
        content = ", ".join(unused) or "nothing"
        what = kind or "images"
        raise DataError(f"{pattern}: holds no {what}, but {content}: name their suffix by ?image=.")
    labels = _labels(pattern, samples, _class_names(folder))
    counts = {split or "all": labels.counts(rows[split]) for split in rows}
    left_aside = LeftAside({f".{suffix}": n for suffix, n in unused.items()})
    inventory = Inventory(pattern, counts, {}, left_aside)
    return {
        split or "train": functools.partial(
            _dataset,
            files,
            samples,
            labels,
            rows[split],
            inventory,
            KINDS.get(kind),
            damage.get(split, []),
        )
        for split in ("", *SPLITS)
        if split in rows
    }


def _read(paths: Sequence[Path], parts: TarParts) -> tuple[str, list[TarIndex]]:
    """The kind of the samples, "" for images, and the indexes of tar files."""
    with ThreadPoolExecutor() as pool:
        # Without images, suffixes may be those of recordings.
        for kind in (parts.kind,) if parts.kind else ("", *KINDS):
            one = functools.partial(index_of, parts=parts._replace(kind=kind))
            indexes = list(pool.map(one, paths))
            if any(index.samples for index in indexes):
                return kind, indexes
        return parts.kind, list(pool.map(functools.partial(index_of, parts=parts), paths))


def _damage(
    paths: Sequence[Path],
    indexes: Sequence[TarIndex],
    missing: Sequence[BadImage],
    splits: dict[Path, str],
) -> dict[str, list[BadImage]]:
    """What is damaged or missing of each split."""
    damage: dict[str, list[BadImage]] = {}
    for path, index in zip(paths, indexes, strict=True):
        listed = damage.setdefault(splits[path], [])
        listed += [BadImage(str(path), problem) for problem in index.problems]
    for bad in missing:
        damage.setdefault(splits[Path(bad.name)], []).append(bad)
    return damage


def describe_damage(damage: Sequence[BadImage]) -> str:
    """What of a dataset is damaged or missing, in one line.

    Args:
        damage: names of files, and what is wrong with them; one at least.

    Returns:
        The text of an error, with its cure.

    Example:
        >>> describe_damage([BadImage("0.tar", "is missing"), BadImage("1.tar", "is missing")])
        '0.tar: is missing, and 1 more: mend them, or set bad_images=skip to leave them out.'
    """
    name, reason = damage[0]
    more = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
    objects = "them" if more else "it"
    return (
        f"{name}: {reason}{more}{':' if more else '. Or'} "
        f"{'mend them, or ' if more else ''}set bad_images=skip to leave {objects} out."
    )


def _dataset(
    files: Sequence[Path],
    samples: Sequence[TarSample],
    labels: ManifestLabels,
    rows: Sequence[int],
    inventory: Inventory,
    kind: RecordingKind | None,
    damage: Sequence[BadImage],
) -> Dataset:
    index = {name: number for number, name in enumerate(labels.names)}
    targets = [index.get(labels.classes[row], 0) for row in rows]
    parts = [samples[row] for row in rows]
    of_rows = [files[row] for row in rows]
    dataset: ShardDataset | ShardRecordings
    if kind is None:
        dataset = ShardDataset(of_rows, parts, targets, labels.names)
    else:
        dataset = ShardRecordings(of_rows, parts, targets, labels.names, kind)
    dataset.inventory, dataset.target, dataset.damage = inventory, labels.target, damage
    dataset.values = None if labels.values is None else labels.values[list(rows)]
    if any(sample.weight != 1 for sample in samples):
        dataset.weights = torch.tensor([sample.weight for sample in parts])
    if any(sample.caption for sample in samples):
        dataset.captions = [sample.caption for sample in parts]
    return dataset


def _find(pattern: str) -> tuple[list[Path], list[BadImage]]:
    """The tar files that a folder, an address, or a pattern with * and {000..127} stands for, and
    those of them that are missing."""
    if "://" in pattern:
        return copy_shards(list(expand_braces(pattern)))
    paths: list[Path] = []
    missing = []
    for name in expand_braces(str(Path(pattern).expanduser())):
        path = Path(name)
        if path.is_dir():
            paths += sorted(path.rglob("*.tar"))
        elif path.is_file():
            paths.append(path)
        elif glob.has_magic(name):
            paths += [Path(n) for n in sorted(glob.glob(name, recursive=True)) if Path(n).is_file()]
        elif name != pattern:
            missing.append(BadImage(name, f"no tar file {path.name!r} is there: add it"))
    if not paths:
        raise DataError(
            f"no tar files at {pattern!r}: give a folder of them, or a quoted pattern such as "
            "'photos/train-{000..127}.tar'."
        )
    return list(dict.fromkeys(paths)), missing


def expand_braces(pattern: str) -> Iterator[str]:
    """The names that a pattern with braces stands for, as in a shell.

    Args:
        pattern: with ranges `{000..127}` and choices `{train,val}`.

    Yields:
        Each name.

    Raises:
        DataError: there are more than `MOST_SHARDS`.

    Example:
        >>> list(expand_braces("{train,val}-{08..10}.tar"))[:4]
        ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar']
    """
    fixed, *rest = re.split(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    choices: list[Iterator[str]] = []
    total = 1
    for braces in rest[::2]:
        if bounds := re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", braces):
            first, last = int(bounds[1]), int(bounds[2])
            total *= max(last + 1 - first, 0)
            width = len(bounds[1]) if bounds[1].startswith("0") else 0
            choices.append(f"{number:0{width}}" for number in range(first, last + 1))
        else:
            choices.append(iter(braces.split(",")))
            total *= braces.count(",") + 1
    if total > MOST_SHARDS:
        raise DataError(f"{pattern!r} stands for {total:,} files, more than {MOST_SHARDS:,}.")
    for words in itertools.product(*choices):
        yield fixed + "".join(w + r for w, r in zip(words, rest[1::2], strict=True))


def _splits(pattern: str, paths: Sequence[Path]) -> dict[Path, str]:
    """The split of each tar file; "" for all if no name says one."""
    splits = {path: split_of(path) for path in paths}
    others = [path for path, split in splits.items() if not split]
    if others and any(splits.values()):
        raise DataError(
            f"{pattern}: {others[0].name} is of no split, and others are: put train, val or test "
            "in its name, or leave it out by a narrower pattern."
        )
    return splits


def split_of(path: Path) -> str:
    """The split that the name of a tar file, or of its folder, says.

    Args:
        path: of a tar file.

    Returns:
        "train", "val" or "test"; "" if it says none.

    Example:
        >>> split_of(Path("imagenet1k-validation-07.tar")), split_of(Path("train/7.tar"))
        ('val', 'train')
    """
    words = [*re.findall(r"[a-z]+", path.stem.casefold()), path.parent.name]
    return next((split for word in words if (split := split_name(word))), "")


def _kind_beside(folder: Path) -> str:
    """The kind that dataset.json says; "" if there is none."""
    try:
        content = json.loads(read_beside(folder / DESCRIPTION))
    except (OSError, ValueError, RecursionError, DataError):
        return ""  # its names of classes are read later, with an error
    kind = content.get("kind", "") if isinstance(content, dict) else ""
    return kind if kind in KINDS else ""


def _class_names(folder: Path) -> list[str]:
    """The names that a file beside the shards lists; none if there is no file."""
    for file in (folder / DESCRIPTION, folder / CLASSES, folder.parent / CLASSES):
        if not file.is_file():
            continue
        text = read_beside(file)
        names = text.splitlines() if file.name == CLASSES else read_description(text, file)
        if names:
            return [name.strip() for name in names if name.strip()]
    return []


def read_description(text: str, file: Path | str) -> list[str]:
    """The class names in the content of a dataset.json.

    Args:
        text: its content.
        file: its name, for messages.

    Returns:
        The names; none if it has no "labels".

    Raises:
        DataError: it is no JSON, or its labels are no names.

    Example:
        >>> read_description('{"labels": ["cat", "dog"]}', "dataset.json")
        ['cat', 'dog']
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{file} is no JSON: repair it, or write {CLASSES} instead.") from None
    names = content.get("labels", []) if isinstance(content, dict) else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{file}: labels is no list of names: write ['cat', 'dog'].")
    return names


def _labels(pattern: str, samples: Sequence[TarSample], names: list[str]) -> ManifestLabels:
    """What the samples are labelled with; `names` are of a file beside them."""
    cells = [sample.label for sample in samples]
    present = [cell for cell in cells if cell is not None]
    if not present:
        return ManifestLabels("class", [], [""] * len(cells), None)
    if len(present) < len(cells):
        name = samples[cells.index(None)].name
        raise DataError(f"{pattern}: {name} has no label, and others have: add it to the shard.")
    if all(isinstance(cell, dict) for cell in cells):
        columns = names or list(cells[0])
        return read_numbers(Path(pattern), {c: [cell.get(c) for cell in cells] for c in columns})
    if any(isinstance(cell, list) for cell in cells):
        several = read_labels(Path(pattern), [*cells, names], "label", "")
        order = [several.names.index(name) for name in names or several.names]
        if len(order) < len(several.names):
            other = next(iter({*several.names} - {*names}))
            raise DataError(f"{pattern}: the label {other!r} is not among those listed beside it.")
        assert several.values is not None
        values = several.values[:-1, order]
        return ManifestLabels("labels", names or several.names, several.classes[:-1], values)
    classes = read_labels(Path(pattern), cells, "label", "").classes
    if not names:
        return ManifestLabels("class", sorted_names({*classes}), classes, None)
    by_text = {n: n for n in names} | {str(number): name for number, name in enumerate(names)}
    if others := [text for text in classes if text not in by_text]:
        raise DataError(
            f"{pattern}: the class {others[0]!r} is none of the {len(names)} listed beside it: "
            f"correct {CLASSES} or {DESCRIPTION}."
        )
    return ManifestLabels("class", names, [by_text[text] for text in classes], None)
