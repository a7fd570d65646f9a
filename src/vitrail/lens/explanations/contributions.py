"""Gradient-weighted attention (A ⊙ ∂s/∂A)⁺ of every layer, where s is the logit of a class.

This is what `relevance` and `attention_gradient` read. In a selective scan A is the matrix of each
channel, which is a head as Ali et al. 2024 (https://arxiv.org/abs/2403.01590) look at it.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import TierError
from vitrail.layers.mamba import Mamba, RecordedScan, in_order
from vitrail.lens.explanations.base import require_classes
from vitrail.lens.layer_keys import recorded_mixers
from vitrail.lens.record import recording
from vitrail.lens.trace import attended
from vitrail.models.base import Backbone
from vitrail.ops.selective_scan.matrix import positive_contributions


class Contributions(NamedTuple):
    """Gradient-weighted attention of one forward pass.

    Args:
        layers: per layer, the mean over heads of (A ⊙ ∂s/∂A)⁺, (B, T, T); windowed layers have
            (B · windows, T, T).
        readout: how much the logit reads each token after the blocks: the norm of its gradient,
            divided by the sum over tokens, (B, T). With a class token it is 1 for that token.
        prefix: number of prefix tokens, which come first.
        grid: patches per axis.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> contributions(model, torch.ones(1, 3, 8, 8)).readout
        tensor([[1., 0., 0., 0., 0.]])
    """

    layers: list[Tensor]
    readout: Tensor
    prefix: int
    grid: tuple[int, ...]

    def require_all_tokens(self, cure: str) -> None:
        """Checks that every layer attends from all tokens to all tokens.

        Args:
            cure: the explanation to use where one does not.

        Raises:
            TierError: a layer does not.
        """
        batch, tokens = self.readout.shape
        for layer in self.layers:
            if layer.shape != (batch, tokens, tokens):
                raise TierError(
                    f"{attended(layer, batch)}, not over all {tokens} tokens: use {cure}."
                )


def target_logits(logits: Tensor, target: Tensor | None) -> Tensor:
    """The logits that are explained.

    Args:
        logits: (B, classes).
        target: indices of classes (B,); None for the likeliest.

    Returns:
        (B,).

    Example:
        >>> target_logits(torch.tensor([[1.0, 3.0]]), None)
        tensor([3.])
    """
    index = logits.argmax(dim=1) if target is None else target
    return logits.gather(1, index[:, None]).squeeze(1)


def contributions(model: Backbone, images: Tensor, target: Tensor | None = None) -> Contributions:
    """Gradient-weighted attention of all layers, for the logit of a class.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        target: indices of classes (B,); None for the likeliest.

    Returns:
        Maps of each layer between tokens, and how the logit reads the tokens after them.

    Raises:
        TierError: the model has no classes, or no attention whose weights have gradients.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> contributions(model, torch.zeros(1, 3, 8, 8)).layers[0].shape
        torch.Size([1, 5, 5])
    """
    require_classes(model)
    mixers = recorded_mixers(model)
    scans: list[RecordedScan] = []
    weights: list[Tensor] = []
    attending = [key for key, mixer in mixers.items() if not isinstance(mixer, Mamba)]
    scanning = [mixer for mixer in mixers.values() if isinstance(mixer, Mamba)]
    if attending and scanning:
        raise TierError(
            f"this {type(model).__name__} mixes scans and attention, whose gradient-weighted maps "
            "are not comparable: use grad_cam, integrated_gradients or occlusion."
        )
    for key in attending:
        if not mixers[key].weights_have_gradients:
            raise TierError(
                f"{type(mixers[key]).__name__} does not compute its output from weights between "
                f"tokens, so this {type(model).__name__} has no gradients of them: use grad_cam or "
                "occlusion."
            )
    watch: contextlib.AbstractContextManager[None]
    if attending:
        watch = recording(model, lambda _, each: weights.append(each), gradients=True)
    else:
        watch = recorded_scans(scanning, scans)
    images = images.detach().requires_grad_()  # also where all parameters are frozen
    with torch.enable_grad(), watch:
        features = model.features(images)
        tokens = [features.prefix, features.patches]
        score = target_logits(model.head(model.pool(features)), target).sum()
    outputs = [*tokens, *weights, *(scan.output for scan in scans)]
    raw = torch.autograd.grad(score, outputs, allow_unused=True)
    gradients = [torch.zeros_like(o) if g is None else g for o, g in zip(outputs, raw, strict=True)]
    norms = torch.cat(gradients[:2], dim=1).detach().norm(dim=-1)
    readout = norms / norms.sum(1, keepdim=True).clamp_min(torch.finfo(norms.dtype).tiny)
    layers = [
        (weight.detach() * gradient).clamp(min=0).mean(dim=1)
        for weight, gradient in zip(weights, gradients[2 : 2 + len(weights)], strict=True)
    ]
    layers += [
        _of_scan(scan, gradient)
        for scan, gradient in zip(scans, gradients[2 + len(weights) :], strict=True)
    ]
    readout = readout.to(layers[-1].dtype)  # a scan of a half-precision model is in float32
    return Contributions(layers, readout, features.prefix.shape[1], features.grid)


@contextlib.contextmanager
def recorded_scans(mixers: list[Mamba], scans: list[RecordedScan]) -> Iterator[None]:
    """Within the context, every forward appends the scans of mixers to a list.

    Args:
        mixers: the mixers.
        scans: the list.

    Returns:
        A context manager.

    Example:
        >>> mixer, scans = Mamba(8, "v2"), []
        >>> with recorded_scans([mixer], scans):
        ...     _ = mixer(torch.zeros(1, 5, 8))
        >>> len(scans), mixer.scan_recorder
        (1, None)
    """
    before = [mixer.scan_recorder for mixer in mixers]
    for mixer in mixers:
        mixer.scan_recorder = scans.append
    try:
        yield
    finally:
        for mixer, recorder in zip(mixers, before, strict=True):
            mixer.scan_recorder = recorder


@torch.no_grad()
def _of_scan(scan: RecordedScan, gradient: Tensor) -> Tensor:
    """gradient (B, N, E or 2 E) of a scan's output → (B, N, N), the mean over its directions."""
    inputs = scan.inputs
    by_direction = gradient.chunk(math.ceil(gradient.shape[-1] / inputs.u.shape[-1]), dim=-1)
    layers = []
    for k, backwards in enumerate(scan.backwards):
        of_output = by_direction[k % len(by_direction)]
        if inputs.z is not None:
            of_output = of_output * F.silu(inputs.z)
        layers.append(positive_contributions(inputs, k, backwards, of_output))
    return in_order(torch.stack(layers).mean(dim=0), scan.order)
