"""A saved training method: what stands beside the backbone, such as a decoder or a text tower."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vitrail.arguments import checked
from vitrail.errors import LoadError
from vitrail.files import to_json
from vitrail.foreign import read_json
from vitrail.hub import model_folder
from vitrail.hub.converters import of_methods
from vitrail.hub.fitting import fitting_state, reading
from vitrail.hub.in_memory import names_in_files
from vitrail.hub.load import find_folder, load
from vitrail.hub.other_libraries import read_tensors
from vitrail.hub.rename import strip_prefixes
from vitrail.manifest import check_manifest, hashed_folder
from vitrail.methods.base import Method
from vitrail.methods.registry import METHOD_REGISTRY, create_method
from vitrail.plugins import how_to_run, plugins_of
from vitrail.tensor_bytes import tensor_bytes

FOLDER, SETTINGS, WEIGHTS = "method", "method.json", "method.safetensors"
SIZES = ("vocabulary", "context", "end")  # attributes of a tokenizer that a method reads


class MissingPart:
    """Takes the place of a teacher or tokenizer that was not saved with a method.

    Args:
        setting: the method's setting that it was given as.
        vocabulary: number of ids of a tokenizer; None if it had no such attribute.
        context: ids per caption of a tokenizer of text.
        end: id after the last word of a tokenizer of text.

    Example:
        >>> MissingPart("teacher")(torch.zeros(1))
        Traceback (most recent call last):
        vitrail.errors.LoadError: the teacher of this method was not saved with it: set it to one.
    """

    def __init__(
        self,
        setting: str,
        *,
        vocabulary: int | None = None,
        context: int | None = None,
        end: int | None = None,
    ) -> None:
        self.setting = setting
        self.vocabulary, self.context, self.end = vocabulary, context, end

    def __call__(self, *_: Any) -> Any:
        """Raises `LoadError`."""
        raise LoadError(f"the {self.setting} of this method was not saved with it: set it to one.")


@checked
def save_method(method: Method, name: str, folder: Path) -> None:
    """Saves what stands beside the backbone of a method, if there is anything.

    A tokenizer of text is saved with it.

    Args:
        method: any method.
        name: its name in the registry.
        folder: path of the folder.

    Raises:
        ConfigError: the method could not be built again, because a part of it was replaced.

    Example:
        >>> import tempfile
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> folder = Path(tempfile.mkdtemp()) / "method"
        >>> save_method(create_method("simmim", model), "simmim", folder)
        >>> sorted(file.name for file in folder.iterdir())
        ['manifest.json', 'method.json', 'method.safetensors']
    """
    if not any(_is_saved(method, key) for key in method.state_dict()):
        return
    settings = {k: v for k, v in method.resolved_settings().items() if k not in method.named}
    named = {key: getattr(method, key) for key in method.named}
    sizes = {key: _sizes(value) for key, value in named.items()}
    with torch.random.fork_rng(devices=()):  # on the CPU: methods try their backbone out
        backbone = type(method.backbone)(**method.backbone.config)
        backbone.labels = method.backbone.labels
        parts = {key: MissingPart(key, **values) for key, values in sizes.items()}
        twin = create_method(name, backbone, **settings, **parts)
    state = fitting_state(method, twin, f"the method {name!r}", partial(_is_saved, method))
    plugins = plugins_of([method])
    content = {"name": name, "settings": settings, "named": sizes, "plugins": plugins}
    with hashed_folder(folder) as writer:
        writer.write(SETTINGS, to_json(content, indent=1))
        writer.write(WEIGHTS, tensor_bytes(state))
        for key, value in named.items():
            if method.named[key] == "text_tokenizer" and hasattr(value, "save"):
                value.save(writer.path / f"{key}.json")
                writer.add(f"{key}.json")


@checked
def load_method(ref: str | Path, *, trust: bool = False) -> Method:
    """Loads a whole method: that of a run, one of transformers, or OpenAI's CLIP.

    Args:
        ref: folder of a run; or a folder or Hub id of ViTMAE, of BEiT before fine-tuning, of CLIP
            or of SigLIP, as transformers saves them; or a file of OpenAI's CLIP, such as
            ViT-B-32.pt.
        trust: whether to read files that are not as they were written, see `vitrail.load`.

    Returns:
        The method, in evaluation mode.

    Raises:
        LoadError: there is no method, or it does not fit.

    Example:
        >>> load_method("no such folder")
        Traceback (most recent call last):
        vitrail.errors.LoadError: no folder 'no such folder', and a Hub id is organization/name.
    """
    run = Path(ref).expanduser()
    if (run / FOLDER / SETTINGS).is_file():
        return _read(run, trust)
    if run.is_file() and run.suffix in (*model_folder.PICKLES, ".safetensors"):
        return _read_file(run)
    folder = find_folder(ref)
    config = model_folder.read_model_config(folder)
    converters = of_methods()
    if config.get("model_type") not in converters:
        raise LoadError(
            f"{ref} holds no method, such as a decoder or a text tower: it is no run of one, and "
            f"its model_type={config.get('model_type')!r} is none of {', '.join(converters)}."
        )
    tensors = names_in_files(model_folder.read_weights(folder))
    config["_name_or_path"] = str(folder)  # as transformers does: a tokenizer may be there
    model = load(folder, trust=trust)
    return converters[config["model_type"]].convert(config, tensors, model).eval()


def read_tokenizer(file: Path, setting: str, sizes: Mapping[str, int], pad: int = 0) -> Any:
    """Reads a tokenizer of text.

    Args:
        file: path of a tokenizer.json.
        setting: the method's setting that it is for.
        sizes: its `vocabulary`, `context` and `end` as the method's weights have them: a table of
            words may have more rows than there are words.
        pad: id after the end where the file does not say.

    Returns:
        The tokenizer; a `MissingPart` with these sizes if there is no file.

    Example:
        >>> read_tokenizer(Path("no file"), "tokenizer", {"vocabulary": 9}).vocabulary
        9
    """
    if not file.is_file():
        return MissingPart(setting, **sizes)
    from vitrail.data.text import Tokenizer  # needs a library that models do not

    tokenizer = Tokenizer.load(file, sizes.get("context"), pad)
    tokenizer.vocabulary = sizes.get("vocabulary", tokenizer.vocabulary)
    tokenizer.context = sizes.get("context", tokenizer.context)
    tokenizer.end = sizes.get("end", tokenizer.end)
    return tokenizer


def _read_file(file: Path) -> Method:
    """The method of a file of weights."""
    from vitrail.hub.converters import openai_clip  # it reads tokenizers, by this module

    tensors = strip_prefixes(read_tensors(file))
    if not openai_clip.recognizes(tensors):
        raise LoadError(f"{file} holds no method: only files of {openai_clip.NAME} do.")
    return openai_clip.convert_method(tensors, file).eval()


def _read(run: Path, trust: bool) -> Method:
    """The method of a run."""
    if not trust:
        check_manifest(run / FOLDER)
    with reading(run / FOLDER / SETTINGS):
        content = read_json(run / FOLDER / SETTINGS)
        settings = content["settings"]
        for key, sizes in content["named"].items():
            if not key.isidentifier():  # it names a file
                raise ValueError(f"no setting {key!r}")
            settings[key] = read_tokenizer(run / FOLDER / f"{key}.json", key, sizes)
    backbone = load(run, trust=trust)
    labels = backbone.labels
    if content["name"] not in METHOD_REGISTRY and (cure := how_to_run(content.get("plugins"))):
        raise LoadError(f"{run / FOLDER}: no method {content['name']!r}.{cure}")
    method = create_method(content["name"], backbone, **settings)
    backbone.labels = labels
    state = model_folder.read_file(run / FOLDER / WEIGHTS)
    with reading(run / FOLDER / WEIGHTS):
        missing, extra = method.load_state_dict(state, strict=False)
    missing = [key for key in missing if _is_saved(method, key)]
    if missing:
        raise LoadError(f"{run / FOLDER} lacks {missing[0]}.")
    if extra:
        raise LoadError(f"{run / FOLDER} has {extra[0]}, which the method lacks.")
    return method.eval()


def _is_saved(method: Method, key: str) -> bool:
    return key.partition(".")[0] not in ("backbone", *method.training_only)


def _sizes(value: Any) -> dict[str, int]:
    """The sizes that a tokenizer states."""
    return {name: size for name in SIZES if isinstance(size := getattr(value, name, None), int)}
