"""CvT in transformers."""

import transformers

from parity.pairs import Pair, Two, from_transformers, logits


def build(full: bool) -> Two:
    small = {
        "num_labels": 7, "embed_dim": [16, 24, 32], "num_heads": [1, 2, 4], "depth": [1, 2, 3],
    }  # fmt: skip
    config = transformers.CvtConfig(
        **({"num_labels": 1000} if full else small), drop_path_rate=[0.0] * 3
    )
    return from_transformers(transformers.CvtForImageClassification(config))


PAIRS = [
    Pair("CvT", "transformers Cvt", build, ((64, 64), (72, 56)), (224, 224), run=logits),
]
