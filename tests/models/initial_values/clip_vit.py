"""openai/CLIP, clip/model.py: `VisionTransformer`, whose layers start as PyTorch has them.

`nn.MultiheadAttention` starts from Xavier's uniform distribution, biases of 0. The head is ours.
"""

from tests.models.initial_values import ONES, ZEROS, normal, uniform

CLASSES = {"CLIPViT": {"dim": 64, "mlp_dim": 128}}
INITIAL = {
    "CLIPViT": [
        (r"patch_embed\.weight", uniform((3 * 8 * 8) ** -0.5)),
        (r"(class_token|position)\.weight", normal(64**-0.5)),
        (r".*norm.*\.weight", ONES),
        (r".*norm.*\.bias", ZEROS),
        (r".*\.qkv\.weight", uniform((6 / (64 + 3 * 64)) ** 0.5)),
        (r".*\.(qkv|proj)\.bias", ZEROS),
        (r".*\.proj\.weight", uniform(64**-0.5)),
        (r".*\.fc1\.(weight|bias)", uniform(64**-0.5)),
        (r".*\.fc2\.(weight|bias)", uniform(128**-0.5)),
        (r"head\.weight", normal(0.02)),
        (r"head\.bias", ZEROS),
    ]
}
