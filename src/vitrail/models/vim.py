"""Vision Mamba: "Vision Mamba: Efficient Visual Representation Learning with Bidirectional State
Space Model" (Zhu et al. 2024, https://arxiv.org/abs/2401.09417).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ [N / 2 patches, class token, N / 2 patches] ─ (B, N + 1, D)
              └ depth × x + Mamba(norm(x)), scanned from both ends
                  └ norm ─ class token (B, D) ─ head ─ (B, classes)

Differs from ViT: a selective scan in both directions replaces attention and MLP, so that time and
memory grow with N and not with N². A scan depends on order, so the class token stands in the middle
of the sequence. Norms are RMSNorm.

The official code applies stochastic depth to the input of a layer, and once more before the last
norm. Here each layer drops its own output, which is the same schedule shifted by one layer.
`vim_official.py` has what the official code does beyond the paper.
"""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.block import LayerScale, drop_path_rates
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.inference_params import InferenceParams
from vitrail.layers.mamba import Mamba
from vitrail.layers.mamba_block import MambaBlock, MambaBranch, MambaPair, TwoStreamLayer
from vitrail.layers.norm import LayerNorm, RMSNorm
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable, Rotation, rotate, rotation, select_rotation
from vitrail.layers.tokens import Token
from vitrail.models.base import Variant
from vitrail.models.features import Features, TokenSequence
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.models.vim_cache import resume_image
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size

ROPE_GRID = (14, 14)  # the grid of 224 pixels, to which others are scaled
ROPE_THETA = 10_000.0


class VisionMamba(SequenceBackbone):
    """Vision Mamba (Zhu et al. 2024).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head, so that `forward` gives pooled features.
        dim: width of a token.
        depth: number of Mamba layers.
        channels: number of channels of an image.
        pool: what the head reads. A class token in the middle of the sequence ("cls_middle"), at
            its head ("cls_head"), or one at both ends, averaged ("cls_both"). Without a class
            token: the "mean" of the patches, the "last" patch, or every patch: "max" takes the
            largest of their logits per class, "all" gives logits (B, N, classes).
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last layer; it grows linearly from 0 at the first.
        position: "learned", a table with a row per token; "none".
        rope: what is rotated by position before every layer: "none"; the output of the "branch"
            before it; or the "residual" too, which is the whole sequence.
        stride: pixels from patch to patch, which overlap if it is less than `patch_size`; None for
            `patch_size`.
        scan: directions of the mixer, "v2", "v1" or "forward": see `Mamba`.
        fusion: how the two directions are joined, "mean", "sum", "gate" or "concat": see `Mamba`.
        pairs: "sum" puts the layers side by side in pairs, the second on the reversed sequence;
            "gate" also weighs the two by a learned factor, and "concat" joins them by a linear
            layer: see `MambaPair`. "none" for one layer after the other.
        share_pairs: whether one layer serves as both of a pair.
        bias: whether the mixer's projections in and out have biases.
        d_state: number of states per channel of the scan.
        d_conv: width of the convolution before the scan.
        expand: inner width of the mixer divided by `dim`.
        dt_rank: rank of the projection to step sizes; None for dim / 16, rounded up.
        norm: "rms" for RMSNorm, "layer" for LayerNorm.
        layer_scale: initial factor of LayerScale; None for no LayerScale.

    Attributes:
        causal: whether every token depends only on those before it in the sequence.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = VisionMamba(32, 8, num_classes=5, dim=16, depth=2)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Vision Mamba: Efficient Visual Representation Learning with Bidirectional State "
        "Space Model",
        "Zhu et al.",
        2024,
        "https://arxiv.org/abs/2401.09417",
        change="Two selective scans replace attention: linear in the number of tokens.",
    )
    mixer_class: ClassVar[type[Mamba]] = Mamba
    pair_class: ClassVar[type[MambaPair]] = MambaPair

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        channels: PositiveInt = 3,
        pool: Literal[
            "cls_middle", "cls_head", "cls_both", "mean", "max", "last", "all"
        ] = "cls_middle",
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        position: Literal["learned", "none"] = "learned",
        rope: Literal["none", "branch", "residual"] = "none",
        stride: Size | None = None,
        scan: Literal["forward", "v1", "v2"] = "v2",
        fusion: Literal["mean", "sum", "gate", "concat"] = "mean",
        pairs: Literal["none", "sum", "gate", "concat"] = "none",
        share_pairs: bool = False,
        bias: bool = False,
        d_state: PositiveInt = 16,
        d_conv: PositiveInt = 4,
        expand: PositiveInt = 2,
        dt_rank: PositiveInt | None = None,
        norm: Literal["rms", "layer"] = "rms",
        layer_scale: PositiveFloat | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.causal = scan == "forward" and pairs == "none"
        _check_scan(scan, fusion, pairs, share_pairs, depth)
        if self.causal and pool == "cls_head":
            raise ConfigError(
                'pool="cls_head": the first token of scan="forward" reads no other: use "last".'
            )
        if rope != "none" and dim % 4:
            raise ConfigError(f"dim={dim} cannot be rotated in 2-D: use a multiple of 4.")
        patch = to_tuple(patch_size)
        self.dim, self.pool_kind, self.rope_kind = dim, pool, rope
        self.stride = patch if stride is None else to_tuple(stride)
        self.grid = patch_grid(self.image_size, patch, self.stride)
        self.prefix = {"cls_middle": 1, "cls_head": 1, "cls_both": 2}.get(pool, 0)

        self.patch_embed = PatchEmbed(patch, channels, dim, self.stride)
        self.class_token = Token(self.prefix, dim) if self.prefix else None
        learned = position == "learned"
        self.position = PositionTable(self.grid, dim, prefix=self.prefix) if learned else None
        self.emb_dropout = nn.Dropout(emb_dropout)

        def make_norm() -> nn.Module:
            return (RMSNorm if norm == "rms" else LayerNorm)(dim, eps=1e-5)

        layers_per_block = 1 if pairs == "none" else 2
        rates = drop_path_rates(drop_path, depth)

        def make_layer(kind: type[MambaBranch], i: int) -> MambaBranch:
            mixer = self.mixer_class(
                dim, scan, d_state=d_state, d_conv=d_conv, expand=expand, dt_rank=dt_rank,
                fusion=fusion, bias=bias, layer_idx=i,
            )  # fmt: skip
            scale = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
            last = i >= depth - layers_per_block  # the norm after it reads unrotated tokens
            return kind(make_norm(), mixer, scale, rates[i], "none" if last else rope)

        def make_block(i: int) -> nn.Module:
            if pairs == "none":
                return make_layer(MambaBlock, i)
            second = None if share_pairs else make_layer(MambaBranch, i + 1)
            return self.pair_class(make_layer(MambaBranch, i), second, pairs)

        self.blocks = nn.ModuleList(make_block(i) for i in range(0, depth, layers_per_block))
        self.norm = make_norm()
        self.head = self.make_head(num_classes)

    def init_weights(self) -> None:
        """Initializes every parameter as the authors' code (hustvl/Vim, models_mamba.py).

        Patches start from LeCun's normal distribution; class tokens, positions and the head from
        a truncated one with standard deviation 0.02; a mixer as in `Mamba.reset_parameters`, with
        its last projection divided by the square root of the depth. One thing differs: the authors'
        scan from the end starts with step sizes of 0.7, here with 0.001 to 0.1 as the other.
        """
        super().init_weights()
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, Mamba):
                    module.out_proj.weight /= math.sqrt(self.config["depth"])

    @property
    def layers(self) -> list[TwoStreamLayer]:
        """The layers in their official order, each called as in the official code: see
        `MambaBranch.add_norm_mix`. The entries of `blocks` keep the residual to themselves."""
        blocks: list[Any] = list(self.blocks)
        pairs = (b.branches if isinstance(b, MambaPair) else (b,) for b in blocks)
        return [layer.add_norm_mix for pair in pairs for layer in pair]

    if TYPE_CHECKING:

        def __call__(
            self, images: Tensor, inference_params: InferenceParams | None = None
        ) -> Tensor: ...

    def forward(self, images: Tensor, inference_params: InferenceParams | None = None) -> Tensor:
        """Computes the logits.

        Args:
            images: (B, C, H, W). With a cache, the whole image of `image_size` or the next part of
                it: one patch, patches of one row, or whole rows, from the top left to the bottom
                right.
            inference_params: cache of an image that comes in parts; None for an image at once. With
                a cache the model computes as in evaluation, without dropout and gradients, whatever
                its mode.

        Returns:
            (B, classes); with a cache, for the patches so far.

        Raises:
            TierError: there is a cache, and the model reads later tokens too, or has class tokens
                and is not given the whole image.
            ConfigError: the cache is too small or holds the end of the image already.
        """
        self.check_input(images)
        if inference_params is None:
            return super().forward(images)
        with torch.no_grad():
            return self.head(self.pool(resume_image(self, images, inference_params)))

    def set_sequence_augment(
        self, flip: float = 0.0, shuffle: float = 0.0, *, class_token: bool = False
    ) -> None:
        """Sets the augmentation of the sequence, as in `SequenceBackbone`; not for pool="last"."""
        if self.pool_kind == "last" and (flip or shuffle):
            raise ConfigError(
                'pool="last" reads the last patch, which flip and shuffle move: use "mean".'
            )
        super().set_sequence_augment(flip, shuffle, class_token=class_token)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, P, D)."""
        return self.add_positions(*self.patch_embed(images))

    def add_positions(self, patches: Tensor, grid: tuple[int, ...]) -> Features:
        """patches (B, N, D) of a grid → Features: class tokens, positions and dropout added."""
        prefix = patches[:, :0] if self.class_token is None else self.class_token(patches.shape[0])
        if self.position is not None:
            positions = self.position(grid)
            prefix = prefix + positions[:, : self.prefix]
            patches = patches + positions[:, self.prefix :]
        return Features(self.emb_dropout(patches), self.emb_dropout(prefix), grid)

    def order(self, patches: int) -> Tensor:
        """The order of the sequence.

        Args:
            patches: number of patches N.

        Returns:
            (P + N,), indices into [prefix, patches].
        """
        if self.pool_kind == "cls_middle":
            return order_with_class_token(patches, patches // 2)
        index = torch.arange(self.prefix + patches)
        if self.pool_kind == "cls_both":
            return torch.cat([index[:1], index[2:], index[1:2]])
        return index

    def to_sequence(self, features: Features) -> TokenSequence:
        """Features → the sequence that the layers scan, class tokens at their positions."""
        tokens = torch.cat([features.prefix, features.patches], dim=1)
        order = self.order(features.patches.shape[1])
        if self.sequence_augment is not None:
            order = self.sequence_augment(order, self.prefix)
        return self.arrange(features, tokens, order)

    def arrange(self, features: Features, tokens: Tensor, order: Tensor) -> TokenSequence:
        """Puts tokens into the order of the sequence, and rotates them for the first layer.

        Args:
            features: the features that `tokens` are from.
            tokens: (B, P + N, D), prefix and patches.
            order: (P + N,), indices into `tokens`.

        Returns:
            The sequence with its context: None for no second stream, rotations (None without RoPE),
            and `order`.
        """
        order = order.to(tokens.device)
        rotation = self._rotation(features, order)
        tokens = tokens.index_select(1, order)
        if rotation is not None:
            tokens = rotate(tokens, rotation)
        tokens = at_least_float32(tokens)  # the residual, where layers compute in half precision
        # Not argsort: a permutation needs no sorting, and small runtimes have none.
        inverse = torch.zeros_like(order).scatter_(0, order, torch.arange(order.shape[0]).to(order))

        def to_features(tokens: Tensor) -> Features:
            tokens = tokens.index_select(1, inverse)
            return features._replace(
                prefix=tokens[:, : self.prefix], patches=tokens[:, self.prefix :]
            )

        return TokenSequence(tokens, (None, rotation, order), to_features)

    def _rotation(self, features: Features, order: Tensor) -> Rotation | None:
        """(L, D) or, where patches were dropped, (B, L, D); class tokens are not rotated."""
        if self.rope_kind == "none":
            return None
        tables = rotation(features.grid, ROPE_GRID, self.dim, prefix=self.prefix, theta=ROPE_THETA)
        if features.keep_indices is not None:
            cos, sin = select_rotation(tables, features.keep_indices, self.prefix)
            tables = cos[:, 0], sin[:, 0]
        cos, sin = (t.to(features.patches)[..., order, :] for t in tables)
        return cos, sin

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D); (B, N, D) for "max" and "all", whose head reads every patch."""
        if self.prefix:
            return features.prefix.mean(dim=1)
        if self.pool_kind == "mean":
            return features.patches.mean(dim=1)
        return features.patches[:, -1] if self.pool_kind == "last" else features.patches

    def make_head(self, num_classes: int) -> nn.Module:
        """num_classes → a linear head, for "max" a `MaxHead`; `nn.Identity` for 0 classes."""
        if self.pool_kind == "max" and num_classes:
            return MaxHead(self.dim, num_classes)
        return super().make_head(num_classes)

    def cut(self, depth: int) -> None:
        """depth: number of entries of `blocks` that remain, each of them two layers in pairs."""
        super().cut(depth)
        self.config["depth"] = depth * (2 if isinstance(self.blocks[0], MambaPair) else 1)


class MaxHead(nn.Linear):
    """A linear head on every token that takes the largest logit of each class.

    Example:
        >>> MaxHead(8, 3)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 3])
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N, D) → (B, classes)."""
        return super().forward(tokens).amax(dim=1)


def order_with_class_token(patches: int, before: int) -> Tensor:
    """The order of a sequence with one class token.

    Args:
        patches: number of patches N.
        before: number of patches before the class token.

    Returns:
        (1 + N,), indices into [class token, patches].

    Example:
        >>> order_with_class_token(4, 2).tolist()
        [1, 2, 0, 3, 4]
    """
    index = torch.arange(patches) + 1
    return torch.cat([index[:before], index.new_zeros(1), index[before:]])


def _check_scan(scan: str, fusion: str, pairs: str, share_pairs: bool, depth: int) -> None:
    if scan == "forward" and fusion != "mean":
        raise ConfigError(
            f'fusion="{fusion}" joins two directions, and scan="forward" has one: use scan="v2".'
        )
    if share_pairs and pairs == "none":
        raise ConfigError('share_pairs=True is for layers in pairs: give pairs="sum".')
    if pairs != "none" and depth % 2:
        raise ConfigError(f'depth={depth} is odd, and pairs="{pairs}" needs an even depth.')


def _variant(parameters: int, dim: int, **more: Any) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000, "dim": dim, "depth": 24,
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters)


# The ones with stride 8 are fine-tuned from those above them.
VARIANTS = {
    "vim_tiny": _variant(7_148_008, 192),
    "vim_small": _variant(25_796_584, 384),
    "vim_base": _variant(97_598_440, 768),
    "vim_tiny_stride8": _variant(7_250_344, 192, stride=8),
    "vim_small_stride8": _variant(26_001_256, 384, stride=8),
}
