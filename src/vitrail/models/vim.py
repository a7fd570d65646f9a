"""Vision Mamba: "Vision Mamba: Efficient Visual Representation Learning with Bidirectional State
Space Model" (Zhu et al. 2024, https://arxiv.org/abs/2401.09417).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ [½ N patches, class token, ½ N patches] ─ (B, N + 1, D)
              └ depth × x + Mamba(norm(x)), from both ends
                  └ norm ─ class token (B, D) ─ head ─ (B, classes)

Differs from ViT: a selective scan in both directions stands where attention and MLP were, so time
and memory grow with N, not N²; a scan cares about order, so the class token stands in the middle;
norms are RMSNorm.

What the official code adds to a layer's input, this file adds to the layer before it, so that its
stochastic depth rates, shifted by one layer and with one more before the last norm, are the usual
ones here. Of the official initialisation one thing is not kept: its backward direction starts with
step sizes of 0.7 where the forward one has 0.001 to 0.1; here both have the latter.
"""

import math
import random
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, check_choice
from vitrail.layers.block import LayerScale, drop_path_rates
from vitrail.layers.mamba import FUSIONS, KINDS, Mamba
from vitrail.layers.mamba_block import MambaBlock, PairedBlocks
from vitrail.layers.norm import LayerNorm, RMSNorm
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import Rotation, resize_positions, rotate, rotation
from vitrail.models import vim_official
from vitrail.models.base import Features, SequenceBackbone, TokenSequence, Variant
from vitrail.models.paper import Paper

POOLS = (
    "cls-middle", "cls-head", "cls-random", "cls-both", "mean", "max", "last", "all",
)  # fmt: skip
POSITIONS = (
    "learned", "rope", "rope+residual", "learned+rope", "learned+rope+residual", "none",
)  # fmt: skip
MIXER_PARTS = ("bias", "firstgate", "paired", "alpha", "shared", "doubled")
ROPE_GRID = (14, 14)  # that of 224 pixels: others are scaled to it
ROPE_THETA = 10_000.0


class VisionMamba(SequenceBackbone):
    """A Vision Mamba.

    `pool`: which tokens speak for the image: a class token in the middle of the sequence, at its
    head, at a random place (in training; then at the head), or one at both ends ("cls-both", their
    mean); or no class token and the patches' "mean", "max" (of their logits), the "last" one, or
    "all" (logits of every patch, (B, N, classes)).
    `mixer`: its kind ("v2", "v1" or "forward", see `Mamba`), how v2's directions join ("+mean",
    the default, "+sum", "+gate"), "+bias" for biased projections, "+firstgate" for the official
    v1's gradient (see `Mamba`), and "+paired" for layers in pairs, the second on the reversed
    sequence ("+alpha" weighs the two, "+shared" makes them one, "+doubled" adds them to twice the
    residual, as the official loop does): "v1+paired+alpha".
    `position`: "learned", "rope" (turns what each layer adds), "+residual" (turns also what it is
    added to), joined by "+", or "none". `norm`: "rms" or "layer". `stride`: of the patches; None
    is `patch_size`. `ssm`: states, convolution taps, expansion and rank of the step sizes (0: a
    sixteenth of dim) of the mixer. `augment`: probabilities, in training, that the whole sequence
    is flipped and that it is shuffled. They and random places draw from the attribute `generator`,
    where that is set.

    Raises:
        ConfigError: a keyword is unknown or does not fit another. DataError: an image does not fit.
    """

    paper = Paper(
        "Vision Mamba: Efficient Visual Representation Learning with Bidirectional State "
        "Space Model",
        "Zhu et al.",
        2024,
        "https://arxiv.org/abs/2401.09417",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_classes: int,
        dim: int,
        depth: int,
        channels: int = 3,
        pool: str = "cls-middle",
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        position: str = "learned",
        stride: int | tuple[int, int] | None = None,
        mixer: str = "v2+mean",
        norm: str = "rms",
        layer_scale: float | None = None,
        ssm: tuple[int, int, int, int] = (16, 4, 2, 0),
        augment: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("pool", pool, POOLS)
        check_choice("position", position, POSITIONS)
        check_choice("norm", norm, ("rms", "layer"))
        self.dim, self.pool_kind, self.position_kind = dim, pool, position
        self.augment: tuple[float, ...] = tuple(augment)
        self.generator: torch.Generator | None = None
        kind, parts = _read_mixer(mixer)
        _check(pool, kind, parts, self.augment, position, dim)
        patch = to_tuple(patch_size)
        self.stride = patch if stride is None else to_tuple(stride)
        self.grid = patch_grid(self.image_size, patch, self.stride)

        self.patch_embed = PatchEmbed(patch, channels, dim, self.stride)
        self.prefix = {"cls-both": 2}.get(pool, int(pool.startswith("cls")))
        self.class_token = nn.Parameter(torch.empty(1, self.prefix, dim)) if self.prefix else None
        if "learned" in position:
            # One row for every token of the sequence, in its order, class tokens among them.
            length = self.prefix + math.prod(self.grid)
            self.position = nn.Parameter(torch.empty(1, length, dim))
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.only_ahead = kind == "forward" and "paired" not in parts

        def block(i: int, rate: float) -> MambaBlock:
            states, taps, expand, rank = ssm
            mixer = Mamba(
                dim, kind, states=states, taps=taps, expand=expand, rank=rank,
                fusion=next((f for f in FUSIONS if f in parts), "mean"), bias="bias" in parts,
                first_gate="firstgate" in parts,
            )  # fmt: skip
            scale = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
            # The last layers' output goes to the norm as it is.
            last = i >= (depth - 2 if "paired" in parts else depth - 1)
            turns = "none" if last else "both" if "residual" in position else "branch"
            return MambaBlock(self._norm(norm), mixer, scale, rate, turns)

        layers = [block(i, rate) for i, rate in enumerate(drop_path_rates(drop_path, depth))]
        self.blocks = nn.ModuleList(_paired(layers, parts) if "paired" in parts else layers)
        self.norm = self._norm(norm)
        self.head = self.make_head(num_classes)

    def _norm(self, kind: str) -> nn.Module:
        return (RMSNorm if kind == "rms" else LayerNorm)(self.dim, eps=1e-5)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, P, D).

        With a class token at a random place, positions (and dropout) come when it is drawn.
        """
        patches, grid = self.patch_embed(images)
        prefix = patches.new_empty(1, 0, self.dim) if self.class_token is None else self.class_token
        if "learned" in self.position_kind and self.pool_kind != "cls-random":
            own, table = self._split_positions(grid)
            prefix, patches = prefix + own, patches + table
        prefix = prefix.expand(patches.shape[0], -1, -1)
        if self.pool_kind == "cls-random":
            return Features(patches, prefix, grid)
        return Features(self.emb_dropout(patches), self.emb_dropout(prefix), grid)

    def _split_positions(self, grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The positions of the class tokens (1, P, D), and those of the patches of a grid."""
        order = self.order(math.prod(self.grid)).to(self.position.device)
        rows = self.position[:, order.argsort()]
        patches = resize_positions(rows[:, self.prefix :], self.grid, grid)
        return rows[:, : self.prefix], patches

    def positions_at(self, grid: tuple[int, ...]) -> Tensor | None:
        """(1, P + N, D) in the order of the sequence; None where positions are not learned."""
        if "learned" not in self.position_kind:
            return None
        table = torch.cat(self._split_positions(grid), dim=1)
        return table[:, self.order(math.prod(grid)).to(table.device)]

    def order(self, patches: int, place: int = 0) -> Tensor:
        """(L,): the sequence, as places in [prefix, patches]; place: of a class token at random."""
        before = {"cls-middle": patches // 2, "cls-random": place}.get(self.pool_kind, 0)
        ahead, behind = torch.arange(before), torch.arange(before, patches)
        prefix = torch.arange(self.prefix)
        if self.pool_kind == "cls-both":
            return torch.cat([prefix[:1], behind + 2, prefix[1:]])
        return torch.cat([ahead + self.prefix, prefix, behind + self.prefix])

    def draw(self, patches: int) -> tuple[Tensor, Tensor]:
        """In training: an order with the class token placed, and it shuffled and flipped.

        Without a generator, from where the official code draws: Python's for the place and the
        flip, PyTorch's for the shuffle. The same seeds give the same orders.
        """
        place, chance = 0, self.generator
        if self.pool_kind == "cls-random" and self.training:
            anywhere = torch.randint(patches + 1, (), generator=chance) if chance else None
            place = random.randint(0, patches) if anywhere is None else int(anywhere)
        placed = order = self.order(patches, place)
        flip, shuffle = self.augment if self.training else (0, 0)
        if shuffle and (shuffle == 1 or self._uniform() < shuffle):
            order = order[torch.randperm(len(order), generator=chance)]
        if flip and self._uniform() < flip:
            order = order.flip(0)
        return placed, order

    def _uniform(self) -> float:
        if self.generator is None:
            return random.random()
        return float(torch.rand((), generator=self.generator))

    def to_sequence(self, features: Features) -> TokenSequence:
        """The sequence with its class tokens where they belong; in training, perhaps reordered."""
        device, prefix = features.patches.device, features.prefix.shape[1]
        placed, order = (o.to(device) for o in self.draw(features.patches.shape[1]))
        tokens = torch.cat([features.prefix, features.patches], dim=1)
        if self.pool_kind == "cls-random":
            if "learned" in self.position_kind:
                tokens = tokens + self._positions_of(features, placed)
            tokens = self.emb_dropout(tokens)
        turn = self._rotation(features, order)
        tokens = tokens.index_select(1, order)
        if turn is not None:
            tokens = rotate(tokens, turn)
        # The sum of all layers stays in float32 where they compute in less.
        tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
        back = order.argsort()

        def rolled(tokens: Tensor) -> Features:
            tokens = tokens.index_select(1, back)
            return features._replace(prefix=tokens[:, :prefix], patches=tokens[:, prefix:])

        return TokenSequence(tokens, (turn, order), rolled)

    def _positions_of(self, features: Features, placed: Tensor) -> Tensor:
        """(1 or B, P + N, D): rows of the table by the places of [prefix, patches] in it."""
        rows = placed.argsort()
        table: Tensor = self.position
        if features.grid != self.grid:
            table = torch.cat(self._split_positions(features.grid), dim=1)
        if features.keep_indices is None:
            return table[:, rows]
        # Whole again where patches were dropped: a patch keeps the row of its place in the grid.
        everywhere = self.order(math.prod(features.grid), int(rows[0])).to(rows.device).argsort()
        first = everywhere[:1].expand(len(features.keep_indices), -1)
        return table[0, torch.cat([first, everywhere[1:][features.keep_indices]], dim=1)]

    def _rotation(self, features: Features, order: Tensor) -> Rotation | None:
        """(L, D) or, where patches were dropped, (B, L, D); class tokens have no place."""
        if "rope" not in self.position_kind:
            return None
        cos, sin = (
            t.to(features.patches)
            for t in rotation(features.grid, ROPE_GRID, self.dim, theta=ROPE_THETA)
        )
        if features.keep_indices is not None:
            cos, sin = cos[features.keep_indices], sin[features.keep_indices]
        pad = (0, 0, features.prefix.shape[1], 0)
        return F.pad(cos, pad, value=1.0)[..., order, :], F.pad(sin, pad)[..., order, :]

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D); (B, N, D) for "max" and "all", whose head takes every token."""
        if self.prefix:
            return features.prefix.mean(dim=1)
        if self.pool_kind == "mean":
            return features.patches.mean(dim=1)
        return features.patches[:, -1] if self.pool_kind == "last" else features.patches

    def make_head(self, num_classes: int) -> nn.Module:
        """A linear head; for "max" the largest of every token's logits."""
        if self.pool_kind == "max" and num_classes:
            return MaxHead(self.dim, num_classes)
        return super().make_head(num_classes)

    def cut(self, depth: int) -> None:
        """Keeps only the first `depth` blocks, each of which may be two layers."""
        super().cut(depth)
        self.config["depth"] = depth * (2 if isinstance(self.blocks[0], PairedBlocks) else 1)

    def init_weights(self) -> None:
        """As Mamba's authors: mixers by themselves, the last projections smaller with depth."""
        super().init_weights()
        for mixer in (m for m in self.modules() if isinstance(m, Mamba)):
            mixer.reset_parameters()
            with torch.no_grad():
                mixer.out_proj.weight /= math.sqrt(self.config["depth"])

    @classmethod
    def from_official(cls, state_dict: Mapping[str, Tensor], **official: Any) -> "VisionMamba":
        """The model of the official code's state dict and constructor keywords, in eval mode.

            VisionMamba.from_official(checkpoint["model"], embed_dim=192, depth=24)

        Keywords have the defaults of the official code today; those of its first release differed.
        The flags of its forward, `if_random_cls_token_position` and `if_random_token_rank`, may be
        given too. Raises `ConfigError` for keywords that contradict each other, `LoadError` for a
        state dict that they do not describe.
        """
        keywords = vim_official.keywords(official)
        model = cls(**keywords)
        vim_official.fill(model, state_dict, official)
        return model.eval()


class MaxHead(nn.Linear):
    """Logits of every token, and the largest of each class."""

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N, D) → (B, classes)."""
        return super().forward(tokens).amax(dim=1)


def _read_mixer(mixer: str) -> tuple[str, set[str]]:
    """ "v2+mean" → its kind and its parts."""
    kind, *parts = mixer.split("+")
    check_choice("mixer", kind, tuple(KINDS))
    for part in parts:
        check_choice("mixer part", part, (*FUSIONS, *MIXER_PARTS))
    for part in ("alpha", "shared", "doubled"):
        if part in parts and "paired" not in parts:
            raise ConfigError(f'mixer="{mixer}": "+{part}" is for layers in pairs: add "+paired".')
    if len([p for p in parts if p in FUSIONS]) > 1:
        raise ConfigError(f'mixer="{mixer}" joins its directions in two ways: choose one.')
    if kind == "forward" and set(parts) & set(FUSIONS):
        raise ConfigError(f'mixer="{mixer}" has one direction: there is nothing to join.')
    return kind, set(parts)


def _check(
    pool: str, kind: str, parts: set[str], augment: tuple[float, ...], position: str, dim: int
) -> None:
    if kind == "forward" and "paired" not in parts and pool in ("cls-head", "cls-random"):
        raise ConfigError(f'pool="{pool}": mixer="forward" never shows its first token any other.')
    if len(augment) != 2 or not all(0 <= p <= 1 for p in augment):
        raise ConfigError(f"augment={augment} is not two probabilities, of a flip and a shuffle.")
    if pool == "last" and any(augment):
        raise ConfigError('pool="last" reads the last patch, which augment moves away: use "mean".')
    if "rope" in position and dim % 4:
        raise ConfigError(f"dim={dim} cannot be rotated in 2-D: use a multiple of 4.")


def _paired(layers: list[MambaBlock], parts: set[str]) -> list[PairedBlocks]:
    if len(layers) % 2:
        raise ConfigError(f"depth={len(layers)} does not go into pairs: use an even one.")
    pairs = zip(layers[::2], layers[1::2], strict=True)
    return [
        PairedBlocks(a, None if "shared" in parts else b, "alpha" in parts, "doubled" in parts)
        for a, b in pairs
    ]


def _variant(parameters: int, dim: int, **more: Any) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000, "dim": dim, "depth": 24,
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters)


# The stride-8 ones are fine-tuned from those above them.
VARIANTS = {
    "vim_tiny": _variant(7_148_008, 192),
    "vim_small": _variant(25_796_584, 384),
    "vim_base": _variant(97_598_440, 768),
    "vim_tiny_stride8": _variant(7_250_344, 192, stride=8),
    "vim_small_stride8": _variant(26_001_256, 384, stride=8),
}
