"""timm 1.0.31 nest.py, `_init_nest_weights`, which copies google-research/nested-transformer."""

from tests.models.initial_values import ONES, ZEROS, normal

CLASSES = {"NesT": {"num_classes": 40}}
INITIAL = {
    "NesT": [
        (r".*norm\d?\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
