"""No code was published: ViT's values, LeCun's for patches as in the authors' big_vision."""

from tests.models.initial_values import ONES, ZEROS, normal

CLASSES = {"NaViT": {"dim": 64, "mlp_dim": 128}}
INITIAL = {
    "NaViT": [
        (r"patch_embed\.weight", normal((3 * 8 * 8) ** -0.5)),
        (r"position\.(rows|columns)", normal(0.02)),
        (r"attention_pool\.query\.weight", normal(0.02)),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
