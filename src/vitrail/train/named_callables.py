"""From a name in a recipe to what a method asks: a teacher, a tokenizer of images.

Both take "python:FILE_OR_MODULE:FUNCTION", such as "python:teachers/small.py:make": a function
without arguments that gives a module, or any callable. It runs as it stands, so name none that you
would not run.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrail.preprocess import Preprocess
from vitrail.errors import ConfigError, LoadError
from vitrail.hub.load import find, load
from vitrail.hub.converters.from_transformers import read_processor
from vitrail.models.base import Backbone


def teacher(name: str, student: Backbone) -> Callable[..., Any]:
    """What gives logits for `distill`, with the `preprocess` it wants where it is known.

    name: a run, a model folder or a Hub id, as `vitrail.load` takes it; "timm:NAME", with that
    model's published weights; "transformers:FOLDER_OR_ID"; or "python:...". Raises `VitrailError`.
    """
    kind, _, place = name.partition(":")
    makers: dict[str, Callable[[str], Any]] = {
        "timm": _from_timm, "transformers": _from_transformers, "python": _from_python,
    }  # fmt: skip
    made: Any = makers[kind](place) if kind in makers else load(name)
    labels = getattr(made, "labels", None)
    known = student.labels
    if labels and known and labels != known and sorted(labels) == sorted(known):
        raise ConfigError(
            f"the teacher {name} has the same classes in another order, from {labels[0]!r} on, "
            f"where the images' begin with {known[0]!r}: train it on the same folders."
        )
    return made


def tokenizer(name: str, _student: Backbone) -> Callable[..., Any]:
    """What gives codes for `beit`: a run of `dvae`, or "python:...". Raises `VitrailError`."""
    kind, _, place = name.partition(":")
    if kind == "python":
        return _from_python(place)
    from vitrail.hub.method_folder import load_method

    cure = "train one with method.name=dvae, on a model with the same grid"
    try:
        made: Any = load_method(name)
    except LoadError as problem:
        raise LoadError(f"{str(problem).rstrip('.')}; for a tokenizer, {cure}.") from None
    if not hasattr(made, "tokens"):
        raise ConfigError(
            f"{name} is a run of {type(made).__name__}, which is no tokenizer: {cure}."
        )
    return made


def _from_timm(name: str) -> Any:
    try:
        import timm

        made: Any = timm.create_model(name, pretrained=True)
    except ImportError:
        raise ConfigError(
            f"the teacher timm:{name} needs the package timm: pip install timm"
        ) from None
    except Exception as problem:  # of several libraries, and the network's
        raise LoadError(f"the teacher timm:{name} cannot be had: {_first(problem)}") from None
    made.preprocess = Preprocess.from_timm(made.pretrained_cfg)
    return made


def _from_transformers(ref: str) -> Any:
    try:
        from transformers import AutoModelForImageClassification
    except ImportError:
        raise ConfigError(
            f"the teacher transformers:{ref} needs its package: pip install transformers"
        ) from None
    folder = find(ref)
    try:
        made = AutoModelForImageClassification.from_pretrained(folder)
    except Exception as problem:  # of several libraries
        raise LoadError(
            f"the teacher transformers:{ref} cannot be had: {_first(problem)}"
        ) from None
    if processor := read_processor(folder):
        made.preprocess = Preprocess.from_transformers(processor)
    return made


def _from_python(place: str) -> Callable[..., Any]:
    source, _, function = place.rpartition(":")
    if not source:
        raise ConfigError(f"python:{place} names no function: python:FILE_OR_MODULE:FUNCTION.")
    file = Path(source).expanduser()
    try:
        if file.suffix == ".py":
            spec = importlib.util.spec_from_file_location(file.stem, file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(source)
        made = getattr(module, function)()
    except Exception as problem:  # whatever that code raises
        told = f"{type(problem).__name__}: {_first(problem)}"
        raise ConfigError(f"python:{place} cannot be run: {told}") from None
    if not callable(made):
        raise ConfigError(f"python:{place} gives {type(made).__name__}, which nobody can call.")
    return made


def _first(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or ["no reason given"])[0]
