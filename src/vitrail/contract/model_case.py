"""Small models to check: a class with keywords that make it small."""

import fnmatch
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrail.contract.checks import BrokenContractError, describe_problem
from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class, variants

SHRINK = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": 5,
    "dim": 32,
    "depth": 3,
    "heads": 2,
    "mlp_dim": 48,
}


class ModelCase(NamedTuple):
    """A model to check.

    Args:
        build: function of further keywords that returns a small model, freshly initialized.
        unread: pattern over names of parameters that the logits do not depend on.
        second_size: another image size; None for twice the model's own along the first axis.

    Example:
        >>> ModelCase(lambda: vitrail.ViT(32, 8, 5, 32, 1, 2, 48)).small().training
        False
    """

    build: Callable[..., Backbone]
    unread: str = ""
    second_size: tuple[int, ...] | None = None

    def small(self, **keywords: object) -> Backbone:
        """A small model in evaluation mode, all of whose branches are in its output.

        Args:
            **keywords: keywords that differ.

        Returns:
            The model.
        """
        return awake(self.build(**keywords))

    def shared(self) -> Backbone:
        """The same small model at each call, for checks that change nothing of it."""
        return _built(self.build)

    def unread_names(self, model: Backbone) -> set[str]:
        """model → the names of its parameters that the logits do not depend on."""
        names = [name for name, _parameter in model.named_parameters()]
        return set(fnmatch.filter(names, self.unread))


@functools.lru_cache(maxsize=1)  # the checks of a model run one after the other
def _built(build: Callable[..., Backbone]) -> Backbone:
    return awake(build())


def shrunk_keywords(model: type[Backbone], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a small model.

    Args:
        model: the class.
        keywords: those of a variant.

    Returns:
        The keywords, with those of `SHRINK` that the class has.

    Example:
        >>> shrunk_keywords(vitrail.ViT, {"pool": "mean"})["dim"]
        32
    """
    names = inspect.signature(model.__init__).parameters
    return {**keywords, **{key: value for key, value in SHRINK.items() if key in names}}


def case_of(name: str) -> ModelCase:
    """The case of a model by name: small, where its keywords can be shrunk.

    Args:
        name: a class, or a variant.

    Returns:
        The case.

    Raises:
        BrokenContractError: no keywords make a model of the class that runs.

    Example:
        >>> case_of("vit_tiny_patch16_224").small().dim
        32
    """
    if name in variants():
        model, variant = variants()[name]
        own: list[Mapping[str, Any]] = [variant.keywords]
    else:
        model = get_model_class(name)
        by_size = sorted(
            (entry.variant for entry in variants().values() if entry.model is model),
            key=lambda variant: variant.parameters,
        )
        own = [variant.keywords for variant in by_size] or [{}]
    problem = ""
    for keywords in (shrunk_keywords(model, own[0]), own[0]):
        build = functools.partial(model, **keywords)
        try:
            with torch.no_grad():
                instance = awake(build())
                instance(images_for(instance))
        except Exception as error:  # whatever the model raises
            problem = problem or describe_problem(error)
            continue
        return ModelCase(lambda build=build, **more: build(**more))
    raise BrokenContractError(problem)


def awake(model: Backbone) -> Backbone:
    """A model in evaluation mode, all of whose branches are in its output.

    Args:
        model: a freshly initialized model, which is changed in place.

    Returns:
        The model. Norms whose weights are 0 at first have 1, so that what is in their branch shows;
        batch norms have the statistics of a batch, because with fresh ones all may fade.

    Example:
        >>> awake(vitrail.ViT(32, 8, 5, 32, 1, 2, 48)).training
        False
    """
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim == 1 and not weight.any():
            nn.init.ones_(weight)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            colors = torch.randn(8, model.channels, *[1] * len(model.image_size))
            model.train()(colors + torch.randn(8, model.channels, *model.image_size))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def images_for(model: Backbone, batch: int = 2) -> Tensor:
    """Random images of the model's size, the same every time.

    Args:
        model: the model.
        batch: number of images.

    Returns:
        Normalized images (B, C, *size).

    Example:
        >>> images_for(vitrail.ViT(32, 8, 5, 32, 1, 2, 48)).shape
        torch.Size([2, 3, 32, 32])
    """
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, model.channels, *model.image_size, generator=generator)
