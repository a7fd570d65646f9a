"""facebookresearch/deit, cait_models.py: `cait_models` (timm 1.0.31 cait.py copies it).

Patches start as PyTorch's convolutions do.
"""

from tests.models.initial_values import ONES, ZEROS, constant, normal, uniform

CLASSES = {"CaiT": {"dim": 64, "heads": 8, "mlp_dim": 128, "layer_scale": 1e-5}}
INITIAL = {
    "CaiT": [
        (r"patch_embed\.(weight|bias)", uniform((3 * 8 * 8) ** -0.5)),
        (r"(class_token|position)\.weight", normal(0.02)),
        (r".*\.gamma", constant(1e-5)),
        (r".*norm.*\.weight", ONES),
        (r".*\.attend\.(before|after)\.weight", normal(0.02)),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
