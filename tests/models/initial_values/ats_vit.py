"""Those of DeiT, whose weights the paper starts from."""

from tests.models.initial_values import ONES, ZEROS, fan_in_uniform, normal

CLASSES = {"ATSViT": {"dim": 64, "mlp_dim": 128}}
INITIAL = {
    "ATSViT": [
        (r"patch_embed\..*", fan_in_uniform),
        (r"(position|class_token)\.weight", normal(0.02)),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
