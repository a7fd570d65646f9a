"""apple/ml-cvnets, cvnets/misc/init_utils.py with config/classification/imagenet/mobilevit.yaml:
convolutions "kaiming_normal" by fan-out, which counts no groups, and linear layers of std 0.02."""

from collections.abc import Mapping

from torch import Tensor

from tests.models.initial_values import ONES, ZEROS, normal


def kaiming_normal(parameters: Mapping[str, Tensor], name: str) -> float:
    """√(2 / fan_out), with all outputs in it; the last 1×1 convolution is a matrix."""
    weight = parameters[name]
    return float((2 / (len(weight) * weight[0, 0].numel())) ** 0.5)


CLASSES = {"MobileViT": {"num_classes": 40}}
INITIAL = {
    "MobileViT": [
        (r"(.*\.)?(conv|widen)\.weight", kaiming_normal),
        (r"last\.linear\.weight", kaiming_normal),
        (r".*norm\d?\.weight", ONES),
        (r".*\.weight", normal(0.02)),
        (r".*\.bias", ZEROS),
    ]
}
