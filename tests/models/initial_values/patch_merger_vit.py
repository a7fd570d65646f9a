"""No initial values were published: those of ViT; queries as in vit-pytorch 1.26.11."""

from tests.models.initial_values import ONES, ZEROS, normal

CLASSES = {"PatchMergerViT": {"dim": 64, "mlp_dim": 128}}
INITIAL = {
    "PatchMergerViT": [
        (r"patch_embed\.weight", normal((3 * 8 * 8) ** -0.5)),
        (r"position\.weight", normal(0.02)),
        (r".*\.queries", normal(1.0)),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
