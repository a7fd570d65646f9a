"""Twins in timm."""

from parity.pairs import Pair, Two, from_timm


def pcpvt(full: bool) -> Two:
    return _timm("twins_pcpvt_small", full)


def svt(full: bool) -> Two:
    return _timm("twins_svt_small", full)


def _timm(name: str, full: bool) -> Two:
    small = {
        "embed_dims": (16, 24, 32, 48), "depths": (1, 2, 3, 2), "num_heads": (1, 2, 4, 4),
        "num_classes": 7,
    }  # fmt: skip
    return from_timm(name, **({} if full else small))


PAIRS = [
    Pair("Twins", "timm twins_pcpvt_small", pcpvt, ((64, 64), (96, 64)), (224, 224)),
    Pair("Twins", "timm twins_svt_small", svt, ((64, 64), (96, 64)), (224, 224)),
]
