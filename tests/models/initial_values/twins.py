"""Meituan-AutoML/Twins, gvt.py: `_init_weights`; timm 1.0.31 agrees."""

from tests.models.initial_values import ONES, ZEROS, fan_out_normal, normal

CLASSES = {"Twins": {"num_classes": 40}}
INITIAL = {
    "Twins": [
        (r"(.*conv|patch_embed|.*position)\.weight", fan_out_normal),
        (r".*norm\d?\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
