"""PVT in transformers."""

import transformers

from parity.pairs import Pair, Two, from_transformers, logits


def transformers_pvt(full: bool) -> Two:
    small = {
        "image_size": 64, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 2, 1, 2],
        "num_attention_heads": [1, 2, 4, 4], "mlp_ratios": [4, 4, 3, 2], "num_labels": 7,
    }  # fmt: skip
    config = transformers.PvtConfig(**({"num_labels": 1000} if full else small))
    return from_transformers(transformers.PvtForImageClassification(config))


PAIRS = [
    Pair(
        "PVT",
        "transformers Pvt",
        transformers_pvt,
        ((64, 64),),
        (224, 224),
        "transformers fails at other sizes",
        run=logits,
    ),
]
