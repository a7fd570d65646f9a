"""aanna0701/SPT_LSA_ViT, models/vit.py and SPT.py: Xavier's normal distribution, `torch.randn`."""

from tests.models.initial_values import ONES, ZEROS, constant, normal

CLASSES = {"SmallViT": {"dim": 64, "mlp_dim": 128, "heads": 4}}


def _xavier(inputs: int, outputs: int) -> float:
    return (2 / (inputs + outputs)) ** 0.5


INITIAL = {
    "SmallViT": [
        (r"(class_token|position)\.weight", normal(1.0)),
        (r".*\.temperature", constant(16**-0.5)),
        (r".*norm.*\.weight", ONES),
        (r"patch_embed\.proj\.weight", normal(_xavier(5 * 3 * 8 * 8, 64))),
        (r".*\.qkv\.weight", normal(_xavier(64, 3 * 64))),
        (r"blocks.*\.proj\.weight", normal(_xavier(64, 64))),
        (r".*\.fc[12]\.weight", normal(_xavier(64, 128))),
        (r"head\.weight", normal(_xavier(64, 5))),
        (r".*\.bias", ZEROS),
    ]
}
