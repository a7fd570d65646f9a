"""XCiT in timm."""

import functools

from parity.pairs import Pair, Two, from_timm

SMALL = {
    "img_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4, "num_classes": 7,
}  # fmt: skip


def timm_xcit(full: bool, name: str) -> Two:
    return from_timm(name, **({} if full else SMALL))


PAIRS = [
    Pair(
        "XCiT",
        f"timm {name}",
        functools.partial(timm_xcit, name=name),
        ((64, 64), (40, 72)),
        full,
    )
    for name, full in (("xcit_tiny_12_p16_224", (224, 224)), ("xcit_nano_12_p8_224", ()))
]
