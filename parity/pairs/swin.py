"""Swin in timm and in transformers."""

import transformers

from parity.pairs import Pair, Two, from_timm, from_transformers, logits


def timm_swin(full: bool) -> Two:
    if full:
        return from_timm("swin_tiny_patch4_window7_224")
    small = {
        "img_size": 64, "embed_dim": 16, "depths": (2, 2, 1, 1), "num_heads": (1, 2, 4, 8),
        "window_size": 4, "num_classes": 7, "strict_img_size": False,
    }  # fmt: skip
    return from_timm("swin_tiny_patch4_window7_224", **small)


def transformers_swin(full: bool) -> Two:
    small = {
        "image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4],
        "window_size": 4, "num_labels": 7,
    }  # fmt: skip
    config = transformers.SwinConfig(**({"num_labels": 1000} if full else small))
    return from_transformers(transformers.SwinForImageClassification(config))


PAIRS = [
    Pair("Swin", "timm swin_tiny_patch4_window7_224", timm_swin, ((64, 64), (128, 64)), (224, 224)),
    Pair(
        "Swin", "transformers Swin", transformers_swin, ((64, 64), (72, 88)), (224, 224), run=logits
    ),
]
