"""IBM/RegionViT, regionvit/regionvit.py: `_init_weights`; convolutions are PyTorch's own."""

from tests.models.initial_values import ONES, ZEROS, fan_in_uniform, normal

CLASSES = {"RegionViT": {"num_classes": 40}}
INITIAL = {
    "RegionViT": [
        (r"(.*conv|patch_embed|region_embed|.*downsample\.2)\.(weight|bias)", fan_in_uniform),
        (r".*bias\.table", normal(0.02)),
        (r".*(norm\d?|downsample\.0)\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
