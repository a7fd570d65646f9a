"""facebookresearch/xcit, xcit.py: `_init_weights`; convolutions are PyTorch's own."""

from tests.models.initial_values import ONES, ZEROS, constant, normal, uniform

CLASSES = {"XCiT": {"dim": 64, "mlp_dim": 128, "layer_scale": 0.1}}
INITIAL = {
    "XCiT": [
        (r"class_token\.weight", normal(0.02)),
        (r"patch_embed\.0\.conv\.weight", uniform((3 * 9) ** -0.5)),
        (r"patch_embed\.1\.conv\.weight", uniform((16 * 9) ** -0.5)),
        (r"patch_embed\.2\.conv\.weight", uniform((32 * 9) ** -0.5)),
        (r"positions\.proj\.(weight|bias)", uniform(64**-0.5)),
        (r".*\.conv[12]\.(weight|bias)", uniform(9**-0.5)),
        (r".*\.gamma", constant(0.1)),
        (r".*\.temperature", ONES),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
