"""103 photographs in four folders: Debian's package tuxpaint-stamps-default."""

import shutil
from pathlib import Path

STAMPS = Path("/usr/share/tuxpaint/stamps")
FOLDERS = {
    "birds": "animals/birds", "flowers": "plants/flowers", "fruit": "food/fruit",
    "vegetables": "food/vegetables",
}  # fmt: skip


def has_stamps() -> bool:
    """Whether the package is installed."""
    return all((STAMPS / folder).is_dir() for folder in FOLDERS.values())


def stamp_files() -> dict[str, list[Path]]:
    """The photographs by class; drawings (SVG) are left out."""
    return {label: sorted((STAMPS / folder).glob("*.png")) for label, folder in FOLDERS.items()}


def write_folds(root: Path, folds: int = 5) -> list[Path]:
    """A folder per fold with train/ and test/, so that each photograph is tested on once."""
    roots = [root / f"fold{number}" for number in range(folds)]
    for label, files in stamp_files().items():
        for index, file in enumerate(files):
            for number, fold in enumerate(roots):
                split = "test" if index % folds == number else "train"
                target = fold / split / label
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
    return roots
