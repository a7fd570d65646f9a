"""CaiT in timm."""

from parity.pairs import Pair, Two, from_timm


def timm_cait(full: bool) -> Two:
    if full:
        return from_timm("cait_xxs24_224")
    small = {
        "img_size": 48, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4,
        "num_classes": 7,
    }  # fmt: skip
    return from_timm("cait_xxs24_224", **small)


PAIRS = [Pair("CaiT", "timm cait_xxs24_224", timm_cait, ((48, 48),), (224, 224))]
