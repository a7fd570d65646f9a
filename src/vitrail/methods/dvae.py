"""The discrete variational autoencoder, a tokenizer of images (Ramesh et al. 2021, DALL-E,
https://arxiv.org/abs/2102.12092).

    image ─ encode ─ logits (B, N, codes) ─ Gumbel-softmax ─ codebook ─ convolutions ─ pixels
                          └ argmax ─ the tokens (B, N) that BEiT learns to predict

The encoder is any backbone, and a code stands for a cell of its output grid: a BEiT whose backbone
has the same grid can learn from it. The decoder sees each code with its neighbours.

From the paper are the relaxation (Jang et al. 2016, https://arxiv.org/abs/1611.01144; Maddison et
al. 2016, https://arxiv.org/abs/1611.00712), whose temperature falls to 1/16, and the divergence
from a uniform prior, whose weight grows from 0. The paper's likelihood is a Laplace distribution of
the pixels' logits. Here it is a normal one: the loss is the mean squared error of pixels,
normalized over the dataset.

A codebook collapses when a few codes win early and the others never learn. Two things prevent it:
the divergence, which makes a certain choice expensive until it pays; and first logits whose
standard deviation, 2, is above that of the Gumbel noise, 1.28, because otherwise the noise chooses
and the decoder learns to ignore the code. On the digits, of 128 codes, both together keep 33 in
use, either alone 12, neither 5.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.linear import Linear
from vitrail.layers.patch import unpatchify
from vitrail.methods.base import Batch, Loss
from vitrail.methods.batch_checks import check_codes
from vitrail.methods.masked import Masked
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.models.parameters import initialize
from vitrail.preprocess import Preprocess
from vitrail.values import Fraction, NonNegativeFloat, PositiveInt, Range

START_TEMPERATURE, END_TEMPERATURE = 1.0, 1 / 16
LOGITS_STD = 2.0  # of the first logits


class Codebook(nn.Embedding):
    """The vectors of the codes.

    Args:
        num_embeddings: number of codes.
        embedding_dim: width of a vector.

    Example:
        >>> codebook = Codebook(16, 4)
        >>> weights = nn.functional.one_hot(torch.tensor([[3]]), 16).float()
        >>> torch.equal(codebook(torch.tensor([[3]])), codebook(weights))
        True
    """

    def forward(self, codes: Tensor) -> Tensor:
        """codes (B, N), or weights of all codes (B, N, vocabulary) → vectors (B, N, D)."""
        if codes.is_floating_point():
            return (codes @ self.weight.to(codes)).to(self.weight)
        return super().forward(codes)


class DVAE(Masked):
    """Learns a code per cell of the grid, from which the image can be reconstructed.

    It is a tokenizer: `tokens` gives the codes, and `vocabulary` is their number. It masks nothing.

    Args:
        backbone: a sequence or a pyramid.
        vocabulary: number of codes.
        code_dim: width of a code and of the decoder.
        kl_weight: weight of the divergence of a cell's codes from uniform, in nats, divided by the
            number of pixels in a cell. 1 suits squared errors; larger values blur, smaller ones
            leave codes unused.
        kl_warmup: fraction of all steps in which that weight grows from 0.

    Raises:
        TierError: the backbone is neither a sequence nor a pyramid.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=0, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> dvae = DVAE(model, vocabulary=16, code_dim=4)
        >>> dvae.decode(dvae.tokens(torch.zeros(2, 3, 8, 8))).shape
        torch.Size([2, 3, 8, 8])
    """

    paper = Paper(
        "Zero-Shot Text-to-Image Generation",
        "Ramesh et al.",
        2021,
        "https://arxiv.org/abs/2102.12092",
        change="A discrete autoencoder gives each patch a token of a codebook.",
    )

    def __init__(
        self,
        backbone: Backbone,
        vocabulary: Annotated[int, Range(2)] = 512,
        code_dim: PositiveInt = 64,
        kl_weight: NonNegativeFloat = 1.0,
        kl_warmup: Fraction = 0.1,
    ) -> None:
        super().__init__(backbone)
        self.vocabulary, self.kl_weight, self.kl_warmup = vocabulary, kl_weight, kl_warmup
        self.before_step(0.0)
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(self.layout.grid) - 1]
        like, self.pixels = next(backbone.parameters()), math.prod(self.layout.cell)
        self.to_logits = Linear(self.layout.dim, vocabulary)
        self.codebook = Codebook(vocabulary, code_dim)
        self.mix = convolution(code_dim, code_dim, 3, padding=1)
        self.to_pixels = Linear(code_dim, backbone.channels * self.pixels)
        for module in (self.to_logits, self.codebook, self.mix, self.to_pixels):
            initialize(module.to(like.device, like.dtype))
        nn.init.normal_(self.to_logits.weight, std=LOGITS_STD / self.layout.dim**0.5)

    def sample_mask(self, batch: int, device: torch.device | None = None) -> Tensor:
        """batch size B, device → a mask, bool (B, N), that masks nothing."""
        patches = math.prod(self.layout.grid)
        return torch.zeros(batch, patches, dtype=torch.bool, device=device)

    def before_step(self, progress: float) -> None:
        """Lowers the temperature by half a cosine and raises the divergence's weight linearly.

        Args:
            progress: fraction of all steps that are done.
        """
        cosine = (1 + math.cos(math.pi * progress)) / 2
        self.temperature = END_TEMPERATURE + (START_TEMPERATURE - END_TEMPERATURE) * cosine
        self.kl_factor = min(1.0, progress / self.kl_warmup) if self.kl_warmup else 1.0

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size) → Loss. Codes are sampled in training, else the argmax.

        The metric "error" is the mean squared error; "perplexity" is the number of codes in use,
        if those in use were used equally often.
        """
        images = batch["images"]
        logits = self.logits(images)
        codes = logits.detach().argmax(-1)
        mixture = F.gumbel_softmax(logits, self.temperature) if self.training else codes
        vectors = self.codebook(mixture)
        error = F.mse_loss(self._decode(vectors).to(logits), images.to(logits))
        log = logits.log_softmax(-1)
        divergence = (log.exp() * log).sum(-1).mean() + math.log(self.vocabulary)
        numbers = self.pixels * images.shape[1]
        loss = error + self.kl_weight * self.kl_factor * divergence / numbers
        usage = logits.new_zeros(self.vocabulary)
        usage = usage.index_add_(0, codes.flatten(), logits.new_ones(codes.numel()))
        return Loss(
            loss,
            {
                "error": error.detach(),
                "divergence": divergence.detach(),
                "perplexity": torch.special.entr(usage / codes.numel()).sum().exp(),
            },
        )

    def logits(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits of the codes (B, N, vocabulary), float32 or better."""
        self.check_images(images)
        mask = self.sample_mask(len(images), images.device)
        patches = self.backbone.encode(self.embed_masked(images, mask, None)).patches
        # Normalized once more, for models whose last norm comes after pooling.
        return at_least_float32(self.to_logits(F.layer_norm(patches, patches.shape[-1:])))

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → codes of their cells (B, N), in the grid's order."""
        return self.logits(images).argmax(-1)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """tokens, codes (B, N) → images (B, C, *size).

        Raises:
            DataError: they are no codes of the grid's cells.
        """
        check_codes(tokens, self.layout.grid, self.vocabulary)
        return self._decode(self.codebook(tokens))

    def reconstruct(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → (3, B, C, *size): images, images again, reconstructions."""
        return torch.stack([images, images, self.decode(self.tokens(images)).to(images)])

    @property
    def preprocess(self) -> Preprocess:
        """How the tokenizer expects images."""
        return self.backbone.preprocess

    def _decode(self, vectors: Tensor) -> Tensor:
        """Vectors of codes (B, N, D) → images (B, C, *size)."""
        grid, cell = self.layout.grid, self.layout.cell
        mixed = self.mix(vectors.transpose(1, 2).unflatten(2, grid)).flatten(2).transpose(1, 2)
        return unpatchify(self.to_pixels(F.gelu(mixed)), cell, grid)
