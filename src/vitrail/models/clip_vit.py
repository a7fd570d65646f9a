"""CLIP ViT: "Learning Transferable Visual Models From Natural Language Supervision" (Radford et al.
2021, https://arxiv.org/abs/2103.00020).

    image (B, C, H, W)
      └ patch_embed, no bias ─ (B, N, D)
          └ [class token, patches] + position ─ pre_norm ─ (B, 1 + N, D)
              └ depth × Block(Attention, Mlp with quick GELU)
                  └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

This is CLIP's image tower. `methods/clip.py` trains it, or any other model, beside a text tower.
It differs from ViT in three points: the embedded tokens are normalized, patches are projected
without a bias, and the activation is an approximation of GELU. `norm` is applied to all tokens; the
original does not normalize the patches, which its loss does not read. `VARIANTS` are image towers
without CLIP's projection to the common space.
"""

from typing import Literal

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import ACTIVATIONS, Mlp
from vitrail.layers.patch import PatchEmbed, to_tuple
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class CLIPViT(PlainViT):
    """CLIP's image tower, a ViT with a norm before the first block (Radford et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        channels: number of channels of an image.
        pool: "cls" reads the class token; "mean" averages the patches, without a class token;
            "patches" averages the patches beside a class token, without the last norm, as
            transformers' CLIPForImageClassification does.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        activation: "quick_gelu", OpenAI's; "gelu", that of most CLIP models after theirs; or
            "gelu_tanh", the tanh approximation.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = CLIPViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        "Radford et al.",
        2021,
        "https://arxiv.org/abs/2103.00020",
        change="The image tower of CLIP: a ViT with a norm before its first block.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        channels: PositiveInt = 3,
        pool: Literal["cls", "mean", "patches"] = "cls",
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        activation: Literal["quick_gelu", "gelu", "gelu_tanh"] = "quick_gelu",
        norm_eps: PositiveFloat = 1e-5,
    ) -> None:
        patch_embed = PatchEmbed(to_tuple(patch_size), channels, dim, bias=False, init="torch")
        super().__init__(
            image_size,
            patch_size,
            num_classes,
            dim,
            channels,
            "mean" if pool == "mean" else "cls",
            emb_dropout,
            patch_embed,
        )
        self.pool_kind = pool
        self.pre_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads, dropout=dropout),
                Mlp(dim, mlp_dim, dropout, activation=ACTIVATIONS[activation]()),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.Identity() if pool == "patches" else nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, 1 or 0, D)."""
        features = super().embed(images)
        patches, prefix = self.pre_norm(features.patches), self.pre_norm(features.prefix)
        return features._replace(patches=patches, prefix=prefix)

    def pool(self, features: Features) -> Tensor:
        """Features → the class token, or the mean of the patches (B, D)."""
        if self.pool_kind == "patches":
            return features.patches.mean(dim=1)
        return super().pool(features)

    def init_weights(self) -> None:
        """Initializes every parameter as OpenAI's code (clip/model.py) does in its image tower.

        The class token and positions start from a normal distribution with standard deviation
        1 / √D. Projections to queries, keys and values start from Xavier's uniform distribution as
        one matrix, with biases of 0, as in `nn.MultiheadAttention`. MLPs and the projection after
        attention start as `nn.Linear` does, the latter with a bias of 0. The head, which OpenAI's
        tower has not, starts as `initialize` has it.
        """
        super().init_weights()
        nn.init.normal_(self.position.weight, std=self.dim**-0.5)
        if self.class_token is not None:
            nn.init.normal_(self.class_token.weight, std=self.dim**-0.5)
        for module in self.blocks.modules():
            if isinstance(module, Attention):
                nn.init.xavier_uniform_(module.qkv.weight)
                module.proj.reset_parameters()
                nn.init.zeros_(module.proj.bias)
            elif isinstance(module, Mlp):
                module.fc1.reset_parameters()
                module.fc2.reset_parameters()


def _variant(parameters: int, patch: int, dim: int, size: int = 224) -> Variant:
    large = dim == 1024
    keywords = {
        "image_size": size, "patch_size": patch, "num_classes": 0,
        "dim": dim, "depth": 24 if large else 12, "heads": dim // 64, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "vit_base_patch32_clip_quickgelu_224": _variant(87_456_000, 32, 768),
    "vit_base_patch16_clip_quickgelu_224": _variant(85_799_424, 16, 768),
    "vit_large_patch14_clip_quickgelu_224": _variant(303_179_776, 14, 1024),
    "vit_large_patch14_clip_quickgelu_336": _variant(303_507_456, 14, 1024, 336),
}
