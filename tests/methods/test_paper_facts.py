"""The recipes of papers do what the authors' code does, number by number.

A recipe is built as for training, with narrow layers and one step per epoch. What is compared is
what came out: groups of the optimizer, values of the schedule at steps, initial tensors, parameters
of the transforms. The text of the recipe is read only for what it says that it does differently.
"""

import functools
import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest
import tomllib
import torch
from torch import Tensor, nn

from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.text import Tokenizer
from vitrail.models.base import Backbone
from vitrail.preprocess import IMAGENET_MEAN, IMAGENET_STD
from vitrail.run_folder import RunFolder
from vitrail.train import model_factory, named_callables
from vitrail.train.config import RunConfig, read_config
from vitrail.train.data_factory import Datasets
from vitrail.train.factory import build_trainer
from vitrail.train.trainer import Trainer

ROOT = Path(__file__).parents[2]
PAPERS = ROOT / "recipes" / "papers"
FACTS = tomllib.loads((Path(__file__).parent / "paper_facts.toml").read_text("utf-8"))
ROWS = [(recipe, fact) for recipe, table in FACTS.items() for fact in table["facts"]]
OURS = {"beit_dvae"}  # recipes that no authors have published

Fact = dict[str, Any]


def photographs(*, captions: bool) -> InMemoryDataset:
    """Images with labels or with captions."""
    images = torch.zeros(8, 3, 224, 224, dtype=torch.uint8)
    labels = [] if captions else [str(i) for i in range(1000)]
    dataset = InMemoryDataset(images, torch.zeros(8), labels, (IMAGENET_MEAN, IMAGENET_STD))
    dataset.captions = ["a caption"] * 8 * captions
    return dataset


class Codes:
    """A tokenizer of images."""

    vocabulary = 8192

    def __call__(self, images: Tensor) -> Tensor:
        raise NotImplementedError


def narrow(config: RunConfig) -> RunConfig:
    """The run with narrow layers, as many blocks, and no other processes."""
    model = config.model
    if model.weights is None:
        widths: dict[str, Any] = {"dim": 96, "heads": 3, "mlp_dim": 192}
        if model.name.startswith("swin"):
            widths = {"dim": (16, 32, 64, 128), "heads": (1, 1, 1, 1)}
        model = model.model_copy(update={"options": {**model.options, **widths}})
    data = config.data.model_copy(update={"workers": 0})
    train = config.train.model_copy(update={"threads": None})
    return config.model_copy(update={"model": model, "data": data, "train": train})


def load_result(ref: str, *, image_size: object = None) -> Backbone:
    """What the run of another recipe leaves."""
    del image_size
    model = built(Path(ref).name).method.result()
    model.labels = None
    return model.requires_grad_(True)


@functools.cache
def built(recipe: str) -> Trainer:
    """The trainer of a recipe."""
    torch.manual_seed(0)
    config = narrow(read_config(PAPERS / f"{recipe}.yaml"))
    dataset = photographs(captions=config.data.source.startswith("captions:"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_factory, "load", load_result)
        patch.setattr(named_callables, "_from_timm", lambda _: nn.Identity())
        patch.setattr(named_callables, "open_image_tokenizer", lambda _: Codes())
        patch.setattr(
            named_callables, "open_tokenizer", lambda *_: Tokenizer.train(["a"], 300, context=77)
        )
        threads = torch.get_num_threads()
        datasets = Datasets(dataset, dataset, "test")
        trainer, _ = build_trainer(config, RunFolder("unused"), datasets)
        torch.set_num_threads(threads)
    assert trainer.epoch_steps == 1
    return trainer


@functools.cache
def config_of(recipe: str) -> RunConfig:
    """The settings of a recipe, which a batch of all images cannot show."""
    return read_config(PAPERS / f"{recipe}.yaml")


def group_of(trainer: Trainer, fact: Fact) -> dict[str, Any]:
    """The optimizer's group of a parameter, at an epoch."""
    trainer.schedule.apply(trainer.optimizer, fact.get("epoch", 0))
    parameter = trainer.method.get_parameter(fact["parameter"])
    return next(
        g for g in trainer.optimizer.param_groups if any(p is parameter for p in g["params"])
    )


def transform_of(trainer: Trainer, part: str) -> Any:
    """A part of the training stream's transform."""
    return inspect.getclosurevars(trainer.stream.transform).nonlocals[part]  # type: ignore[attr-defined]


def value_of(recipe: str, fact: Fact) -> Any:
    """What the recipe came to."""
    trainer, of = built(recipe), fact["of"]
    method, groups = trainer.method, trainer.optimizer.param_groups
    if of in ("batch_size", "repeats"):
        return getattr(config_of(recipe).data, of)
    if of == "epochs":
        return trainer.total
    if of == "clip":
        return math.inf if trainer.clip is None else trainer.clip
    if of == "clip_by":
        return trainer.clip_by
    if of in ("betas", "eps"):
        (value,) = {group[of] for group in groups}
        return value
    if of == "lr":
        trainer.schedule.apply(trainer.optimizer, fact["epoch"])
        return max(group["lr"] for group in groups)
    if of == "lr_scale":
        return group_of(trainer, {**fact, "epoch": 50})["lr"] / max(g["lr"] for g in groups)
    if of == "weight_decay":
        return group_of(trainer, fact)["weight_decay"]
    if of == "temperature":
        method.before_step(fact["epoch"] / trainer.total)
        return method.temperature  # type: ignore[attr-defined]
    if of == "momentum":
        return _momentum(trainer, fact["epoch"])
    if of == "frozen_epochs":
        return _frozen_epochs(trainer)
    if of == "masked_patches":
        return int(method.sample_mask(1).sum())  # type: ignore[attr-defined]
    if of == "model":
        return method.backbone.config[fact["name"]]
    if of == "method":
        return method.settings[fact["name"]]
    if of == "augment":
        part = transform_of(trainer, "crops")
        config = part.kinds[0][2] if part else transform_of(trainer, "images").config
        return getattr(config, fact["name"])
    if of == "crops":
        return _crops(transform_of(trainer, "crops"), fact["name"])
    return fact["is"]  # said in words only


def _momentum(trainer: Trainer, epoch: int) -> float:
    """The share of the teacher that a step leaves."""
    method: Any = trainer.method
    before = method.teacher.head.mlp[0].bias.clone()
    with torch.no_grad():
        method.teacher.head.mlp[0].bias.fill_(1.0)
        method.head.mlp[0].bias.zero_()
    method.before_step(epoch / trainer.total)
    method.after_step()
    momentum = method.teacher.head.mlp[0].bias.mean().item()
    method.teacher.head.mlp[0].bias.copy_(before)
    return momentum


def _frozen_epochs(trainer: Trainer) -> int:
    frozen = []
    for epoch in range(5):
        trainer.method.before_step(epoch / trainer.total)
        frozen.append(trainer.method.head.last.frozen)  # type: ignore[union-attr]
    return frozen.index(False)


def _crops(part: Any, name: str) -> Any:
    """A setting of several crops, from the kinds of crops."""
    first, second, local = part.kinds
    return {
        "local": local[0],
        "local_size": local[1][0],
        "global_scale": first[2].scale,
        "local_scale": local[2].scale,
        "blur": tuple(kind[2].blur for kind in (first, second, local)),
        "solarize": tuple(kind[2].solarize for kind in (first, second, local)),
    }[name]


def mismatch(weight: Tensor, start: str) -> str:
    """How a tensor differs from the distribution that it should be of, or ""."""
    kind, _, number = start.partition(" ")
    std, largest, count = weight.std().item(), weight.abs().max().item(), weight.numel()
    if kind in ("zeros", "ones"):
        return "" if (weight == (kind == "ones")).all() else f"mean {weight.mean():g}"
    if kind in ("xavier", "conv"):
        flat = weight.flatten(1)
        fan_in, fan_out = flat.shape[1], flat.shape[0]
        bound = (6 / (fan_in + fan_out)) ** 0.5 if kind == "xavier" else fan_in**-0.5
        expected = bound / 3**0.5
    else:
        bound = float(number) if kind == "narrow" else math.inf
        expected = float(number) * (0.5396 if kind == "narrow" else 1.0)
    tolerance = 0.02 + 4 / (2 * count) ** 0.5
    if abs(std / expected - 1) > tolerance:
        return f"a standard deviation of {std:g}, not {expected:g}"
    if largest > bound * 1.04:
        return f"values up to {largest:g}, not {bound:g}"
    if kind == "normal" and count > 1000 and largest < 2.5 * expected:
        return f"cut off at {largest:g}"
    return ""


def differences_of(recipe: str) -> str:
    """What a recipe says that it does differently, its base's words among them."""
    text = (PAPERS / f"{recipe}.yaml").read_text("utf-8")
    head = " ".join(re.sub(r"^# ?", "", text.partition("\nmodel:")[0], flags=re.M).split())
    return head.partition("Different here:")[2]


@pytest.mark.parametrize(
    ("recipe", "fact"),
    ROWS,
    ids=[
        "-".join(
            [recipe, *(str(fact[k]) for k in ("of", "name", "parameter", "epoch") if k in fact)]
        )
        for recipe, fact in ROWS
    ],
)
def test_a_recipe_does_what_its_authors_code_does(recipe: str, fact: Fact) -> None:
    assert fact["source"]
    if fact["of"] == "start":
        weight = built(recipe).method.get_parameter(fact["parameter"])
        assert mismatch(weight.detach(), fact["is"]) == ""
    else:
        value, expected = value_of(recipe, fact), fact["is"]
        if isinstance(expected, list):
            expected = tuple(expected)
        if isinstance(expected, float):
            assert value == pytest.approx(expected, rel=1e-4, abs=1e-12)
        else:
            assert value == expected
    if "theirs" in fact:
        assert fact["theirs"] in differences_of(recipe)


def test_every_recipe_of_a_paper_has_facts() -> None:
    recipes = {path.stem for path in PAPERS.glob("*.yaml")}
    assert recipes - OURS == FACTS.keys()
    assert all("repository" in table for table in FACTS.values())


@pytest.mark.parametrize(
    ("weight", "start"),
    [
        (torch.randn(64, 64) * 0.02, "narrow 0.02"),
        (torch.randn(64, 64) * 0.02, "xavier"),
        (torch.rand(64, 64) * 0.25 - 0.125, "normal 0.0722"),
        (torch.randn(64, 64) * 0.02, "normal 0.036"),
        (torch.zeros(64, 64), "normal 0.02"),
        (torch.randn(64, 64), "zeros"),
    ],
)
def test_a_wrong_start_is_noticed(weight: Tensor, start: str) -> None:
    assert mismatch(weight, start)
