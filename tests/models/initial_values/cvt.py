"""microsoft/CvT, lib/models/cls_cvt.py: `_init_weights_trunc_normal`; convolutions as PyTorch."""

from tests.models.initial_values import ONES, ZEROS, fan_in_uniform, normal

CLASSES = {"CvT": {"num_classes": 40}}
INITIAL = {
    "CvT": [
        (r".*conv\.(weight|bias)", fan_in_uniform),
        (r".*norm\d?\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
