"""The smallest pyramid there is: what its tier promises."""

import pytest
import torch
import torch.nn.functional as F

from vitrail.errors import TierError
from vitrail.layers.patch import PatchEmbed
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.tiers import PyramidBackbone


class Halve(torch.nn.Module):
    """A stage that averages 2 x 2 patches."""

    def forward(self, features: Features) -> Features:
        image = F.avg_pool2d(features.to_map(channels_first=True), 2)
        return features._replace(patches=image.flatten(2).mT, grid=tuple(image.shape[2:]))


class Toy(PyramidBackbone):
    """The least pyramid there is."""

    def __init__(self, image_size: int = 16, num_classes: int = 3) -> None:
        super().__init__(image_size, 3, num_classes)
        self.patch_embed = PatchEmbed((2, 2), 3, 8)
        self.blocks = torch.nn.ModuleList([Halve(), Halve()])
        self.norm = torch.nn.LayerNorm(8)
        self.head = self.make_head(num_classes)

    pooled_dim = 8

    def embed(self, images: torch.Tensor) -> Features:
        patches, grid = self.patch_embed(images)
        return Features(patches, patches[:, :0], grid)

    def pool(self, features: Features) -> torch.Tensor:
        return features.patches.mean(1)


def test_a_pyramid_shrinks_its_grid_and_refuses_to_drop() -> None:
    model: Backbone = Toy()
    images = torch.randn(2, 3, 16, 16)
    assert model(images).shape == (2, 3)
    assert [f.grid for f in model.intermediates(images, [0, -1])] == [(4, 4), (2, 2)]
    dropped = model.embed(images).take(torch.tensor([[0, 1], [2, 3]]))
    with pytest.raises(TierError, match="Toy needs every patch"):
        model.encode(dropped)
    with pytest.raises(TierError, match="fills no grid"):
        dropped.to_map(channels_first=True)
