"""MaxViT in timm."""

from parity.pairs import Pair, Two, from_timm


def timm_tiny(full: bool) -> Two:
    small = {
        "img_size": 64, "stem_width": 16, "embed_dim": (32, 64, 32, 64), "depths": (1, 2, 1, 2),
        "head_hidden_size": 48, "num_classes": 7,
    }  # fmt: skip
    return from_timm("maxvit_tiny_tf_224", **({} if full else small))


PAIRS = [
    Pair("MaxViT", "timm maxvit_tiny_tf_224", timm_tiny, ((64, 64), (64, 128)), (224, 224)),
]
