"""facebookresearch/deit, models_v2.py: `vit_models` (timm 1.0.31 vision_transformer.py, "timm").

Patches start as PyTorch's convolutions do.
"""

from tests.models.initial_values import ONES, ZEROS, constant, normal, uniform

CLASSES = {"ParallelViT": {"dim": 64, "mlp_dim": 128}}
INITIAL = {
    "ParallelViT": [
        (r"patch_embed\.(weight|bias)", uniform((3 * 8 * 8) ** -0.5)),
        (r"(class_token|position)\.weight", normal(0.02)),
        (r".*\.gamma", constant(0.5)),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
