"""hustvl/Vim models_mamba.py, _init_weights and segm_init_weights; mamba_simple.py, Mamba."""

import math
import statistics

from tests.models.initial_values import ONES, ZEROS, Start, normal, uniform

DIM, DEPTH, STATES, PATCH = 64, 4, 16, 8
KEYWORDS = {"dim": DIM, "depth": DEPTH, "bias": True, "layer_scale": 0.1, "image_size": 64}
CLASSES = {
    "VisionMamba": {**KEYWORDS, "pairs": "gate", "fusion": "gate"},
    "OfficialVisionMamba": {**KEYWORDS, "scan": "v1"},
}


def spread(values: list[float]) -> Start:
    return Start(statistics.fmean(values), statistics.pstdev(values))


def step_size_bias(steps: int = 10_000) -> Start:
    """Inverse softplus of step sizes whose logarithm is uniform from log 0.001 to log 0.1."""
    low, high = math.log(1e-3), math.log(1e-1)
    logs = [low + (high - low) * (i + 0.5) / steps for i in range(steps)]
    return spread([math.log(math.expm1(math.exp(x))) for x in logs])


INNER = 2 * DIM
ROWS = [
    (r"patch_embed\.weight", normal((3 * PATCH**2) ** -0.5)),
    (r"(class_token|position|head)\.weight", normal(0.02)),
    (r".*\.in_proj\.weight", uniform(DIM**-0.5)),
    (r".*\.out_proj\.weight", uniform((INNER * DEPTH) ** -0.5)),
    (r".*\.x_proj", uniform(INNER**-0.5)),
    (r".*\.conv_(weight|bias)", uniform(4**-0.5)),
    (r".*\.dt_weight", uniform((DIM / 16) ** -0.5)),
    (r".*\.dt_bias", step_size_bias()),
    (r".*\.A_log", spread([math.log(n + 1) for n in range(STATES)])),
    (r".*\.D", ONES),
    (r".*\.gamma", Start(0.1, 0.0)),
    (r".*norm\.weight", ONES),
    (r".*\.bias", ZEROS),
]
INITIAL = {"VisionMamba": [(r".*\.gate", ZEROS), *ROWS], "OfficialVisionMamba": ROWS}
