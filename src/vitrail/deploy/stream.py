"""A Vision Mamba fed token by token, remembering a state instead of the tokens."""

import torch
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.layers.position import Rotation, rotate
from vitrail.layers.mamba_block import MambaBlock, PairedBlocks
from vitrail.models.base import Features
from vitrail.models.vim import VisionMamba


class Stepper:
    """Steps through a sequence: what the model computes for the tokens so far, as they come.

        tokens, _, rolled = model.to_sequence(model.embed(images))
        steps = Stepper(model, model.embed(images))
        seen = [steps(tokens[:, :100]), steps(tokens[:, 100:])]
        features = rolled(model.norm(torch.cat(seen, dim=1)))  # mixer "forward": as model.features

    A model that looks only back (mixer "forward") keeps one state a layer, whatever the length.
    One that looks both ways needs all tokens for each: its stepper keeps them and computes the
    whole anew at every step, so what it gave for earlier tokens is out of date by then.
    `forward_only` asks for the forward directions alone, undivided: something else, and what the
    official code computes, silently, whenever it is given a cache.

    `states` holds the `State` of every layer. Raises `ConfigError` for layers in pairs with
    `forward_only`: their second ones begin at the end.
    """

    def __init__(
        self, model: VisionMamba, features: Features, *, forward_only: bool = False
    ) -> None:
        """features: as embedded; their sizes and places are used, not their values."""
        paired = any(isinstance(block, PairedBlocks) for block in model.blocks)
        if forward_only and paired:
            raise ConfigError("forward_only: of layers in pairs, every second begins at the end.")
        self.model, self.forward_only = model.eval(), forward_only
        tokens, (self.turn, self.order), _ = model.to_sequence(features)
        self.seen, self.count = tokens[:, :0], 0
        steps = model.only_ahead or forward_only
        batch = len(tokens)
        self.layers = [b for b in model.blocks if isinstance(b, MambaBlock)] if steps else []
        self.states = [layer.mixer.start(batch) for layer in self.layers]

    def __call__(self, tokens: Tensor) -> Tensor:
        """The next tokens (B, T, D) → theirs after all layers, before the last norm."""
        first, self.count = self.count, self.count + tokens.shape[1]
        if self.count > len(self.order):
            raise ConfigError(
                f"{self.count} tokens are more than the {len(self.order)} of these features."
            )
        if self.states:
            return torch.stack(
                [self._one(x, first + t) for t, x in enumerate(tokens.unbind(1))], dim=1
            )
        self.seen = torch.cat([self.seen, tokens], dim=1)
        turn = self._turn(slice(0, self.count))
        # Where a token is listed elsewhere matters to those who look, and nobody does here.
        return self.model.run_blocks(self.seen, turn, self.order[: self.count])[:, first:]

    def _turn(self, places: int | slice) -> Rotation | None:
        if self.turn is None:
            return None
        cos, sin = self.turn  # a batch of their own where patches were dropped
        return cos[..., places, :], sin[..., places, :]

    def _one(self, x: Tensor, place: int) -> Tensor:
        turn = self._turn(place)
        for i, block in enumerate(self.layers):
            out, self.states[i] = block.mixer.step(
                block.norm(x), self.states[i], forward_only=self.forward_only
            )
            out = block.scale(out)
            if turn is not None and block.turns != "none":
                out = rotate(out, turn)
            x = block.stream(x, turn) + out
        return x
