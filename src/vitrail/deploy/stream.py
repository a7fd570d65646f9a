"""A Vision Mamba fed token by token, which remembers a state instead of the tokens."""

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.layers.inference_params import InferenceParams, MambaState, evaluation
from vitrail.models.features import Features
from vitrail.models.vim import VisionMamba
from vitrail.models.vim_cache import next_slots, resume


class Stepper:
    """Steps through a sequence: what the model computes for the tokens so far, as they come.

    A causal model (`scan="forward"`) keeps one state per layer, whatever the length. A model that
    scans from both ends needs all tokens for each output: its stepper keeps them and computes the
    whole sequence anew at every step, so the outputs for earlier tokens are out of date by then.

    Args:
        model: a Vision Mamba; it computes as in evaluation.
        features: features as embedded. Their sizes and positions are used, not their values.
        forward_only: as in `InferenceParams`.

    Attributes:
        cache: the `InferenceParams`, unused where the whole is computed anew.

    Raises:
        ConfigError: the model is no Vision Mamba.

    Example:
        >>> model = VisionMamba(16, 4, 5, dim=8, depth=1, scan="forward", pool="last")
        >>> features = model.embed(torch.zeros(1, 3, 16, 16))
        >>> tokens, _, to_features = model.to_sequence(features)
        >>> stepper = Stepper(model, features)
        >>> outputs = torch.cat([stepper(tokens[:, :9]), stepper(tokens[:, 9:])], dim=1)
        >>> to_features(model.norm(outputs)).patches.shape
        torch.Size([1, 16, 8])
    """

    @checked
    def __init__(
        self, model: VisionMamba, features: Features, *, forward_only: bool = False
    ) -> None:
        if not isinstance(model, VisionMamba):
            raise ConfigError(f"{type(model).__name__} takes no steps: give a VisionMamba.")
        self.model, self.caches = model, model.causal or forward_only
        with evaluation(model):
            tokens, self.context, _ = model.to_sequence(features)
        self.tokens = tokens[:, :0]
        self.cache = InferenceParams(tokens.shape[1], len(tokens), forward_only=forward_only)

    @property
    def states(self) -> list[MambaState]:
        """The state of every layer; empty before the first token, and where there is no cache."""
        return list(self.cache.key_value_memory_dict.values())

    def __call__(self, tokens: Tensor) -> Tensor:
        """Steps through the next tokens.

        Args:
            tokens: (B, T, D), those after the ones before, in the order of the sequence.

        Returns:
            (B, T, D) after all layers, before the last norm.

        Raises:
            ConfigError: these are more tokens than the features have, or of other sizes.
            TierError: `forward_only` is asked of layers in pairs, whose second ones start at the
                end.
        """
        batch, width = self.tokens.shape[::2]
        fits = len(tokens) <= batch if self.caches else len(tokens) == batch
        if tokens.ndim != 3 or tokens.shape[2] != width or not fits:
            raise ConfigError(
                f"tokens of shape {tuple(tokens.shape)} do not fit the features: give ({batch}, T, "
                f"{width})."
            )
        if self.caches:
            return resume(self.model, tokens, self.context, self.cache)
        _, rotation, order = self.context
        slots = next_slots(order, self.tokens.shape[1], tokens.shape[1])
        self.tokens = torch.cat([self.tokens, tokens], dim=1)
        if rotation is not None:
            rotation = rotation[0][..., : slots.stop, :], rotation[1][..., : slots.stop, :]
        with evaluation(self.model):  # blocks read the order only to sort recorded weights
            outputs = self.model.run_blocks(self.tokens, None, rotation, order[: slots.stop])
        return outputs[:, slots.start :]
