"""SHI-Labs/Compact-Transformers, src/utils/transformers.py and tokenizer.py: `init_weight`."""

from tests.models.initial_values import ONES, ZEROS, normal

CLASSES = {"CCT": {"dim": 64, "mlp_dim": 128, "convolutions": 2, "patch_size": 3, "stride": 1}}
INITIAL = {
    "CCT": [
        (r"tokenizer\.0\.weight", normal((2 / (3 * 9)) ** 0.5)),
        (r"tokenizer\.3\.weight", normal((2 / (64 * 9)) ** 0.5)),
        (r"position\.weight", normal(0.2)),
        (r".*norm.*\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
