"""Predictions together with attention weights, or with embeddings, from one forward pass."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.lens.record import LayerKey, record, recorded_mixers
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.values import resolve_indices


class Recorder(nn.Module):
    """A model that also returns its attention weights, as vit-pytorch's `Recorder` does.

    Recording changes no bit of the predictions. `vitrail.record` does the same without a wrapper
    and keeps the weights by layer.

    Args:
        model: a model with attention; it is wrapped, not copied.

    Raises:
        TierError: the model has no attention to record.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=3, heads=2, mlp_dim=8)
        >>> preds, attns = Recorder(model)(torch.zeros(1, 3, 8, 8))
        >>> preds.shape, attns.shape
        (torch.Size([1, 2]), torch.Size([1, 3, 2, 5, 5]))
    """

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        recorded_mixers(model)  # raises where there are none
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | dict[LayerKey, Tensor]]:
        """Predicts, and records.

        Args:
            images: (B, C, *size).

        Returns:
            Logits (B, classes), and attention weights (B, layers, heads, N, N), prefix tokens
            first, row i of query i. Where the layers' weights differ in shape, as in pyramids, a
            dict of weights by layer, with the keys of `vitrail.record`.
        """
        with record(self.model) as maps:
            logits = self.model(images)
        if len({weights.shape for weights in maps.values()}) == 1:
            return logits, torch.stack(list(maps.values()), dim=1)
        return logits, maps

    def eject(self) -> Backbone:
        """The model, which this wrapper has left unchanged."""
        return self.model

    if TYPE_CHECKING:

        def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | dict[LayerKey, Tensor]]: ...


class Extractor(nn.Module):
    """A model that also returns its token embeddings, as vit-pytorch's `Extractor` does.

    Args:
        model: the model; it is wrapped, not copied.
        layer: what to return the output of: the index of a block, negative ones count from the
            end, or the path of a module such as "blocks.0.mlp". None: the features after the last
            norm, which the head reads.
        detach: whether the embeddings carry no gradient.

    Raises:
        ConfigError: the model has no such layer.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> logits, embeddings = Extractor(model)(torch.zeros(1, 3, 8, 8))
        >>> logits.shape, embeddings.shape
        (torch.Size([1, 2]), torch.Size([1, 5, 8]))
    """

    def __init__(
        self, model: Backbone, layer: LayerKey | None = None, *, detach: bool = True
    ) -> None:
        super().__init__()
        self.model, self.layer, self.detach = model, layer, detach
        if layer is not None:
            self._module(layer)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts, and returns embeddings of the same forward pass.

        Args:
            images: (B, C, *size).

        Returns:
            Logits (B, classes), and tokens (B, P + N, D), prefix tokens first; or whatever shape
            the chosen module's output has.
        """
        output: Features | Tensor
        if self.layer is None:
            output = self.model.features(images)
            logits = self.model.head(self.model.pool(output))
        else:
            outputs: list[Features | Tensor] = []
            hook = self._module(self.layer).register_forward_hook(
                lambda _module, _args, output: outputs.append(output)
            )
            try:
                logits = self.model(images)
            finally:
                hook.remove()
            (output,) = outputs[-1:]
        tokens = output if isinstance(output, Tensor) else _tokens(output)
        return logits, tokens.detach() if self.detach else tokens

    def _module(self, layer: LayerKey) -> nn.Module:
        if not isinstance(layer, str):
            (index,) = resolve_indices([layer], len(self.model.blocks), "layer")
            return self.model.blocks[index]
        try:
            return self.model.get_submodule(layer)
        except AttributeError:
            names = [name for name, _ in self.model.named_modules()]
            raise ConfigError(
                f"this {type(self.model).__name__} has no module {layer!r}: named_modules() lists "
                f"all {len(names)}, such as {names[-1]!r}."
            ) from None

    def eject(self) -> Backbone:
        """The model, which this wrapper has left unchanged."""
        return self.model

    if TYPE_CHECKING:

        def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]: ...


def _tokens(features: Features) -> Tensor:
    return torch.cat([features.prefix, features.patches], dim=1)
