"""What the tests of all masked methods share: cases, and the gradient of what the encoder gives."""

from typing import Any

import torch
from torch import Tensor

from tests.models.small import CASES, small
from vitrail.errors import ConfigError
from vitrail.methods.base import Masked
from vitrail.methods.masking import resize_mask
from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class


def cases(tier: tuple[type[Backbone], ...]) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Every small model of a tier, and what to call it."""
    chosen = [case for case in CASES if issubclass(get_model_class(case[0]), tier)]
    return chosen, ["-".join([name, *map(str, more.values())]) for name, more in chosen]


def made(method: type[Masked], model: str, more: dict[str, Any], **settings: Any) -> Masked | None:
    """The method on a small model; None if it says why not, in one line."""
    backbone = small(model, **more)
    try:
        return method(backbone, **settings)
    except ConfigError as problem:
        assert "do not divide into this" in str(problem) and "\n" not in str(problem)
        return None


def reach(method: Masked, mask: Tensor) -> tuple[Tensor, Tensor]:
    """|gradient| of the encoder's output at images (B, *size), and which pixels are hidden."""
    backbone = method.backbone
    seen: list[Tensor] = []
    encode = backbone.encode

    def spy(features: Any) -> Any:
        out = encode(features)
        seen.extend([out.patches, out.prefix])
        return out

    backbone.encode = spy  # type: ignore[method-assign]
    images = torch.rand(len(mask), backbone.channels, *backbone.image_size, requires_grad=True)
    method(images, None, mask)
    weighted = [(x * torch.randn_like(x)).sum() for x in seen]
    (slope,) = torch.autograd.grad(sum(weighted), images)
    size = backbone.image_size
    return slope.abs().sum(1), resize_mask(mask, method.layout.grid, size).unflatten(1, size)


def assert_no_leak(method: Masked, mask: Tensor) -> None:
    """Hidden pixels have no gradient, and every cell in view has one."""
    slope, hidden = reach(method, mask)
    assert (slope[hidden] == 0).all()
    assert not slope.isnan().any()
    for sample, under in zip(slope, mask, strict=True):
        for place in (~under).nonzero()[:, 0]:
            alone = torch.zeros_like(under).index_fill(0, place, True)[None]
            cell = resize_mask(alone, method.layout.grid, method.backbone.image_size)
            assert sample[cell.unflatten(1, method.backbone.image_size)[0]].any()


def silent(method: Masked) -> list[str]:
    """Parameters that one step leaves without a finite gradient."""
    backbone = method.backbone
    method.train()(torch.rand(2, backbone.channels, *backbone.image_size), None).loss.backward()
    return [
        name
        for name, p in method.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
