"""Predictions together with attention weights, or with embeddings, from one forward pass."""

from typing import TYPE_CHECKING, Literal, overload

import torch
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.lens.layer_keys import LayerKey, Maps, layer_paths
from vitrail.lens.record import record
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.values import check_value, resolve_indices


class Recorder(nn.Module):
    """A model that also returns its attention weights, as vit-pytorch's `Recorder` does.

    Recording changes no bit of the predictions. `vitrail.record` does the same without a wrapper
    and keeps the weights by layer.

    Args:
        model: a model with attention, or a wrapper of it; it is wrapped, not copied.

    Raises:
        TierError: the model has no attention to record.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=3, heads=2, mlp_dim=8)
        >>> preds, attns = Recorder(model)(torch.zeros(1, 3, 8, 8))
        >>> preds.shape, attns.shape
        (torch.Size([1, 2]), torch.Size([1, 3, 2, 5, 5]))
    """

    @checked
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = _unwrapped(model)
        layer_paths(self.model)  # raises where there are none

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | Maps]:
        """Predicts, and records.

        Args:
            images: (B, C, *size).

        Returns:
            Logits (B, classes), and attention weights (B, layers, heads, N, N), prefix tokens
            first, row i of query i, of all layers that have such weights: of XCiT those of its
            class token. Where layers differ in shape, or attend within windows, the `Maps` of
            `vitrail.record`.
        """
        with record(self.model) as maps:
            logits = self.model(images)
        layers = list(maps.values())
        alike = all(weights.shape == layers[0].shape for weights in layers)
        if alike and len(layers[0]) == len(logits):  # windows are counted in the batch
            return logits, torch.stack(layers, dim=1)
        return logits, maps

    def eject(self) -> Backbone:
        """The model, which this wrapper has left unchanged."""
        return self.model

    if TYPE_CHECKING:

        def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | Maps]: ...


class Extractor(nn.Module):
    """A model that also returns its token embeddings, as vit-pytorch's `Extractor` does.

    Args:
        model: the model, or a wrapper of it; it is wrapped, not copied.
        layer: what to return the output of: the index of a block, negative ones count from the
            end, or the path of a module such as "blocks.0.mlp". None: the features after the last
            norm, which the head reads.
        detach: whether the embeddings carry no gradient.
        return_embeddings_only: whether a call returns the embeddings without the logits; it is a
            keyword of the call, too.

    Raises:
        ConfigError: the model has no such layer.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> logits, embeddings = Extractor(model)(torch.zeros(1, 3, 8, 8))
        >>> logits.shape, embeddings.shape
        (torch.Size([1, 2]), torch.Size([1, 5, 8]))
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: LayerKey | None = None,
        *,
        detach: bool = True,
        return_embeddings_only: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.layer, self.detach = _unwrapped(model), layer, detach
        self.return_embeddings_only = return_embeddings_only
        if layer is not None:
            self._module(layer)

    def forward(
        self, images: Tensor, return_embeddings_only: bool = False
    ) -> tuple[Tensor, Tensor] | Tensor:
        """Predicts, and returns embeddings of the same forward pass.

        Args:
            images: (B, C, *size).
            return_embeddings_only: whether to return the embeddings without the logits.

        Returns:
            Logits (B, classes), and tokens (B, P + N, D), prefix tokens first, in a pyramid too
            (`features(images).to_map()` gives maps); or whatever shape the chosen module's output
            has. A second scale, as in CrossViT, is left out.

        Raises:
            ConfigError: the module at `layer` is not called, or returns no tensor.
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
            if not outputs or not isinstance(outputs[-1], Features | Tensor):
                result = f"returns a {type(outputs[-1]).__name__}" if outputs else "is not called"
                raise ConfigError(
                    f"layer={self.layer!r} {result}: give a module that returns a tensor, such as "
                    "a block."
                )
            output = outputs[-1]
        tokens = output if isinstance(output, Tensor) else _tokens(output)
        tokens = tokens.detach() if self.detach else tokens
        only = return_embeddings_only or self.return_embeddings_only
        return tokens if only else (logits, tokens)

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

        @overload
        def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]: ...
        @overload
        def __call__(self, images: Tensor, return_embeddings_only: Literal[True]) -> Tensor: ...
        def __call__(
            self, images: Tensor, return_embeddings_only: bool = False
        ) -> tuple[Tensor, Tensor] | Tensor: ...


def _unwrapped(model: nn.Module) -> Backbone:
    """The model inside a `Recorder` or an `Extractor`."""
    while isinstance(model, Recorder | Extractor):
        model = model.model
    return check_value("model", model, Backbone)


def _tokens(features: Features) -> Tensor:
    return torch.cat([features.prefix, features.patches], dim=1)
