"""No initial values were published: those of DeiT, and the mixers' own, which `layers/` have.

Nyströmformer's convolution starts as PyTorch has it, as in mlpen/Nystromformer.
"""

from tests.models.initial_values import ONES, ZEROS, normal, uniform

CLASSES = {"EfficientViT": {"dim": 64, "mlp_dim": 128}}
INITIAL = {
    "EfficientViT": [
        (r"patch_embed\.(weight|bias)", uniform((3 * 8 * 8) ** -0.5)),
        (r"(class_token|position)\.weight", normal(0.02)),
        (r".*\.attend\.conv\.weight", uniform(33**-0.5)),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
