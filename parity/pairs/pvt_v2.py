"""PVT v2 in timm and in transformers."""

import transformers

from parity.pairs import Pair, Two, from_timm, from_transformers, logits

SIZES = ((64, 64), (96, 72))


def timm_b1(full: bool) -> Two:
    return _timm("pvt_v2_b1", full)


def timm_b2_li(full: bool) -> Two:
    return _timm("pvt_v2_b2_li", full)


def _timm(name: str, full: bool) -> Two:
    small = {
        "embed_dims": (16, 24, 32, 48), "depths": (1, 2, 1, 2), "num_heads": (1, 2, 4, 4),
        "mlp_ratios": (4, 4, 3, 2), "num_classes": 7,
    }  # fmt: skip
    return from_timm(name, **({} if full else small))


def transformers_pvt_v2(full: bool) -> Two:
    return _transformers(full, linear=False)


def transformers_linear(full: bool) -> Two:
    return _transformers(full, linear=True)


def _transformers(full: bool, linear: bool) -> Two:
    small = {
        "image_size": {"height": 64, "width": 64}, "hidden_sizes": [16, 24, 32, 48],
        "depths": [1, 2, 1, 2], "num_attention_heads": [1, 2, 4, 4], "mlp_ratios": [4, 4, 3, 2],
        "num_labels": 7,
    }  # fmt: skip
    settings = {"num_labels": 1000} if full else small
    config = transformers.PvtV2Config(linear_attention=linear, **settings)
    return from_transformers(transformers.PvtV2ForImageClassification(config))


PAIRS = [
    Pair("PVTv2", "timm pvt_v2_b1", timm_b1, SIZES, (224, 224)),
    Pair("PVTv2", "timm pvt_v2_b2_li", timm_b2_li, SIZES, (224, 224)),
    Pair("PVTv2", "transformers PvtV2", transformers_pvt_v2, SIZES, (224, 224), run=logits),
    Pair("PVTv2", "transformers PvtV2, linear", transformers_linear, SIZES, run=logits),
]
