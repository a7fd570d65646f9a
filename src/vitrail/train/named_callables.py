"""Objects that recipes name: teachers, tokenizers of images and of texts.

A name "python:FILE_OR_MODULE:FUNCTION", such as "python:teachers/small.py:make", is a function
without arguments that returns a module, or any callable. It runs without any check, so name only
code that you trust. A name in a recipe or in a run's settings runs nothing: the file or module must
be named by the user too, in an override, in a call or by `--plugin`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vitrail.data.captions import all_captions
from vitrail.data.dataset import Dataset
from vitrail.data.text import open_tokenizer
from vitrail.errors import ConfigError, LoadError
from vitrail.hub.converters.from_transformers import preprocess_of, read_processor
from vitrail.hub.load import find_folder, load
from vitrail.plugins import code_of, load_plugin, require_trust
from vitrail.preprocess import Preprocess
from vitrail.prompts import TEMPLATES
from vitrail.registry import describe_exception
from vitrail.train.timm_package import import_timm


def resolve_object(kind: str, name: str, dataset: Dataset, settings: Mapping[str, Any]) -> Any:
    """The object that a setting names.

    Args:
        kind: kind of object, as in `Method.named`: "teacher", "image_tokenizer", "text_tokenizer".
        name: the name.
        dataset: training samples.
        settings: the method's other settings.

    Returns:
        The object.

    Raises:
        VitrailError: there is no such kind, the object cannot be loaded, or its code would run and
            only a file names it.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> digits = open_dataset("digits", limit=20)
        >>> resolve_object("text_tokenizer", "train:300", digits, {}).vocabulary <= 300
        True
    """
    if source := code_of(name):
        require_trust(source)
    if kind == "teacher":
        return open_teacher(name)
    if kind == "image_tokenizer":
        return open_image_tokenizer(name)
    if kind == "text_tokenizer":
        texts = all_captions(dataset, settings.get("templates", TEMPLATES))
        return open_tokenizer(name, texts)
    raise ConfigError(
        f"no kind of object {kind!r}: a method's `named` may say teacher, image_tokenizer or "
        "text_tokenizer."
    )


def open_teacher(name: str) -> Callable[..., Any]:
    """A distillation teacher.

    Args:
        name: a run, a model folder or a Hub id, as `vitrail.load` takes it; "timm:NAME", with that
            model's published weights; "transformers:FOLDER_OR_ID"; or "python:...".

    Returns:
        images → logits, with a `preprocess` where it is known.

    Raises:
        ConfigError: a package is missing.
        LoadError: the teacher cannot be loaded.

    Example:
        >>> open_teacher("python:nowhere")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: python:nowhere names no function: ...
    """
    kind, _, rest = name.partition(":")
    openers: dict[str, Callable[[str], Any]] = {
        "timm": _from_timm, "transformers": _from_transformers, "python": _from_python,
    }  # fmt: skip
    teacher: Any = openers[kind](rest) if kind in openers else load(name)
    return teacher


def open_image_tokenizer(name: str) -> Callable[..., Any]:
    """A tokenizer of images, which gives a code for each patch.

    Args:
        name: a run of `dvae`, or "python:...".

    Returns:
        images → codes, or an object with such a method `tokens`.

    Raises:
        ConfigError: the run is of another method, or the function cannot be called.
        LoadError: there is no such run.

    Example:
        >>> open_image_tokenizer("python:torch.nn:Identity")
        Identity()
    """
    kind, _, rest = name.partition(":")
    if kind == "python":
        return _from_python(rest)
    from vitrail.hub.method_folder import load_method

    cure = "train one with method.name=dvae, on a model with the same grid"
    try:
        tokenizer: Any = load_method(name)
    except LoadError as problem:
        raise LoadError(f"{str(problem).rstrip('.')}; for a tokenizer, {cure}.") from None
    if not hasattr(tokenizer, "tokens"):
        raise ConfigError(
            f"{name} is a run of {type(tokenizer).__name__}, which is no tokenizer: {cure}."
        )
    return tokenizer


def _from_timm(name: str) -> Any:
    timm = import_timm(f"the teacher timm:{name}")
    if ":" in name or "/" in name:  # of anyone's repository or folder, where timm reads pickles
        raise ConfigError(
            f"timm:{name} is no name of timm.list_models(): a folder or Hub id goes without timm:."
        )
    try:
        teacher: Any = timm.create_model(name, pretrained=True)
    except Exception as problem:  # of several libraries, and the network's
        raise LoadError(
            f"the teacher timm:{name} cannot be loaded: {describe_exception(problem)}."
        ) from None
    teacher.preprocess = Preprocess.from_timm(teacher.pretrained_cfg)
    return teacher


def _from_transformers(ref: str) -> Any:
    try:
        from transformers import AutoModelForImageClassification
    except ImportError:
        raise ConfigError(
            f"the teacher transformers:{ref} needs its package: pip install transformers"
        ) from None
    folder = find_folder(ref)
    try:
        teacher = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=False)
    except Exception as problem:  # of several libraries
        raise LoadError(
            f"the teacher transformers:{ref} cannot be loaded: {describe_exception(problem)}."
        ) from None
    if processor := read_processor(folder):
        teacher.preprocess = preprocess_of(processor)
    return teacher


def _from_python(path: str) -> Callable[..., Any]:
    source, _, function = path.rpartition(":")
    if not source:
        raise ConfigError(f"python:{path} names no function: python:FILE_OR_MODULE:FUNCTION.")
    try:
        value = getattr(load_plugin(source).module, function)()
    except Exception as problem:  # whatever that code raises
        reason = describe_exception(problem)
        raise ConfigError(f"python:{path} cannot be run: {reason}.") from None
    if not callable(value):
        raise ConfigError(f"python:{path} returns {type(value).__name__}, which is not callable.")
    return value
