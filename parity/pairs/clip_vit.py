"""CLIP's image tower in transformers and in timm."""

import transformers
from torch import Tensor, nn

from parity.pairs import Pair, Two, from_timm, from_transformers

VISION = {
    "image_size": 32, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "intermediate_size": 96,
}  # fmt: skip
TEXT = {
    "vocab_size": 99, "max_position_embeddings": 12, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 80,
}  # fmt: skip
MARKS = {"bos_token_id": 97, "eos_token_id": 98, "pad_token_id": 0}
TIMM = {"img_size": 48, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}


def clip(full: bool) -> Two:
    size = {} if full else {"vision_config": VISION, "text_config": {**TEXT, **MARKS}}
    config = transformers.CLIPConfig(**size, projection_dim=24)
    return from_transformers(transformers.CLIPModel(config))


def pooled(model: nn.Module, images: Tensor) -> Tensor:
    """images (B, C, H, W) of any size → output of the image tower before the projection (B, D)."""
    return model.vision_model(images, interpolate_pos_encoding=True).pooler_output


def timm_clip(full: bool) -> Two:
    small = {**TIMM, "num_classes": 7}
    return from_timm("vit_base_patch32_clip_quickgelu_224", **({} if full else small))


PAIRS = [
    Pair("CLIPViT", "transformers CLIP", clip, ((32, 32), (48, 40)), (224, 224), run=pooled),
    Pair("CLIPViT", "timm vit_base_patch32_clip_quickgelu_224", timm_clip, ((48, 48),), (224, 224)),
]
