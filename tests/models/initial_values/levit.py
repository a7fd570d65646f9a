"""facebookresearch/LeViT, levit.py: `Linear_BN`, `Conv2d_BN`, `BN_Linear`; timm 1.0.31 agrees."""

from tests.models.initial_values import ONES, ZEROS, fan_in_uniform, normal

CLASSES = {"LeViT": {"num_classes": 40}}
INITIAL = {
    "LeViT": [
        (r".*attention\.bias\.table", ZEROS),
        (r".*\.(conv|linear)\.weight", fan_in_uniform),
        (r".*narrow\.norm\.weight", ZEROS),
        (r".*blocks\.\d+\.attention\.proj\.norm\.weight", ZEROS),
        (r".*(norm|head\.(cls|dist)\.0)\.weight", ONES),
        (r"head\.(cls|dist)\.1\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
