"""whai362/PVT, classification/pvt.py: `_init_weights`; convolutions are PyTorch's own."""

from tests.models.initial_values import ONES, ZEROS, fan_in_uniform, normal

CLASSES = {"PVT": {"num_classes": 40}}
INITIAL = {
    "PVT": [
        (r"(.*conv|patch_embed)\.(weight|bias)", fan_in_uniform),
        (r".*norm\d?\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
