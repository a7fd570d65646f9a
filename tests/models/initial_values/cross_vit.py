"""IBM/CrossViT, models/crossvit.py (timm 1.0.31 crossvit.py copies it).

Patches start as PyTorch's convolutions do.
"""

from tests.models.initial_values import ONES, ZEROS, normal, uniform

CLASSES = {"CrossViT": {"dim": (64, 96), "heads": 4}}
INITIAL = {
    "CrossViT": [
        (r"scales\.0\.patch_embed\.(weight|bias)", uniform((3 * 8 * 8) ** -0.5)),
        (r"scales\.1\.patch_embed\.(weight|bias)", uniform((3 * 12 * 12) ** -0.5)),
        (r".*(class_token|position)\.weight", normal(0.02)),
        (r".*(norm.*|project_(in|out)\.0)\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
