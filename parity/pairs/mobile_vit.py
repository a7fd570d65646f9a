"""MobileViT in timm and in transformers."""

import transformers

from parity.pairs import Pair, Two, from_timm, from_transformers, logits


def timm_mobilevit(full: bool) -> Two:
    return from_timm("mobilevit_s") if full else from_timm("mobilevit_xxs", num_classes=7)


def transformers_mobilevit(full: bool) -> Two:
    still = {"hidden_dropout_prob": 0.0, "classifier_dropout_prob": 0.0}
    small = {
        "image_size": 64, "num_labels": 7, "hidden_sizes": [16, 24, 32], "expand_ratio": 2.0,
        "neck_hidden_sizes": [8, 8, 16, 24, 32, 40, 48],
    }  # fmt: skip
    config = transformers.MobileViTConfig(**({"num_labels": 1000} if full else small), **still)
    return from_transformers(transformers.MobileViTForImageClassification(config))


PAIRS = [
    Pair("MobileViT", "timm mobilevit", timm_mobilevit, ((64, 64), (72, 104)), (256, 256)),
    Pair(
        "MobileViT",
        "transformers MobileViT",
        transformers_mobilevit,
        ((64, 64), (72, 104)),
        (256, 256),
        run=logits,
    ),
]
