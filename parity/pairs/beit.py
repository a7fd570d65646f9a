"""BEiT in timm and in transformers."""

import functools
from typing import Any

import transformers
from transformers.models.beit.modeling_beit import BeitRelativePositionBias

from parity.pairs import Pair, Two, from_timm, from_transformers, logits

TIMM = {
    "img_size": 48, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4, "num_classes": 7,
}  # fmt: skip
SMALL = {
    "image_size": 32, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "intermediate_size": 96, "num_labels": 7,
}  # fmt: skip
EACH = {"use_relative_position_bias": True}
SHARED = {"use_shared_relative_position_bias": True, "use_mean_pooling": False}


def timm_beit(full: bool) -> Two:
    return from_timm("beit_base_patch16_224", **({} if full else TIMM))


def transformers_beit(full: bool, settings: dict[str, Any]) -> Two:
    size = {"num_labels": 1000} if full else SMALL
    config = transformers.BeitConfig(**size, **settings)
    # It stores indices of the first forward; those of inference mode would be unfit for training.
    BeitRelativePositionBias.generate_relative_position_index((14, 14))
    return from_transformers(transformers.BeitForImageClassification(config))


PAIRS = [
    Pair("BEiT", "timm beit_base_patch16_224", timm_beit, ((48, 48),), (224, 224)),
    *(
        Pair(
            "BEiT",
            f"transformers Beit{name}",
            functools.partial(transformers_beit, settings=settings),
            ((32, 32), (48, 40)),
            full,
            run=logits,
        )
        for name, settings, full in (
            ("", EACH, (224, 224)),
            (", shared bias, class token", SHARED, ()),
        )
    ),
]
