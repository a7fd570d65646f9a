"""naver-ai/pit, pit.py (timm 1.0.31 agrees): only tokens, positions and LayerNorms are set."""

from tests.models.initial_values import ONES, ZEROS, fan_in_uniform, normal

CLASSES = {"PiT": {"num_classes": 40, "pool": "both", "image_size": 64}}
INITIAL = {
    "PiT": [
        (r"(class_token|distillation_token|position)\.weight", normal(0.02)),
        (r".*norm\d?\.weight", ONES),
        (r".*norm\d?\.bias", ZEROS),
        (r".*\.(weight|bias)", fan_in_uniform),
    ]
}
