"""The discrete variational autoencoder, a tokenizer of images (Ramesh et al. 2021, DALL-E,
https://arxiv.org/abs/2102.12092).

    image ─ encode ─ logits (B, N, codes) ─ Gumbel-softmax ─ codebook ─ convolutions ─ pixels
                          └ argmax ─ the tokens (B, N) that BEiT learns to predict

The encoder is any backbone, and a code stands for a cell of its output grid: a BEiT whose backbone
has the same grid can learn from it. The decoder sees each code with its neighbours.

Of the paper stay the relaxation (Jang et al. 2016, https://arxiv.org/abs/1611.01144; Maddison et
al. 2016, https://arxiv.org/abs/1611.00712), whose temperature falls to 1/16, and the divergence
from a uniform prior, whose weight grows from 0. Its likelihood, a Laplace distribution of the
pixels' logits, is here that of equal errors everywhere: the mean squared error of pixels as they
are given, that is, normalised over the data set.

A codebook collapses when a few codes win early and the rest never learn. Two things prevent it: the
divergence, which makes a sure choice dear until it pays; and first logits whose deviation, 2, is
above that of the Gumbel noise, 1.28, for else the noise chooses and the decoder learns to ignore
the code. On the digits, of 128 codes, both together keep 33 in use, either alone 12, neither 5.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import check_range
from vitrail.layers.linear import Linear
from vitrail.layers.patch import unpatchify
from vitrail.methods.base import Loss, Masked
from vitrail.methods.masking import embed_hidden
from vitrail.models.base import Backbone, initialise
from vitrail.models.paper import Paper

HOTTEST, COLDEST = 1.0, 1 / 16  # temperatures
DEVIATION = 2.0  # of the first logits


class DVAE(Masked):
    """Learns a code for each cell of the grid, from which the image can be rebuilt.

    It is a tokenizer: `tokens` gives the codes, `vocabulary` says how many there are.

    Args:
        vocabulary: how many codes. code_dim: width of a code and of the decoder.
        kl_weight: weight of the divergence of a cell's codes from uniform, in nats, divided by the
            numbers in a cell. 1 suits squared errors; larger blurs, smaller leaves codes unused.
        kl_warmup: part of all steps in which that weight grows from 0.
    """

    paper = Paper(
        "Zero-Shot Text-to-Image Generation",
        "Ramesh et al.",
        2021,
        "https://arxiv.org/abs/2102.12092",
    )

    def __init__(
        self,
        backbone: Backbone,
        vocabulary: int = 512,
        code_dim: int = 64,
        kl_weight: float = 1.0,
        kl_warmup: float = 0.1,
    ) -> None:
        super().__init__(backbone)
        check_range("vocabulary", vocabulary, 2)
        check_range("code_dim", code_dim, 1)
        check_range("kl_weight", kl_weight, 0)
        check_range("kl_warmup", kl_warmup, 0, 1)
        self.vocabulary, self.kl_weight, self.kl_warmup = vocabulary, kl_weight, kl_warmup
        self.before_step(0.0)
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(self.layout.grid) - 1]
        like, self.pixels = next(backbone.parameters()), math.prod(self.layout.cell)
        self.to_logits = Linear(self.layout.dim, vocabulary)
        self.codebook = nn.Embedding(vocabulary, code_dim)
        self.mix = convolution(code_dim, code_dim, 3, padding=1)
        self.to_pixels = Linear(code_dim, backbone.channels * self.pixels)
        for part in (self.to_logits, self.codebook, self.mix, self.to_pixels):
            initialise(part.to(like.device, like.dtype))
        nn.init.normal_(self.to_logits.weight, std=DEVIATION / self.layout.dim**0.5)

    def before_step(self, progress: float) -> None:
        """The temperature falls by half a cosine; the divergence's weight grows in a line."""
        self.temperature = COLDEST + (HOTTEST - COLDEST) * (1 + math.cos(math.pi * progress)) / 2
        self.kl_part = min(1.0, progress / self.kl_warmup) if self.kl_warmup else 1.0

    def forward(self, images: Tensor, _targets: Tensor | None = None) -> Loss:
        """images float (B, C, *size). In evaluation codes are chosen, not drawn.

        Of the metrics, `error` is the mean squared error, `perplexity` how many codes would be used
        if all that are were used evenly.
        """
        logits = self.logits(images)
        codes = logits.detach().argmax(-1)
        if self.training:
            drawn = F.gumbel_softmax(logits, self.temperature) @ self.codebook.weight.to(logits)
        else:
            drawn = self.codebook(codes)
        error = F.mse_loss(self._decode(drawn).to(logits), images.to(logits))
        log = logits.log_softmax(-1)
        divergence = (log.exp() * log).sum(-1).mean() + math.log(self.vocabulary)
        numbers = self.pixels * images.shape[1]
        loss = error + self.kl_weight * self.kl_part * divergence / numbers
        used = logits.new_zeros(self.vocabulary)
        used = used.index_add_(0, codes.flatten(), logits.new_ones(codes.numel())) / codes.numel()
        return Loss(
            loss,
            {
                "error": error.detach(),
                "divergence": divergence.detach(),
                "perplexity": torch.special.entr(used).sum().exp(),
            },
        )

    def logits(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits of the codes (B, N, vocabulary), float32 or better."""
        grid = self.layout.grid
        nothing = torch.zeros(len(images), math.prod(grid), dtype=torch.bool, device=images.device)
        embedded = embed_hidden(self.backbone, images, nothing, grid)
        patches = self.backbone.encode(embedded).patches
        # Normalised once more, for models whose last norm comes after pooling.
        logits = self.to_logits(F.layer_norm(patches, patches.shape[-1:]))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → the codes of their cells (B, N), in the grid's order."""
        return self.logits(images).argmax(-1)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """codes (B, N) → images (B, C, *size)."""
        return self._decode(self.codebook(tokens))

    def reconstruct(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → (3, B, C, *size): given, given, as nothing is hidden, rebuilt."""
        return torch.stack([images, images, self.decode(self.tokens(images)).to(images)])

    @property
    def preprocess(self) -> object:
        """How images are prepared for it."""
        return self.backbone.preprocess

    def _decode(self, drawn: Tensor) -> Tensor:
        """Codes as vectors (B, N, D) → images (B, C, *size)."""
        grid, cell = self.layout.grid, self.layout.cell
        mixed = self.mix(drawn.transpose(1, 2).unflatten(2, grid)).flatten(2).transpose(1, 2)
        return unpatchify(self.to_pixels(F.gelu(mixed)), cell, grid)
