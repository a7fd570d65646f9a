"""Masked autoencoders (He et al. 2021, https://arxiv.org/abs/2111.06377), and of videos by tubes
(VideoMAE, Tong et al. 2022, https://arxiv.org/abs/2203.12602).

    image ─ hide 75 % ─ embed ─ take what is in view ─ encode ─ (B, P + K, D)
      └ linear ─ put mask tokens in ─ + position ─ depth × Block ─ norm ─ linear ─ the rest

The encoder never sees a hidden patch, and the loss never asks for one in view. Attention does not
care for the order of tokens once they carry positions, so the decoder has the hidden ones last and
predicts only them: the same numbers, with nothing to shuffle back.

Common mistakes: a loss over all patches, which makes copying pay; mask tokens in the encoder; a
decoder without positions, in which all mask tokens are one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, check_choice, check_range
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import patchify
from vitrail.layers.position import Grid, sincos_positions
from vitrail.layers.tokens import take
from vitrail.methods.base import Loss, Masked
from vitrail.methods.masking import embed_hidden, pictures, random_mask, split, tube_mask
from vitrail.models.base import Backbone, Features, SequenceBackbone, initialise
from vitrail.models.paper import Paper


class MAE(Masked):
    """Encodes the patches in view; a light decoder predicts the pixels of those that are hidden.

    Args:
        mask_ratio: part of the patches that is hidden; 0.9 and "tube" for videos.
        decoder_dim, decoder_depth, decoder_heads, decoder_mlp_ratio: of the decoder.
        norm_pixels: pixels to predict are normalised by the mean and deviation of their patch.
        mask: "random" patches, or "tube", the same in every frame of a video.
        norm_eps: of the decoder's LayerNorms. transformers' weights need 1e-12.
    """

    paper = Paper(
        "Masked Autoencoders Are Scalable Vision Learners",
        "He et al.",
        2021,
        "https://arxiv.org/abs/2111.06377",
    )

    tier = (SequenceBackbone,)
    reads = "tokens"

    def __init__(
        self,
        backbone: Backbone,
        mask_ratio: float = 0.75,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        decoder_mlp_ratio: float = 4.0,
        norm_pixels: bool = True,
        mask: str = "random",
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(backbone)
        check_choice("mask", mask, ("random", "tube"))
        check_range("mask_ratio", mask_ratio, 0, 1)
        check_range("decoder_depth", decoder_depth, 1)
        pixels = backbone.channels * math.prod(self.layout.cell)
        if norm_pixels and pixels == 1:
            raise ConfigError("one pixel has no deviation to normalise by: set norm_pixels=False.")
        self.mask_ratio, self.norm_pixels, self.mask_kind = mask_ratio, norm_pixels, mask
        self.keep_indices = int((~self.draw(1)).sum())
        self.decoder = Decoder(
            self.layout.dim,
            decoder_dim,
            decoder_depth,
            decoder_heads,
            round(decoder_dim * decoder_mlp_ratio),
            self.layout.grid,
            pixels,
            norm_eps,
        )
        like = next(backbone.parameters())
        initialise(self.decoder.to(like.device, like.dtype))

    def draw(self, batch: int, device: torch.device | None = None) -> Tensor:
        """A new mask: bool (batch, N), True where hidden."""
        make = tube_mask if self.mask_kind == "tube" else random_mask
        return make(batch, self.layout.grid, self.mask_ratio, device=device)

    def forward(
        self, images: Tensor, _targets: Tensor | None = None, mask: Tensor | None = None
    ) -> Loss:
        """images float (B, C, *size).

        mask: bool (B, N), True where hidden, as many in each row; None draws one.
        """
        _, hidden, predicted = self._predict(images, mask)
        wanted = take(patchify(images, self.layout.cell), hidden)
        if self.norm_pixels:
            mean, deviation = _statistics(wanted)
            wanted = (wanted - mean) / deviation
        predicted = predicted.to(torch.promote_types(predicted.dtype, torch.float32))
        return Loss(F.mse_loss(predicted, wanted.to(predicted)), {})

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → (3, B, C, *size): given, masked, rebuilt.

        Patches in view are as given. Normalised predictions get their patch's own mean and
        deviation back, as in the authors' pictures: what is judged is the pattern.
        """
        mask, hidden, predicted = self._predict(images, None)
        if self.norm_pixels:
            mean, deviation = _statistics(take(patchify(images, self.layout.cell), hidden))
            predicted = predicted * deviation + mean
        return pictures(images, mask, self.layout.grid, hidden, predicted)

    def _predict(self, images: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The mask, the hidden places (B, M) and what is predicted there (B, M, C · prod(cell))."""
        known = None if mask is not None else self.keep_indices
        mask = self.draw(len(images), images.device) if mask is None else mask
        kept, hidden = split(mask, known)
        features = embed_hidden(self.backbone, images, mask, self.layout.grid)
        seen = self.backbone.encode(features.take(kept))
        return mask, hidden, self.decoder(seen, hidden)


class Decoder(nn.Module):
    """From tokens in view to pixels of hidden patches. `pixels`: numbers in a patch."""

    def __init__(
        self,
        dim_in: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        grid: Grid,
        pixels: int,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.embed = Linear(dim_in, dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim))
        # The authors' lowest frequency is one step above that of `sincos_positions`.
        steps = max(dim // (2 * len(grid)), 1)
        table = sincos_positions(grid, dim, 10_000 ** (1 - 1 / steps))
        self.register_buffer("position", table.to(self.mask_token.dtype))
        self.position: Tensor
        self.blocks = nn.ModuleList(
            Block(dim, Attention(dim, heads), Mlp(dim, mlp_dim), norm_eps=norm_eps)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = Linear(dim, pixels)

    def forward(self, features: Features, hidden: Tensor) -> Tensor:
        """Features of the patches in view and hidden places (B, M) → (B, M, pixels)."""
        assert features.keep_indices is not None
        tokens = self.embed(torch.cat([features.prefix, features.patches], dim=1))
        prefix, seen = tokens.split([features.prefix.shape[1], features.patches.shape[1]], dim=1)
        table = self.position[0]
        x = torch.cat(
            [prefix, seen + table[features.keep_indices], self.mask_token + table[hidden]], dim=1
        )
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, -hidden.shape[1] :]))


def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each patch (B, M, pixels), both (B, M, 1), as the authors take them."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return mean, (variance + 1e-6).sqrt()
