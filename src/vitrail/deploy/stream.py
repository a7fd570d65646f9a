"""A Vision Mamba fed token by token, which remembers a state instead of the tokens."""

import torch
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.layers.mamba_block import MambaBlock, MambaPair
from vitrail.layers.position import Rotation
from vitrail.models.features import Features
from vitrail.models.vim import VisionMamba


class Stepper:
    """Steps through a sequence: what the model computes for the tokens so far, as they come.

    A causal model (`scan="forward"`) keeps one state per layer, whatever the length. A model that
    scans from both ends needs all tokens for each output: its stepper keeps them and computes the
    whole sequence anew at every step, so the outputs for earlier tokens are out of date by then.

    Args:
        model: a Vision Mamba; it is put into eval mode.
        features: features as embedded. Their sizes and positions are used, not their values.
        forward_only: computes the forward directions alone, with weight 1. That is another
            function than the model; the official code computes it whenever it is called with a
            cache.

    Attributes:
        states: the `MambaState` of every layer; empty where the whole is computed anew.

    Raises:
        ConfigError: `forward_only` is asked of layers in pairs, whose second ones start at the end.

    Example:
        >>> model = VisionMamba(16, 4, 5, dim=8, depth=1, scan="forward", pool="last")
        >>> features = model.embed(torch.zeros(1, 3, 16, 16))
        >>> tokens, _, to_features = model.to_sequence(features)
        >>> stepper = Stepper(model, features)
        >>> outputs = torch.cat([stepper(tokens[:, :9]), stepper(tokens[:, 9:])], dim=1)
        >>> to_features(model.norm(outputs)).patches.shape
        torch.Size([1, 16, 8])
    """

    def __init__(
        self, model: VisionMamba, features: Features, *, forward_only: bool = False
    ) -> None:
        if forward_only and any(isinstance(block, MambaPair) for block in model.blocks):
            raise ConfigError("forward_only=True: the second layer of a pair starts at the end.")
        self.model, self.forward_only = model.eval(), forward_only
        tokens, (self.rotation, self.order), _ = model.to_sequence(features)
        self.tokens, self.length = tokens[:, :0], 0
        steps = model.causal or forward_only
        self.layers = [b for b in model.blocks if isinstance(b, MambaBlock)] if steps else []
        self.states = [layer.mixer.start(len(tokens)) for layer in self.layers]

    def __call__(self, tokens: Tensor) -> Tensor:
        """Steps through the next tokens.

        Args:
            tokens: (B, T, D), those after the ones before, in the order of the sequence.

        Returns:
            (B, T, D) after all layers, before the last norm.

        Raises:
            ConfigError: these are more tokens than the features have.
        """
        start, self.length = self.length, self.length + tokens.shape[1]
        if self.length > len(self.order):
            raise ConfigError(
                f"{self.length} tokens are more than the {len(self.order)} of these features."
            )
        if self.states:
            outputs = [self._step(x, start + t) for t, x in enumerate(tokens.unbind(1))]
            return torch.stack(outputs, dim=1)
        self.tokens = torch.cat([self.tokens, tokens], dim=1)
        rotation = self._rotation(slice(0, self.length))
        # Blocks read the order only to sort recorded weights.
        return self.model.run_blocks(self.tokens, rotation, self.order[: self.length])[:, start:]

    def _rotation(self, index: int | slice) -> Rotation | None:
        """Rotations of some tokens."""
        if self.rotation is None:
            return None
        cos, sin = self.rotation  # (L, D), or (B, L, D) where patches were dropped
        return cos[..., index, :], sin[..., index, :]

    def _step(self, x: Tensor, position: int) -> Tensor:
        """x (B, D), one token → (B, D)."""
        rotation = self._rotation(position)
        for i, block in enumerate(self.layers):
            x, self.states[i] = block.step(
                x, self.states[i], rotation, forward_only=self.forward_only
            )
        return x
