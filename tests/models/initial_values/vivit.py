"""google-research/scenic, projects/vivit/model.py, and flax; the head there starts from zero."""

from tests.models.initial_values import ONES, ZEROS, normal, uniform

CLASSES = {"ViViT": {"dim": 64, "mlp_dim": 128, "num_classes": 40}}
INITIAL = {
    "ViViT": [
        (r"patch_embed\.weight", normal((3 * 2 * 8 * 8) ** -0.5)),
        (r"class_token\.weight", ZEROS),
        (r"position\.weight", normal(0.02)),
        (r".*norm.*\.weight", ONES),
        (r".*\.(qkv|proj)\.weight", uniform((6 / (64 + 64)) ** 0.5)),
        (r".*\.fc[12]\.weight", uniform((6 / (64 + 128)) ** 0.5)),
        (r"head\.weight", normal(0.02)),
        (r".*\.fc[12]\.bias", normal(1e-6)),
        (r".*\.bias", ZEROS),
    ]
}
