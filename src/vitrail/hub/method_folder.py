"""A whole method in and out: what stands beside the backbone, such as a decoder or a text tower."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from vitrail.errors import LoadError
from vitrail.files import atomic_folder
from vitrail.hub import model_folder
from vitrail.hub.converters import of_methods
from vitrail.hub.load import find, load
from vitrail.methods.base import Method
from vitrail.methods.registry import create_method

FOLDER, SETTINGS, WEIGHTS = "method", "method.json", "method.safetensors"


class Absent:
    """Stands in for a teacher or tokenizer that was not kept. Asking it raises `LoadError`."""

    def __init__(self, setting: str, attributes: dict[str, Any]) -> None:
        self.setting = setting
        self.__dict__.update(attributes)

    def __call__(self, *_: Any) -> Any:
        """Raises `LoadError`."""
        raise LoadError(f"the {self.setting} of this method was not kept with it: give it one.")


def save(method: Method, name: str, settings: dict[str, Any], folder: Path) -> None:
    """Writes what stands beside the backbone to `folder`, if there is anything.

    settings: the method's, as a recipe has them. A tokenizer of text goes along.
    """
    state = {
        key: tensor.contiguous()
        for key, tensor in method.state_dict().items()
        if key.partition(".")[0] not in ("backbone", *method.passing)
    }
    if not state:
        return
    named: dict[str, dict[str, Any]] = {}
    files: list[tuple[str, Any]] = []
    for key, value in settings.items():
        held = getattr(method, key, None)
        if isinstance(value, str) and callable(held):
            named[key] = {n: v for n, v in vars(held).items() if isinstance(v, int | float | str)}
            if hasattr(held, "save"):
                files.append((key, held))
    with atomic_folder(folder) as temporary:
        told = {"name": name, "settings": settings, "named": named}
        (temporary / SETTINGS).write_text(json.dumps(told, indent=1, ensure_ascii=False), "utf-8")
        (temporary / WEIGHTS).write_bytes(safetensors.torch.save(state))
        for key, held in files:
            held.save(temporary / f"{key}.json")


def load_method(ref: str | Path) -> Method:
    """Loads a run's method whole, or one that transformers saved.

    ref: a run, or a folder or Hub id of transformers' ViTMAE, BEiT before
    fine-tuning, CLIP or SigLIP. Raises `LoadError`.
    """
    folder = Path(ref).expanduser()
    if (folder / FOLDER / SETTINGS).is_file():
        return _read(folder)
    found = find(ref)
    config = model_folder.read_config(found)
    known = of_methods()
    if config.get("model_type") not in known:
        raise LoadError(
            f"{ref} holds no method, such as a decoder or a text tower: it is no run of one, and "
            f"its model_type={config.get('model_type')!r} is none of {', '.join(known)}."
        )
    tensors = model_folder.read_weights(found)
    config["_name_or_path"] = str(found)  # as transformers does: a tokenizer may lie there
    return known[config["model_type"]].convert(config, tensors, load(found)).eval()


def _read(run: Path) -> Method:
    told = json.loads((run / FOLDER / SETTINGS).read_text("utf-8"))
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in told["settings"].items()}
    for key, attributes in told["named"].items():
        settings[key] = _named(run / FOLDER / f"{key}.json", key, attributes)
    backbone = load(run)
    labels = backbone.labels
    method = create_method(told["name"], backbone, **settings)
    backbone.labels = labels
    state: dict[str, Tensor] = safetensors.torch.load_file(run / FOLDER / WEIGHTS)
    missing, extra = method.load_state_dict(state, strict=False)
    missing = [n for n in missing if n.partition(".")[0] not in ("backbone", *method.passing)]
    if missing or extra:
        raise LoadError(f"{run / FOLDER} does not fit: {(missing + extra)[0]} is amiss.")
    return method.eval()


def _named(file: Path, key: str, attributes: dict[str, Any]) -> Callable[..., Any]:
    """A tokenizer of text that went along, or a stand-in."""
    if not file.is_file():
        return Absent(key, attributes)
    from vitrail.data.text import Tokenizer

    return Tokenizer.load(file)
