"""How the layout of a folder becomes splits and classes, whatever kind of files it holds."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitrail.arguments import checked
from vitrail.data.file_paths import FilePaths, readable
from vitrail.data.tables import find_table
from vitrail.errors import DataError

IsSample = Callable[[Path], bool]
IsName = Callable[[str], bool]  # the same of a path as text
Classes = dict[str, Sequence[Path]]  # class name → its samples

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
FILLERS = {"set", "data", "dataset", "image", "images", "img", "imgs", "split", "seg"}
# What operating systems, archives and storage devices leave in folders.
SYSTEM_NAMES = {
    "__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "#recycle", "lost+found",
    "system volume information",
}  # fmt: skip


@dataclass
class Tree:
    """A folder and everything below it.

    Args:
        path: the folder.
        samples: the names of the samples in it, sorted.
        folders: the folders in it, by name.

    Example:
        >>> cats = Tree(Path("pets/cat"), ["1.jpg"])
        >>> Tree(Path("pets"), folders={"cat": cats}).walk()
        ['pets/cat/1.jpg']
    """

    path: Path
    samples: list[str] = field(default_factory=list)
    folders: "dict[str, Tree]" = field(default_factory=dict)

    def walk(self) -> list[str]:
        """The paths of all samples, in the order of their names."""
        start = _start(self.path)
        if not self.folders:
            return [start + name for name in self.samples]
        inner = {name: [start + name] for name in self.samples}
        inner |= {name: folder.walk() for name, folder in self.folders.items()}
        return [path for name in sorted(inner) for path in inner[name]]

    @property
    def count(self) -> int:
        """The number of samples in the folder and below."""
        return len(self.samples) + sum(folder.count for folder in self.folders.values())

    @property
    def classes(self) -> "dict[str, Tree]":
        """The folders that hold samples, at any depth, by name."""
        return {name: folder for name, folder in sorted(self.folders.items()) if folder.count}


@dataclass
class LeftAside:
    """What a folder holds that is not used.

    Args:
        suffixes: number of files that are no samples, by suffix.
        empty: names of class folders without samples.
        beside: number of samples that lie beside the class folders.
        folders: number of samples in each folder that lies beside the split folders, or that
            repeats the class folders beside it.
        hidden: number of hidden files and folders, and of those that systems leave behind.

    Example:
        >>> LeftAside(suffixes={".txt": 2}).suffixes[".txt"]
        2
    """

    # A plain dictionary: dataclasses.asdict makes pairs of the keys of a Counter.
    suffixes: dict[str, int] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    beside: int = 0
    folders: dict[str, int] = field(default_factory=dict)
    hidden: int = 0


@dataclass(frozen=True)
class Inventory:
    """What a folder or file holds, in numbers; `dataclasses.asdict` makes JSON of it.

    Args:
        source: the folder or file.
        counts: "train", "val", "test" → class name → number of samples. Without splits, "all".
        folders: folder of each split, as it is spelled; empty without split folders.
        left_aside: what is not used.
        repeated: files that a table lists more than once.
        contradicted: those of them with different labels.
        shared: those of them in more than one split.

    Example:
        >>> Inventory("pets", {"all": {"cat": 2}}).counts["all"]["cat"]
        2
    """

    source: str
    counts: dict[str, dict[str, int]]
    folders: dict[str, str] = field(default_factory=dict)
    left_aside: LeftAside = field(default_factory=LeftAside)
    repeated: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)


@dataclass
class FolderLayout:
    """Samples of a folder by split and class.

    Args:
        root: folder that holds the folders of splits or classes; it may lie below the one named.
        splits: "train", "val", "test" → class name → samples. Without split folders, "all".
        folders: folder of each split, as it is spelled.
        left_aside: what is not used.
        below: without splits, the only folder in the one named, which holds the classes.

    Example:
        >>> layout = FolderLayout(Path("pets"), {"all": {"cat": [Path("pets/cat/1.jpg")]}})
        >>> layout.inventory.counts
        {'all': {'cat': 1}}
    """

    root: Path
    splits: dict[str, Classes]
    folders: dict[str, Path] = field(default_factory=dict)
    left_aside: LeftAside = field(default_factory=LeftAside)
    below: str = ""

    @property
    def inventory(self) -> Inventory:
        """The same in numbers."""
        counts = {s: {c: len(f) for c, f in classes.items()} for s, classes in self.splits.items()}
        folders = {split: folder.name for split, folder in self.folders.items()}
        folders |= {"all": self.below} if self.below else {}
        return Inventory(str(self.root), counts, folders, self.left_aside)


@checked
def find_layout(
    root: Path, is_sample: IsSample, is_folder_sample: IsSample | None = None
) -> FolderLayout:
    """Finds the splits and classes of a folder.

    Folders called train or training, val, valid, validation or dev, and test, testing or eval, in
    any case, are splits if they hold class folders. All other folders are classes. Links are
    followed, hidden paths are not.

    Args:
        root: a folder.
        is_sample: path of a file → whether it is a sample.
        is_folder_sample: path of a folder → whether it is one sample, such as the frames of a clip.

    Returns:
        The samples by split and class. A split may have no class at all.

    Raises:
        DataError: the folder may mean several things; the message says how to choose.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("Train/cat/1.png", "Train/dog/1.png", "Val/cat/2.png", "Val/notes.txt"):
        ...     (root / name).parent.mkdir(parents=True, exist_ok=True)
        ...     (root / name).touch()
        >>> layout = find_layout(root, lambda path: path.suffix == ".png")
        >>> [(split, sorted(classes)) for split, classes in layout.splits.items()]
        [('train', ['cat', 'dog']), ('val', ['cat'])]
        >>> layout.left_aside.suffixes
        {'.txt': 1}
    """
    return layout_of(root, lambda name: is_sample(Path(name)), is_folder_sample)


def layout_of(
    root: Path, is_sample: IsName, is_folder_sample: IsSample | None = None
) -> FolderLayout:
    """The same as `find_layout`, faster: no path is made of a file's name.

    Args:
        root: a folder.
        is_sample: path of a file as text → whether it is a sample.
        is_folder_sample: path of a folder → whether it is one sample.

    Returns:
        The samples by split and class.

    Raises:
        DataError: the folder may mean several things; the message says how to choose.

    Example:
        >>> import tempfile
        >>> layout_of(Path(tempfile.mkdtemp()), lambda name: name.endswith(".png")).splits
        {'all': {}}
    """
    tree, left_aside = scan(root, is_sample, is_folder_sample)
    tree = _unwrap(tree)
    folders = _split_folders(tree)
    if not folders:
        _check_classes(tree)
        classes, below = _classes_of(tree, left_aside), tree.path.name * (tree.path != root)
        return FolderLayout(tree.path, {"all": classes}, {}, left_aside, below)
    left_aside.beside += len(tree.samples)
    used = {folder.path.name for folder in folders.values()}
    left_aside.folders = {n: f.count for n, f in tree.classes.items() if n not in used}
    splits = {}
    for split, folder in folders.items():
        inner = _unwrap(folder)
        _check_classes(inner)
        splits[split] = _classes_of(inner, left_aside)
    return FolderLayout(tree.path, splits, {s: f.path for s, f in folders.items()}, left_aside)


def scan(
    root: Path, is_sample: IsName, is_folder_sample: IsSample | None = None
) -> tuple[Tree, LeftAside]:
    """Reads a folder and all folders below. Links are followed, but never in a circle.

    Args:
        root: a folder.
        is_sample: path of a file as text → whether it is a sample.
        is_folder_sample: path of a folder → whether it is one sample.

    Returns:
        Its samples, and what is none.

    Raises:
        DataError: a folder cannot be read.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "1.png").touch(), (root / ".hidden.png").touch()
        (None, None)
        >>> tree, left_aside = scan(root, lambda name: name.endswith(".png"))
        >>> tree.samples, left_aside.hidden
        (['1.png'], 1)
    """
    left_aside = LeftAside()

    def read(folder: Path, above: frozenset[tuple[int, int]]) -> Tree:
        try:
            stat = folder.stat()
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError as problem:
            raise DataError(f"{folder}: cannot be read ({problem.strerror}).") from None
        here = above | {(stat.st_dev, stat.st_ino)}
        tree, start = Tree(folder), _start(folder)
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.casefold() in SYSTEM_NAMES:
                left_aside.hidden += 1
            elif entry.is_dir():
                path = folder / name
                if is_folder_sample is not None and is_folder_sample(path):
                    tree.samples.append(name)
                elif not entry.is_symlink() or _identity(path) not in here:
                    tree.folders[name] = read(path, here)
            # A link to nowhere is a sample that cannot be read; a pipe or a device is none.
            elif (entry.is_file() or entry.is_symlink()) and is_sample(start + name):
                tree.samples.append(name)
            else:
                suffix = Path(name).suffix.lower()
                left_aside.suffixes[suffix] = left_aside.suffixes.get(suffix, 0) + 1
        return tree

    return read(root, frozenset()), left_aside


def split_name(name: str) -> str | None:
    """The split that a name means, in any case: "Training", "val", "test_set", "seg_test".

    Args:
        name: of a folder, or in a table.

    Returns:
        "train", "val", "test", or None for any other name.

    Example:
        >>> split_name("Training"), split_name("valid"), split_name("test_set"), split_name("cat")
        ('train', 'val', 'test', None)
    """
    words = [w for w in re.findall(r"[a-z]+", name.casefold()) if w not in FILLERS]
    return SPLIT_NAMES.get(words[0].removesuffix("set")) if len(words) == 1 else None


def _start(folder: Path) -> str:
    """What stands before a name in the path of a file of a folder."""
    return "" if folder == Path() else os.path.join(folder, "")


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _unwrap(tree: Tree) -> Tree:
    """The folder inside, where archives wrap one: pets/pets/cat, archive/pets/cat."""
    while len(tree.classes) == 1 and not tree.samples:
        [(name, inner)] = tree.classes.items()
        is_repeated = name.casefold() == tree.path.name.casefold() and inner.classes
        last = inner
        while len(last.classes) == 1 and not last.samples:  # archive/data/dataset/pets/cat
            [last] = last.classes.values()
        holds_classes = len(last.classes) > 1 and not last.samples
        if not (is_repeated or holds_classes or _looks_split(inner)):
            break
        tree = inner
    return tree


def _looks_split(tree: Tree) -> bool:
    names = {split_name(name) for name, folder in tree.classes.items() if folder.classes}
    return "train" in names and len(names - {None}) > 1


def _split_folders(tree: Tree) -> dict[str, Tree]:
    """The folder of each split; none where the folders are classes."""
    named = {name: split for name in tree.classes if (split := split_name(name))}
    # A class may be called "train": the folder of a split holds folders of classes.
    holding = {name: tree.folders[name] for name in named if tree.folders[name].classes}
    if not holding:
        if named and len(named) == len(tree.classes):
            first = min(named, key=lambda name: (named[name] != "train", name))
            table = find_table(tree.path) or find_table(tree.path / first)
            raise DataError(
                f"{_names([*named])} in {tree.path} look like splits, and hold no folders of "
                "classes: make one subfolder for each class in them, name a table of paths and "
                f"labels, as table:{table or 'FILE'}, or take the classes from names such as "
                f"cat.0.jpg, as names:{tree.path / first}."
            )
        return {}
    others = [name for name in tree.classes if name not in named]
    if len(holding) == 1 and others:
        [name] = holding
        raise DataError(
            f"{name!r} in {tree.path} looks like a split, and {_names(others)} beside it like "
            f"classes: name the split alone, as folder:{tree.path / name}, or rename one of them."
        )
    splits: dict[str, Tree] = {}
    for name, folder in sorted(holding.items(), key=lambda item: "eval" in item[0].casefold()):
        split = named[name]
        if "eval" in name.casefold() and "test" in splits:
            split = "val"
        if split in splits:
            raise DataError(
                f"{splits[split].path.name!r} and {name!r} in {tree.path} both look like the "
                f"{split} split: rename one of them."
            )
        splits[split] = folder
    return {split: splits[split] for split in ("train", "val", "test") if split in splits}


def _check_classes(tree: Tree) -> None:
    """Raises `DataError` if what would be classes is another level of folders."""
    twins: dict[frozenset[str], str] = {}
    for name, folder in tree.classes.items():
        inner = frozenset(folder.classes)
        if folder.samples or len(inner) < 2:
            continue
        if inner in twins:
            raise DataError(
                f"{twins[inner]!r} and {name!r} in {tree.path} hold the same folders "
                f"({_names(sorted(inner))}), so these look like the classes: name one of the two, "
                f"as folder:{tree.path / name}, or a table of paths and labels, as csv:FILE."
            )
        twins[inner] = name


def _classes_of(tree: Tree, left_aside: LeftAside) -> Classes:
    left_aside.beside += len(tree.samples)
    left_aside.empty += [name for name, folder in tree.folders.items() if not folder.count]
    classes = tree.classes
    # Some archives hold themselves once more: flowers/rose, flowers/tulip, flowers/flowers/rose.
    for name, folder in tree.classes.items():
        others = classes.keys() - {name}
        if len(others) > 1 and others <= folder.classes.keys() and not folder.samples:
            left_aside.folders[readable(name)] = classes.pop(name).count
    return {readable(name): FilePaths(folder.walk()) for name, folder in classes.items()}


def _names(names: list[str]) -> str:
    """Some names for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
