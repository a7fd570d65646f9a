"""microsoft/unilm, beit/modeling_finetune.py: `VisionTransformer` (timm 1.0.31 copies it).

`fix_init_weight` divides the last linear layers of block i = 1, 2, … by √(2 i), `init_scale` makes
the head a thousandth. Patches start as PyTorch's convolutions do.
"""

from tests.models.initial_values import ONES, ZEROS, Start, constant, normal, uniform

CLASSES = {"BEiT": {"dim": 64, "mlp_dim": 128}}
PIXELS = 3 * 8 * 8
INITIAL: dict[str, list[tuple[str, Start]]] = {
    "BEiT": [
        (r"patch_embed\.(weight|bias)", uniform(PIXELS**-0.5)),
        *(
            (rf"blocks\.{i}\.(mixer\.proj|mlp\.fc2)\.weight", normal(0.02 / (2 * (i + 1)) ** 0.5))
            for i in range(3)
        ),
        (r"class_token\.weight", normal(0.02)),
        (r".*bias\.table", ZEROS),
        (r".*\.[qv]_bias", ZEROS),
        (r".*\.gamma", constant(0.1)),
        (r".*norm.*\.weight", ONES),
        (r"head\.weight", normal(0.02 / 1000)),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
