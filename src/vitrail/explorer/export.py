"""The page as a folder that opens by double click: its documents are classic scripts beside it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vitrail.arguments import checked
from vitrail.errors import ConfigError, VitrailError
from vitrail.explorer.arrays import decode_array
from vitrail.explorer.documents import VERSION, Explorer
from vitrail.explorer.resources import DATA, page_files
from vitrail.files import atomic_folder

TARGETS = 2  # likeliest classes whose explanations are computed
LIVE = "live"  # the folder of a model that runs in the browser
MARK = "vitrail-explorer.json"  # in a folder that may be written again


@checked
def export_page(
    explorer: Explorer,
    folder: str | Path,
    pictures: Sequence[Path],
    progress: Callable[[str], None] | None = None,
    *,
    live: bool = False,
    runtime: Path | None = None,
) -> Path:
    """Writes the page with the traces of some pictures.

    Args:
        explorer: the model.
        folder: a new or empty folder, or one of an earlier export.
        pictures: paths of image files.
        progress: called with the name of each picture before it is computed.
        live: whether the model itself comes with the page, to run in the browser on any picture
            where a web server serves the folder.
        runtime: of a live page, the folder with the files of onnxruntime-web; None to fetch them
            by npm.

    Returns:
        The path of the page.

    Raises:
        ConfigError: the folder holds something else, or there are no pictures; or a live page
            lacks a package or the files of onnxruntime-web.
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
    with atomic_folder(folder) as temporary:
        model = write_live(explorer, temporary, runtime) if live else None
        _write_model(temporary, explorer, pictures, "", progress, model)
        if explorer.second is not None:
            _write_model(temporary, explorer.second, pictures, "second/")
        for name, data in page_files().items():
            (temporary / name).write_bytes(data)
        page = (temporary / "index.html").read_text("utf-8")
        script = '<script src="data/model.js"></script>'
        (temporary / "index.html").write_text(page.replace(DATA, script), "utf-8")
        (temporary / MARK).write_text(json.dumps({"version": VERSION}), "utf-8")
    return folder / "index.html"


def write_live(explorer: Explorer, page: Path, runtime: Path | None) -> dict[str, Any]:
    """Writes a model that runs in the browser, and what runs it, beside a page.

    Args:
        explorer: the model.
        page: the folder of the page.
        runtime: as in `export_page`.

    Returns:
        What the page is told of it.

    Raises:
        ConfigError: as `export_page`.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> write_live(Explorer(model, "tiny"), Path("page"), Path("nowhere"))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: nowhere has no ort.wasm.min.js: ...
    """
    from vitrail.explorer.live import write_live_model
    from vitrail.explorer.runtime import copy_runtime

    runtime_bytes = copy_runtime(page / LIVE, runtime)
    model = write_live_model(explorer, page / LIVE / "model.onnx")
    return {"folder": LIVE, "runtime_bytes": runtime_bytes, **model}


def _write_model(
    folder: Path,
    explorer: Explorer,
    pictures: Sequence[Path],
    prefix: str,
    progress: Callable[[str], None] | None = None,
    live: dict[str, Any] | None = None,
) -> None:
    """All documents of a model; their names begin with the prefix."""
    explorer.samples = list(pictures)
    model = explorer.model_document() | {"sentences": False, "live": live}  # sentences need Python
    _write(folder, f"{prefix}model", model)
    for number, picture in enumerate(pictures):
        if progress is not None:
            progress(picture.name)
        trace: dict[str, Any] = {**explorer.sample(number)}
        name = f"{prefix}{number}"
        trace |= _write_layers(folder, explorer, trace, name, walk=not model["walk"])
        trace |= _write_explanations(folder, explorer, trace, name, model)
        _write(folder, f"{name}/trace", trace | {"id": str(number)})


def _write_layers(
    folder: Path, explorer: Explorer, trace: dict[str, Any], name: str, *, walk: bool
) -> dict[str, Any]:
    """The documents of each layer → what the trace says of them."""
    key, patch = trace["id"], None
    for layer, row in enumerate(trace["layers"]):
        document = explorer.attention_document(key, layer)
        _write(folder, f"{name}/attention-{layer}", document)
        if row["scan"]:
            baseline = explorer.attention_document(key, layer, baseline=True)
            _write(folder, f"{name}/baseline-{layer}", baseline)
            _write(folder, f"{name}/scan-{layer}", explorer.scan_document(key, layer))
    _write(folder, f"{name}/similarity", explorer.similarity_document(key))
    if walk and trace["layers"]:
        patch = _looked_at(document)
        for layer in range(len(trace["layers"])):
            _write(folder, f"{name}/walk-{layer}", explorer.walk_document(key, layer, patch))
    return {"walk_patch": patch}


def _looked_at(attention: dict[str, Any]) -> int:
    """The patch that the first token attends to most, which the walk is about."""
    weights = decode_array(attention["array"])[:, 0, attention["prefix"] :]
    return int(weights.mean(0).argmax())


def _write_explanations(
    folder: Path, explorer: Explorer, trace: dict[str, Any], name: str, model: dict[str, Any]
) -> dict[str, Any]:
    """The explanations of the likeliest classes → what the trace says of them."""
    targets = [prediction["index"] for prediction in trace["predictions"][:TARGETS]]
    names = []
    for row in model["explanations"]:
        if row["reason"] or row["slow"]:
            continue
        try:
            for target in targets if row["of_class"] else [None]:
                suffix = "" if target is None else f"-{target}"
                document = explorer.explanation_document(trace["id"], row["name"], target)
                _write(folder, f"{name}/explanation-{row['name']}{suffix}", document)
        except VitrailError:  # the page offers those that were computed
            continue
        names.append(row["name"])
    return {"targets": targets, "explanations": names}


def _write(folder: Path, name: str, document: dict[str, Any]) -> None:
    """A document as a script that hands it to the page."""
    path = folder / "data" / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    path.write_text(f"Vitrail.receive({json.dumps(name)}, {text});\n", "ascii")
