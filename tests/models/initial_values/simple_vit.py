"""google-research/big_vision, models/vit.py: `_Model` with posemb="sincos2d" and pool_type="gap".

The head starts from zeros there; the class says why it does not here.
"""

from tests.models.initial_values import ONES, ZEROS, normal, uniform

CLASSES = {"SimpleViT": {"dim": 64, "mlp_dim": 128}}
INITIAL = {
    "SimpleViT": [
        (r"patch_embed\.weight", normal((3 * 8 * 8) ** -0.5)),
        (r".*norm.*\.weight", ONES),
        (r".*mixer\.(qkv|proj)\.weight", uniform((6 / (64 + 64)) ** 0.5)),
        (r".*mlp\.fc[12]\.weight", uniform((6 / (64 + 128)) ** 0.5)),
        (r".*mlp\.fc[12]\.bias", normal(1e-6)),
        (r"head\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
