"""cheerss/CrossFormer, models/crossformer.py: `_init_weights`; convolutions are PyTorch's own."""

from tests.models.initial_values import ONES, ZEROS, fan_in_uniform, normal

CLASSES = {"CrossFormer": {"num_classes": 40}}
INITIAL = {
    "CrossFormer": [
        (r".*\.convs\.\d\.(weight|bias)", fan_in_uniform),
        (r".*(norm\d?|mlp\.[147]|downsample\.0)\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
