"""whai362/PVT, classification/pvt_v2.py: `_init_weights`; timm 1.0.31 agrees."""

from tests.models.initial_values import ONES, ZEROS, fan_out_normal, normal

CLASSES = {"PVTv2": {"num_classes": 40}}
INITIAL = {
    "PVTv2": [
        (r".*(conv|activation)\.weight", fan_out_normal),
        (r".*norm\d?\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
