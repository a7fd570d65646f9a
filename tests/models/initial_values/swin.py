"""microsoft/Swin-Transformer, models/swin_transformer.py: `_init_weights`; the patch projection is
PyTorch's own."""

from tests.models.initial_values import ONES, ZEROS, fan_in_uniform, normal

CLASSES = {"Swin": {"num_classes": 40}}
INITIAL = {
    "Swin": [
        (r"patch_embed\.(weight|bias)", fan_in_uniform),
        (r".*bias\.table", normal(0.02)),
        (r".*norm\d?\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
