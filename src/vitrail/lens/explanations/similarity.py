"""Similarity of patches to one patch, and to texts."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import ConfigError, TierError
from vitrail.layers.dtypes import at_least_float32
from vitrail.lens.explanations.base import require_image_grid
from vitrail.lens.layer_keys import sorted_indices
from vitrail.methods.clip import CLIP
from vitrail.models.base import Backbone


def similarity(
    model: Backbone,
    images: Tensor,
    at: tuple[int, ...] | None = None,
    layer: int = -1,
    center: bool = True,
) -> Tensor:
    """Cosine similarity of the features of each patch to those of one patch.

    The mean over the patches is subtracted first. Features of a transformer have a large part in
    common, by which all patches of an image are alike; without it, 0 stands for a patch that is as
    much like the chosen one as the average is.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        at: position of the patch in the grid, such as (row, column); negative ones count from the
            end. None: the middle of the image.
        layer: index of the block, in a pyramid of the stage, whose features are compared; negative
            ones count from the end.
        center: whether the mean over the patches is subtracted.

    Returns:
        (B, *grid), -1 to 1; 1 at the patch itself.

    Raises:
        ConfigError: there is no such patch or block.
        TierError: patches were dropped or merged, so that they fill no grid of the image.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> round(similarity(model, torch.zeros(1, 3, 8, 8), at=(0, 1))[0, 0, 1].item(), 4)
        1.0
    """
    with torch.no_grad():
        (features,) = model.intermediates(images, [layer])
        require_image_grid(model, features)
        grid = features.grid
        position = at or tuple(side // 2 for side in grid)
        if len(position) != len(grid):
            raise ConfigError(f"at={at}: the grid has {len(grid)} axes, {grid}.")
        patches = patch_directions(features.patches, center=center).unflatten(1, grid)
        reference = patches
        for index, side in zip(position, grid, strict=True):
            reference = reference.select(1, sorted_indices([index], side, "row or column")[0])
        return torch.einsum("b...d, bd -> b...", patches, reference)


def patch_directions(patches: Tensor, *, center: bool = True) -> Tensor:
    """The directions of features, whose products are the cosines of `similarity`.

    Args:
        patches: features (B, N, D).
        center: whether the mean over the patches is subtracted.

    Returns:
        Vectors of length 1, (B, N, D).

    Example:
        >>> patch_directions(torch.tensor([[[1.0, 0.0], [3.0, 0.0]]]))
        tensor([[[-1.,  0.],
                 [ 1.,  0.]]])
    """
    return F.normalize(patches - center * patches.mean(dim=1, keepdim=True), dim=-1)


@checked
def text_similarity(clip: CLIP, images: Tensor, texts: Sequence[str]) -> Tensor:
    """Cosine similarity of each patch to texts, in the embedding space of CLIP.

    The projection of pooled features is applied to each patch. CLIP was not trained for that: maps
    are rough, and most useful where patches are pooled by their mean.

    Args:
        clip: the trained method.
        images: normalized images (B, C, *size).
        texts: T texts.

    Returns:
        (B, T, *grid), -1 to 1.

    Raises:
        ConfigError: there are no texts.
        TierError: patches were dropped, or have another width than the projection reads.

    Example:
        >>> def tokenizer(texts):
        ...     return torch.tensor([[len(text) % 10, 15] for text in texts])
        >>> tokenizer.vocabulary, tokenizer.context, tokenizer.end = 16, 2, 15
        >>> model = vitrail.ViT(8, 4, num_classes=0, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> clip = vitrail.methods.CLIP(model, tokenizer, embed_dim=4, text_dim=8, text_depth=1,
        ...                             text_heads=2).eval()
        >>> text_similarity(clip, torch.zeros(3, 3, 8, 8), ["a cat", "a dog"]).shape
        torch.Size([3, 2, 2, 2])
    """
    with torch.no_grad():
        text = clip.encode_text(texts)
        patches = clip.backbone.features(images).to_map()
        if patches.shape[-1] != clip.backbone.pooled_dim:
            raise TierError(
                f"a patch has {patches.shape[-1]} channels, and the projection of this CLIP reads "
                f"{clip.backbone.pooled_dim}."
            )
        embedded = F.normalize(at_least_float32(clip.image_proj(patches)), dim=-1)
        return torch.einsum("b...d, td -> bt...", embedded, text)
