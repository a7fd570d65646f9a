"""zhoudaquan/dvit_repo, models/deep_vision_transformer.py, but for Θ.

The norm after Θ is vit-pytorch's, not the authors', and so is Θ's start: from their Conv2d's, which
is smaller, the epsilon of a norm over heads would be as large as what it normalizes. The bias of Θ
starts from zeros, as if there were none: from their Conv2d's it would be far larger than the
attention weights that a norm over heads compares it with. Patches start as PyTorch's convolutions
do.
"""

from tests.models.initial_values import ONES, ZEROS, normal, uniform

CLASSES = {"DeepViT": {"dim": 64, "heads": 8, "mlp_dim": 128}}
INITIAL = {
    "DeepViT": [
        (r"patch_embed\.(weight|bias)", uniform((3 * 8 * 8) ** -0.5)),
        (r"(class_token|position)\.weight", normal(0.02)),
        (r".*\.theta", normal(1.0)),
        (r".*(norm.*|attend\.after)\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.(theta_)?bias", ZEROS),
    ]
}
