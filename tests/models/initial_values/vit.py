"""timm 1.0.31 vision_transformer.py, init_weights_vit_timm; dinov2 vision_transformer.py."""

from tests.models.initial_values import ONES, ZEROS, normal

CLASSES = {"ViT": {"dim": 64, "mlp_dim": 128, "layer_scale": 0.1, "registers": 4, "image_size": 64}}
INITIAL = {
    "ViT": [
        (r"patch_embed\.weight", normal((3 * 8 * 8) ** -0.5)),
        (r"(class_token|registers|position)\.weight", normal(0.02)),
        (r".*\.gamma", normal(0.0)._replace(mean=0.1)),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
