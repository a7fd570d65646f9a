"""What the tests of all masked methods share: cases, and the gradient of the encoder's output."""

from typing import Any

import torch
from torch import Tensor

from tests.models.small import CASES, small
from vitrail.errors import ConfigError
from vitrail.methods.base import Batch
from vitrail.methods.masked import Masked
from vitrail.methods.masking import resize_mask
from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class


def cases(tier: tuple[type[Backbone], ...]) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Every small model of a tier, and its name."""
    selected = [case for case in CASES if issubclass(get_model_class(case[0]), tier)]
    return selected, ["-".join([name, *map(str, more.values())]) for name, more in selected]


def build(method: type[Masked], model: str, more: dict[str, Any], **settings: Any) -> Masked | None:
    """The method on a small model; None where the model's grid cannot be masked, in one line."""
    backbone = small(model, **more)
    try:
        return method(backbone, **settings)
    except ConfigError as problem:
        assert "pixels do not divide into" in str(problem) and "\n" not in str(problem)
        return None


def pixel_gradient(method: Masked, mask: Tensor) -> tuple[Tensor, Tensor]:
    """|gradient| of the encoder's output at images (B, *size), and which pixels are masked."""
    backbone = method.backbone
    outputs: list[Tensor] = []
    encode = backbone.encode

    def spy(features: Any) -> Any:
        out = encode(features)
        outputs.extend([out.patches, out.prefix])
        return out

    backbone.encode = spy  # type: ignore[method-assign]
    images = torch.rand(len(mask), backbone.channels, *backbone.image_size, requires_grad=True)
    method(Batch(images=images, patch_mask=mask))
    weighted = [(x * torch.randn_like(x)).sum() for x in outputs]
    (gradient,) = torch.autograd.grad(sum(weighted), images)
    size = backbone.image_size
    pixels = resize_mask(mask, method.layout.grid, size).unflatten(1, size)
    return gradient.abs().sum(1), pixels


def assert_no_leak(method: Masked, mask: Tensor) -> None:
    """Masked pixels have no gradient, and every visible cell has one."""
    gradient, masked = pixel_gradient(method, mask)
    assert (gradient[masked] == 0).all()
    assert not gradient.isnan().any()
    size = method.backbone.image_size
    for sample, sample_mask in zip(gradient, mask, strict=True):
        for index in (~sample_mask).nonzero()[:, 0]:
            alone = torch.zeros_like(sample_mask).index_fill(0, index, True)[None]
            cell = resize_mask(alone, method.layout.grid, size)
            assert sample[cell.unflatten(1, size)[0]].any()


def without_gradient(method: Masked) -> list[str]:
    """Parameters that one step leaves without a finite gradient."""
    backbone = method.backbone
    images = torch.rand(2, backbone.channels, *backbone.image_size)
    method.train()(Batch(images=images)).loss.backward()
    return [
        name
        for name, p in method.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
