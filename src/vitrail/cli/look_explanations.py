"""What `vitrail look --explain` draws: an explanation of each image."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vitrail.cli.common import parse_point
from vitrail.errors import ConfigError
from vitrail.messages import _

if TYPE_CHECKING:
    from torch import Tensor

    from vitrail.lens.looking import Look
    from vitrail.models.base import Backbone


class ExplainOptions(NamedTuple):
    """Which explanation is drawn, and of what.

    Args:
        name: name of the explanation.
        target: the class, by name or index; None for the likeliest.
        at: a point "X,Y" of the picture, for an explanation of a patch; None for its default.
        layers: positions of layers; empty for the default of the explanation.
        smooth: whether maps are interpolated between patches.

    Example:
        >>> ExplainOptions("relevance", "cat", None, (), False).check()
    """

    name: str
    target: str | None
    at: str | None
    layers: tuple[int, ...]
    smooth: bool

    def check(self) -> None:
        """Checks that the explanation takes what is asked of it.

        Raises:
            ConfigError: there is no such explanation, or it has no layer or point.
        """
        from vitrail.lens.explanations.base import EXPLANATIONS

        keywords = inspect.signature(EXPLANATIONS.get(self.name)).parameters
        if len(self.layers) > 1:
            raise ConfigError(f"--layers: --explain {self.name} draws one layer. Give one number.")
        if self.layers and "layer" not in keywords:
            raise ConfigError(
                f"--layers: --explain {self.name} has no layer to choose. Leave it out."
            )
        if self.at is not None and "at" not in keywords:
            raise ConfigError(
                f"--at: --explain {self.name} is not of one patch; similarity is. Leave it out."
            )

    def settings(self, model: "Backbone", path: str, inputs: "Tensor") -> dict[str, Any]:
        """The keywords of the explanation for one picture.

        Args:
            model: the model, in evaluation mode.
            path: of the picture, in whose pixels the point is.
            inputs: normalized images (1, C, *size).

        Returns:
            `layer` and `at`, where they were asked for.
        """
        from vitrail.lens.points import patch_at, picture_size

        settings: dict[str, Any] = {"layer": self.layers[0]} if self.layers else {}
        if self.at is not None:
            size = picture_size(path, model.preprocess.channels)
            grid = model.intermediates(inputs, [settings.get("layer", -1)])[0].grid
            settings["at"] = patch_at(parse_point(self.at), size, model.preprocess, grid)
        return settings


def explained(
    model: "Backbone", samples: "Iterator[tuple[str, Tensor]]", options: ExplainOptions
) -> "Iterator[tuple[str, Look]]":
    """The pictures of each image and of its explanation.

    Args:
        model: the model, in evaluation mode.
        samples: path and pixels of each image, as the model sees it.
        options: which explanation is drawn, and of what.

    Yields:
        The name of the image, and its pictures.

    Raises:
        VitrailError: the explanation does not serve the model, or there is no such class.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=1, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> samples = iter([("a.png", torch.zeros(3, 8, 8, dtype=torch.uint8))])
        >>> options = ExplainOptions("relevance", None, None, (), False)
        >>> name, look = next(explained(model, samples, options))
        >>> [panel.caption for panel in look.rows[0]]
        ['image', 'relevance: class 0 (100 %)']
    """
    from vitrail.lens.explanation_page import class_captions
    from vitrail.lens.explanations.base import explain, explains_classes
    from vitrail.lens.flat import to_bytes
    from vitrail.lens.looking import Look
    from vitrail.lens.plots import explanation_panels

    device = next(model.parameters()).device
    for path, image in samples:
        inputs = model.preprocess.normalise(image[None]).to(device)
        settings = options.settings(model, path, inputs)
        weights = explain(model, inputs, options.name, options.target, **settings)[0]
        caption = options.name
        if explains_classes(options.name):
            caption = f"{caption}: {class_captions(model, inputs, options.target)[0]}"
        rows = explanation_panels(
            to_bytes(image, model.preprocess), weights, caption,
            smooth=options.smooth, at=settings.get("at"),
        )  # fmt: skip
        yield Path(path).name, Look(rows, [])


def how_to_read_explanations() -> str:
    """How maps of an explanation are read.

    Returns:
        Plain text.

    Example:
        >>> how_to_read_explanations()[:33]
        'The color of a patch is that of i'
    """
    return _(
        "The color of a patch is that of its value on the bar below; 0 is black. Where a value is "
        "negative, the patch is green or teal: it speaks against the class, or is less alike than "
        "the average. A map can be wrong: vitrail explain compare tests the explanations of a "
        "model."
    )
