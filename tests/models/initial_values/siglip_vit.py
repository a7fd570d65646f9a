"""google-research/big_vision, models/vit.py: `_Model` with pool_type="map". The head is ours."""

from tests.models.initial_values import ONES, ZEROS, normal, uniform

CLASSES = {"SigLIPViT": {"dim": 64, "mlp_dim": 128}}
XAVIER = uniform((6 / (64 + 64)) ** 0.5)  # queries, keys and values are matrices of their own
INITIAL = {
    "SigLIPViT": [
        (r"patch_embed\.weight", normal((3 * 8 * 8) ** -0.5)),
        (r"position\.weight", normal(64**-0.5)),
        (r"attention_pool\.query\.weight", uniform((6 / (1 + 64)) ** 0.5)),
        (r".*norm.*\.weight", ONES),
        (r".*mixer\.(qkv|q|kv|proj)\.weight", XAVIER),
        (r".*mlp\.fc[12]\.weight", uniform((6 / (64 + 128)) ** 0.5)),
        (r".*mlp\.fc[12]\.bias", normal(1e-6)),
        (r"head\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
