"""The page as a folder that opens by double click: its documents are classic scripts beside it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vitrail.arguments import checked
from vitrail.errors import ConfigError, VitrailError
from vitrail.explorer.documents import Explorer
from vitrail.explorer.resources import DATA, page_files
from vitrail.files import atomic_folder

TARGETS = 2  # likeliest classes whose explanations are computed
MARK = "vitrail-explorer.json"  # in a folder that may be written again


@checked
def export_page(
    explorer: Explorer,
    folder: str | Path,
    pictures: Sequence[Path],
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes the page with the traces of some pictures.

    Args:
        explorer: the model.
        folder: a new or empty folder, or one of an earlier export.
        pictures: paths of image files.
        progress: called with the name of each picture before it is computed.

    Returns:
        The path of the page.

    Raises:
        ConfigError: the folder holds something else, or there are no pictures.
        DataError: a picture cannot be read.

    Example:
        >>> import tempfile, PIL.Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> PIL.Image.new("RGB", (9, 9)).save(folder / "black.png")
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> page = export_page(Explorer(model, "tiny"), folder / "page", [folder / "black.png"])
        >>> sorted(path.name for path in (page.parent / "data" / "0").iterdir())[:2]
        ['attention-0.js', 'explanation-attention.js']
    """
    folder = Path(folder)
    if not pictures:
        raise ConfigError("there are no pictures to export: give image files.")
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).is_file())
    ):
        raise ConfigError(f"{folder} holds something else: choose a new or an empty folder.")
    explorer.samples = list(pictures)
    with atomic_folder(folder) as temporary:
        model = explorer.model_document()
        _write(temporary, "model", model)
        for number in range(len(pictures)):
            if progress is not None:
                progress(pictures[number].name)
            _write_picture(temporary, explorer, number, model)
        for name, data in page_files().items():
            (temporary / name).write_bytes(data)
        page = (temporary / "index.html").read_text("utf-8")
        script = '<script src="data/model.js"></script>'
        (temporary / "index.html").write_text(page.replace(DATA, script), "utf-8")
        (temporary / MARK).write_text(json.dumps({"version": model["version"]}), "utf-8")
    return folder / "index.html"


def _write_picture(folder: Path, explorer: Explorer, number: int, model: dict[str, Any]) -> None:
    """All documents of a picture."""
    trace: dict[str, Any] = {**explorer.sample(number)}
    key = trace["id"]
    for layer in range(len(trace["layers"])):
        document = explorer.attention_document(key, layer)
        _write(folder, f"{number}/attention-{layer}", document)
    _write(folder, f"{number}/similarity", explorer.similarity_document(key))
    targets = [prediction["index"] for prediction in trace["predictions"][:TARGETS]]
    names = []
    for row in model["explanations"]:
        if row["reason"] or row["slow"]:
            continue
        try:
            for target in targets if row["of_class"] else [None]:
                suffix = "" if target is None else f"-{target}"
                document = explorer.explanation_document(key, row["name"], target)
                _write(folder, f"{number}/explanation-{row['name']}{suffix}", document)
        except VitrailError:  # the page offers those that were computed
            continue
        names.append(row["name"])
    trace |= {"id": str(number), "targets": targets, "explanations": names}
    _write(folder, f"{number}/trace", trace)


def _write(folder: Path, name: str, document: dict[str, Any]) -> None:
    """A document as a script that hands it to the page."""
    path = folder / "data" / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    path.write_text(f"Vitrail.receive({json.dumps(name)}, {text});\n", "ascii")
