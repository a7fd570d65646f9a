"""The two towers of CLIP as modules of one input, to be exported."""

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.layers.dtypes import at_least_float32
from vitrail.methods.clip import CLIP, embed_images


class ImageEncoder(nn.Module):
    """Images to the embeddings that texts are compared with.

    Args:
        clip: the method; its modules are shared, not copied.

    Example:
        >>> def tokenizer(texts):
        ...     return torch.tensor([[len(text) % 10, 15] for text in texts])
        >>> tokenizer.vocabulary, tokenizer.context, tokenizer.end = 16, 2, 15
        >>> model = vitrail.ViT(8, 4, num_classes=0, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> clip = CLIP(model, tokenizer, embed_dim=4, text_dim=8, text_depth=1, text_heads=2)
        >>> ImageEncoder(clip)(torch.zeros(3, 3, 8, 8)).shape
        torch.Size([3, 4])
    """

    @checked
    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.backbone, self.projection = clip.backbone, clip.image_proj

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → embeddings (B, E) of length 1."""
        return embed_images(self.backbone, self.projection, images)


class TextEncoder(nn.Module):
    """Token ids to the embeddings that images are compared with.

    Args:
        clip: the method; its modules are shared, not copied.

    Example:
        >>> def tokenizer(texts):
        ...     return torch.tensor([[len(text) % 10, 15] for text in texts])
        >>> tokenizer.vocabulary, tokenizer.context, tokenizer.end = 16, 2, 15
        >>> model = vitrail.ViT(8, 4, num_classes=0, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> clip = CLIP(model, tokenizer, embed_dim=4, text_dim=8, text_depth=1, text_heads=2)
        >>> TextEncoder(clip)(tokenizer(["a cat", "a dog"])).shape
        torch.Size([2, 4])
    """

    @checked
    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.text = clip.text

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L), L the context → embeddings (B, E) of length 1."""
        return F.normalize(at_least_float32(self.text(ids)), dim=-1)
