"""PiT in timm."""

from parity.pairs import Pair, Two, from_timm

SMALL = {"img_size": 64, "depth": (1, 2, 1), "num_classes": 7}


def timm_pit(full: bool) -> Two:
    return from_timm("pit_s_224") if full else from_timm("pit_ti_224", **SMALL)


def timm_pit_distilled(_full: bool) -> Two:
    return from_timm("pit_ti_distilled_224", **SMALL, patch_size=14, stride=7)


PAIRS = [
    Pair("PiT", "timm pit_s_224", timm_pit, ((64, 64),), (224, 224)),
    Pair("PiT", "timm pit_ti_distilled_224", timm_pit_distilled, ((64, 64),)),
]
