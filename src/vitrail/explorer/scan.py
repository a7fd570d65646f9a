"""The scans of a Mamba layer: their order over the patches, and how fast they forget."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import TierError
from vitrail.explorer.arrays import encode_array
from vitrail.layers.mamba import Mamba, RecordedScan, in_order
from vitrail.layers.recording import RecordedMixer
from vitrail.models.base import Backbone
from vitrail.ops.selective_scan import Scan


@torch.inference_mode()
def scan_values(model: Backbone, inputs: Tensor, mixer: RecordedMixer) -> dict[str, Any]:
    """The scans of one layer.

    Args:
        model: the model, in evaluation mode.
        inputs: one normalized image (1, C, H, W).
        mixer: a Mamba mixer of the model.

    Returns:
        `order`, the index of each token of the sequence among [prefix, patches]; `directions`, per
        scan its name and whether it begins at the end; and `array` (directions, T, T) over
        [prefix, patches]: row i, column j is the fraction of what token i wrote into the state that
        is left when the scan reaches token j, 0 before it.

    Raises:
        TierError: the layer is no Mamba.

    Example:
        >>> model = vitrail.VisionMamba(8, 4, num_classes=2, dim=8, depth=1).eval()
        >>> values = scan_values(model, torch.zeros(1, 3, 8, 8), model.blocks[0].mixer)
        >>> values["order"], values["array"]["shape"]
        ([1, 2, 0, 3, 4], [2, 5, 5])
    """
    if not isinstance(mixer, Mamba):
        raise TierError(f"a {type(model).__name__} has no scan: the page shows those of a Mamba.")
    scans: list[RecordedScan] = []
    before, mixer.scan_recorder = mixer.scan_recorder, scans.append
    try:
        model.features(inputs)
    finally:
        mixer.scan_recorder = before
    scan, backwards, order, _output = scans[0]
    length = scan.u.shape[2]
    fractions = [surviving(scan, k, reverse)[0] for k, reverse in enumerate(backwards)]
    names = ["scan from the end" if reverse else "scan from the start" for reverse in backwards]
    return {
        "order": list(range(length)) if order is None else order.tolist(),
        "directions": [
            {"name": name, "backwards": reverse}
            for name, reverse in zip(names, backwards, strict=True)
        ],
        "array": encode_array(in_order(torch.stack(fractions), order)),
    }


def surviving(scan: Scan, k: int, backwards: bool) -> Tensor:
    """How much of what each token wrote into the state is left when the scan reaches another.

    Token s writes Δ_s B_s u_s into the state, and each later token multiplies the state by
    exp(Δ A). The fraction is of the sum of magnitudes over all channels and states.

    Args:
        scan: the inputs.
        k: index of the direction.
        backwards: whether it runs from the last token to the first.

    Returns:
        (B, L, L), row s, column t: 1 for t = s, and 0 where the scan has passed t before s.

    Example:
        >>> u, D = torch.ones(1, 1, 3, 1), torch.zeros(1, 1)
        >>> scan = Scan(u, u, -u[:, 0, :1], u, u, D, D, None)
        >>> step = torch.nn.functional.softplus(torch.tensor(1.0))
        >>> torch.allclose(surviving(scan, 0, False)[0, 0], torch.exp(-step * torch.arange(3)))
        True
    """
    scan = scan.exact()
    step = F.softplus(scan.delta[k] + scan.bias[k])  # (B, L, E)
    written = ((step * scan.u[k])[..., None] * scan.B[k][:, :, None]).abs()  # (B, L, E, S)
    total = step.double().cumsum(1)
    total = total - step if backwards else total  # what a token multiplies is its own step
    length = step.shape[1]
    fractions = step.new_zeros(len(step), length, length)
    for s in range(length):
        later = slice(0, s + 1) if backwards else slice(s, length)
        passed = (total[:, later] - total[:, s, None]).abs().to(step.dtype)
        decay = (passed[..., None] * scan.A[k]).exp()  # (B, later, E, S)
        left = torch.einsum("btes, bes -> bt", decay, written[:, s])
        fractions[:, s, later] = left / written[:, s].sum((1, 2)).clamp(min=1e-30)[:, None]
    return fractions
