"""yitu-opensource/T2T-ViT, models/t2t_vit.py: `_init_weights`."""

from tests.models.initial_values import ONES, ZEROS, normal

CLASSES = {"T2TViT": {"dim": 64, "mlp_dim": 128}}
INITIAL = {
    "T2TViT": [
        (r"class_token\.weight", normal(0.02)),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
