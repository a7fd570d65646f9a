"""liwei109/SepViT, classification/sepvit.py: `_init_weights`, and `win_tokens` of zeros."""

from tests.models.initial_values import ONES, ZEROS, fan_out_normal, normal

CLASSES = {"SepViT": {"num_classes": 40}}
INITIAL = {
    "SepViT": [
        (r".*window_tokens\.weight", ZEROS),
        (r".*(conv|position)\.weight", fan_out_normal),
        (r".*norm\d?\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
