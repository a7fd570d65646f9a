"""SigLIP's image tower in transformers."""

import transformers

from parity.pairs import Pair, Two, from_transformers
from parity.pairs.clip_vit import TEXT, VISION, pooled


def siglip(full: bool) -> Two:
    text = {**TEXT, "projection_size": 48}
    size = {} if full else {"vision_config": VISION, "text_config": text}
    return from_transformers(transformers.SiglipModel(transformers.SiglipConfig(**size)))


PAIRS = [
    Pair("SigLIPViT", "transformers SigLIP", siglip, ((32, 32), (48, 43)), (224, 224), run=pooled)
]
