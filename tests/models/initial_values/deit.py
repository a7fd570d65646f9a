"""DeiT's models.py on timm's vision_transformer.py: the patch projection is a plain nn.Conv2d."""

from tests.models.initial_values import ONES, ZEROS, normal, uniform

CLASSES = {"DeiT": {"dim": 64, "mlp_dim": 128, "image_size": 64, "num_classes": 40}}
INITIAL = {
    "DeiT": [
        (r"patch_embed\.(weight|bias)", uniform((3 * 8 * 8) ** -0.5)),
        (r"(class_token|distillation_token|position)\.weight", normal(0.02)),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
