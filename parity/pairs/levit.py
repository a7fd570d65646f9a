"""LeViT in timm."""

from parity.pairs import Pair, Two, from_timm


def build(full: bool) -> Two:
    if full:
        return from_timm("levit_256")
    small = {
        "img_size": 112, "embed_dim": (32, 48, 64), "key_dim": 8, "num_heads": (2, 3, 4),
        "depth": (2, 1, 2), "num_classes": 7,
    }  # fmt: skip
    return from_timm("levit_128s", **small)


PAIRS = [Pair("LeViT", "timm levit", build, ((112, 112),), (224, 224))]
