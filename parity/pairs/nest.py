"""NesT in timm."""

import functools

from parity.pairs import Pair, Two, from_timm

SMALL = {"img_size": 64, "num_classes": 7}


def timm_nest(name: str, full: bool) -> Two:
    return from_timm(name, **({} if full else SMALL), drop_path_rate=0.0)  # timm's is 0.5


PAIRS = [
    Pair(
        "NesT",
        f"timm {name}",
        functools.partial(timm_nest, name),
        ((64, 64),),
        (224, 224) if name == "nest_tiny_jx" else (),
    )
    for name in ("nest_tiny_jx", "nest_tiny")
]
