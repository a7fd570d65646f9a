"""Explanations by name: which patches a model's output depends on."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.lens.record import trace_attention
from vitrail.models.base import Backbone
from vitrail.registry import Registry

Explanation = Callable[..., Tensor]
OwnExplanation = TypeVar("OwnExplanation", bound=Explanation)

EXPLANATIONS: Registry[Explanation] = Registry(
    "explanation",
    {
        "attention": "vitrail.lens.explanations:layer_attention",
        "rollout": "vitrail.lens.explanations:attention_rollout",
    },
    arguments=("model", "images"),
    decorator="vitrail.lens.register_explanation",
)


def register_explanation(name: str) -> Callable[[OwnExplanation], OwnExplanation]:
    """Adds an explanation of your own, which `explain` and `vitrail look --explain` name.

    Args:
        name: its name.

    Returns:
        A decorator of a function of a model and normalized images (B, C, *size), and keywords of
        its own, that returns maps over the patches (B, *grid) or over the pixels (B, *size).

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
    model: Backbone, images: Tensor, explanation: str = "rollout", **settings: Any
) -> Tensor:
    """Maps of what a model's output depends on, by a named explanation.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        explanation: "attention", of the last layer; "rollout", through all layers; or a registered
            one.
        **settings: keywords of the explanation.

    Returns:
        (B, *grid) or (B, *size), detached.

    Raises:
        ConfigError: there is no such explanation or keyword, or it returns no maps of these images.
        TierError: the model has no attention over all tokens, which the built-in ones read.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> explain(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 2])
    """
    maps = EXPLANATIONS.partial(explanation, settings)(model, images)
    axes = images.ndim - 2
    if not isinstance(maps, Tensor) or maps.ndim != axes + 1 or len(maps) != len(images):
        result = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ConfigError(
            f"the explanation {explanation!r} returns {result}: return a tensor of {len(images)} "
            f"maps with {axes} axes, over patches or pixels."
        )
    return maps.detach()


def layer_attention(model: Backbone, images: Tensor, layer: int = -1) -> Tensor:
    """Attention of the summary query to each patch, the mean over heads.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        layer: position of the attention layer; negative ones count from the end.

    Returns:
        (B, *grid).

    Raises:
        ConfigError: there is no such layer.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> layer_attention(model, torch.zeros(1, 3, 8, 8)).sum() < 1
        tensor(True)
    """
    maps = trace_attention(model, images).attention
    if not -len(maps) <= layer < len(maps):
        raise ConfigError(f"layer={layer}: this model has attention layers 0 to {len(maps) - 1}.")
    return maps[layer].mean(dim=1)


def attention_rollout(model: Backbone, images: Tensor) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020) of the summary query to each patch.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).

    Returns:
        (B, *grid).

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> attention_rollout(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 2])
    """
    return trace_attention(model, images).rollout
