"""google-research/maxvit, maxvit/models/maxvit.py: `kernel_initializer`, `bias_initializer`."""

from tests.models.initial_values import ONES, ZEROS, normal

CLASSES = {"MaxViT": {"num_classes": 40}}
INITIAL = {
    "MaxViT": [
        (r".*bias\.table", normal(0.02)),
        (r".*(norm\d?|neck\.0)\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
