"""Yangr116/ScalableViT, image_classification/models/scalablevit.py: `_init_weights`."""

from tests.models.initial_values import ONES, ZEROS, fan_out_normal, normal

CLASSES = {"ScalableViT": {"num_classes": 40}}
INITIAL = {
    "ScalableViT": [
        (r".*(conv|position|mixer\.local|mixer\.reduce)\.weight", fan_out_normal),
        (r"(.*norm\d?|head\.1)\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
