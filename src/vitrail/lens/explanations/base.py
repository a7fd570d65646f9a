"""The contract of explanations, and those that there are by name."""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor

from vitrail.arguments import Unchecked, checked
from vitrail.errors import ConfigError, TierError, suggest
from vitrail.hub.fitting import unwrapped
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.registry import Registry
from vitrail.values import resolve_indices

Explanation = Callable[..., Tensor]
OwnExplanation = TypeVar("OwnExplanation", bound=Explanation)

EXPLANATIONS: Registry[Explanation] = Registry(
    "explanation",
    {
        "attention": "vitrail.lens.explanations.attention:layer_attention",
        "attention_gradient": "vitrail.lens.explanations.attention_gradient:attention_gradient",
        "grad_cam": "vitrail.lens.explanations.grad_cam:grad_cam",
        "integrated_gradients": (
            "vitrail.lens.explanations.integrated_gradients:integrated_gradients"
        ),
        "occlusion": "vitrail.lens.explanations.occlusion:occlusion",
        "patch_logits": "vitrail.lens.explanations.patch_logits:patch_logits",
        "relevance": "vitrail.lens.explanations.relevance:relevance",
        "rollout": "vitrail.lens.explanations.rollout:attention_rollout",
        "similarity": "vitrail.lens.explanations.similarity:similarity",
    },
    arguments=("model", "images"),
    decorator="vitrail.lens.register_explanation",
)


@checked
def register_explanation(
    name: Annotated[str, Unchecked()],
) -> Callable[[OwnExplanation], OwnExplanation]:
    """Adds an explanation of your own, which `explain` and `vitrail look --explain` name.

    Args:
        name: its name.

    Returns:
        A decorator of a function of a model and normalized images (B, C, *size), and keywords of
        its own, that returns maps over the patches (B, *grid) or over the pixels (B, *size). One
        that explains a class has a keyword `target`, indices (B,) of the classes, or None for the
        likeliest.

    Raises:
        ConfigError: another explanation has that name, or the function takes other arguments.

    Example:
        >>> @register_explanation("norm")
        ... def norm(model: Backbone, images: Tensor) -> Tensor:
        ...     features = model.features(images)
        ...     return features.patches.norm(dim=-1).unflatten(1, features.grid)
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> explain(model, torch.zeros(1, 3, 8, 8), "norm").shape
        torch.Size([1, 2, 2])
    """
    return EXPLANATIONS.register(name)


@checked
def explain(
    model: Backbone,
    images: Tensor,
    explanation: str = "rollout",
    target: int | str | Sequence[int | str] | None = None,
    **settings: Any,
) -> Tensor:
    """Maps of what a model's output depends on, by a named explanation.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size), one at least.
        explanation: name of the explanation. Of any output: "attention" of the last layer;
            "rollout" through all layers; "similarity" to one patch. Of a class: "relevance"
            through all layers; "attention_gradient" of the last layer; "grad_cam" of features;
            "patch_logits" of each patch; "integrated_gradients" and "occlusion" of pixels. Or a
            registered one.
        target: the class that is explained, as an index or, where the model has labels, a name;
            or one per image. None: the likeliest of each image.
        **settings: keywords of the explanation.

    Returns:
        (B, *grid) or (B, *size), detached.

    Raises:
        ConfigError: there is no such explanation, class or keyword, the explanation is not of a
            class, or it returns no maps of these images; or there are no images.
        TierError: the model lacks what the explanation reads.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> explain(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 2])
        >>> explain(model, torch.zeros(1, 3, 8, 8), "relevance", target=1).shape
        torch.Size([1, 2, 2])
    """
    model.check_input(images)
    if not len(images):
        raise ConfigError("there are no images to explain: give one at least.")
    if target is not None:
        settings["target"] = class_indices(model, len(images), explanation, target)
    with torch.inference_mode(False):  # some need gradients
        own = images.clone() if images.is_inference() else images
        maps = EXPLANATIONS.partial(explanation, settings)(unwrapped(model), own)
    axes = images.ndim - 2
    if not isinstance(maps, Tensor) or maps.ndim != axes + 1 or len(maps) != len(images):
        result = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ConfigError(
            f"the explanation {explanation!r} returns {result}: return a tensor of {len(images)} "
            f"maps with {axes} axes, over patches or pixels."
        )
    return maps.detach()


def explains_classes(explanation: str) -> bool:
    """Whether an explanation is of a class, so that it has a target.

    Args:
        explanation: its name.

    Returns:
        Whether it takes a keyword `target`.

    Raises:
        ConfigError: there is no such explanation.

    Example:
        >>> explains_classes("relevance"), explains_classes("rollout")
        (True, False)
    """
    return "target" in inspect.signature(EXPLANATIONS.get(explanation)).parameters


def class_indices(
    model: Backbone, count: int, explanation: str, target: int | str | Sequence[int | str]
) -> Tensor:
    """The indices of the classes that are explained.

    Args:
        model: the model.
        count: number of images B.
        explanation: name of the explanation.
        target: index or name of a class, or one per image.

    Returns:
        (B,), on the model's device.

    Raises:
        ConfigError: the explanation is of no class, or there is no such class.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> class_indices(model, 3, "relevance", 1)
        tensor([1, 1, 1])
    """
    if not explains_classes(explanation):
        of_classes = ", ".join(name for name in EXPLANATIONS.builtin if explains_classes(name))
        raise ConfigError(
            f"the explanation {explanation!r} is the same for every class, so it takes no "
            f"target={target!r}. Explanations of a class are: {of_classes}."
        )
    targets = [target] if isinstance(target, int | str) else list(target)
    if len(targets) not in (1, count):
        raise ConfigError(f"target has {len(targets)} classes for {count} images: give {count}.")
    indices = [_class_index(model, each) for each in targets]
    device = next(model.parameters()).device
    return torch.tensor(indices, device=device).expand(count)


def _class_index(model: Backbone, target: int | str) -> int:
    require_classes(model)
    if isinstance(target, str):
        labels = model.labels or []
        if target in labels:
            return labels.index(target)
        if not target.lstrip("-").isdecimal():
            names = f"Its classes are: {', '.join(labels[:10])}{', ...' * (len(labels) > 10)}."
            cure = f"{suggest(target, labels)} {names}" if labels else " Give its index."
            raise ConfigError(f"target={target!r}: the model has no class of that name.{cure}")
    return resolve_indices([int(target)], model.num_classes, "class")[0]


def require_classes(model: Backbone) -> None:
    """Checks that a model has classes to explain.

    Args:
        model: the model.

    Raises:
        TierError: it has no head.

    Example:
        >>> require_classes(vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8))
    """
    if not model.num_classes:
        raise TierError(
            f"this {type(model).__name__} has no classes (num_classes=0), so there is none to "
            "explain: train a head, or use rollout or similarity."
        )


def require_image_grid(model: Backbone, features: Features) -> None:
    """Checks that the patches of features fill a grid of the image.

    Args:
        model: the model.
        features: after one of its blocks.

    Raises:
        TierError: patches were dropped, or merged so that the grid has other axes than the image.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> require_image_grid(model, model.features(torch.zeros(1, 3, 8, 8)))
    """
    dropped = features.keep_indices is not None
    if dropped or len(features.grid) != len(model.image_size):
        raise TierError(
            f"the patches of this {type(model).__name__} were {'dropped' if dropped else 'merged'},"
            " and fill no grid of the image: use occlusion or integrated_gradients."
        )


def image_grid(model: Backbone, images: Tensor) -> tuple[int, ...]:
    """The grid of patches of images, which may have another size than the model's own.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).

    Returns:
        Patches per axis.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> image_grid(model, torch.zeros(3, 3, 16, 8))
        (4, 2)
    """
    with torch.no_grad():
        return model.embed(images[:1]).grid
