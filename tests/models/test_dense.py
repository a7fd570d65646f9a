"""Maps for detection and segmentation: what intermediates give fits a feature pyramid."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.small import CASES, small
from vitrail.models.registry import get_model_class
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone

NAMES = sorted({name for name, _ in CASES})
PYRAMIDS = [name for name in NAMES if issubclass(get_model_class(name), PyramidBackbone)]
SEQUENCES = [name for name in NAMES if issubclass(get_model_class(name), SequenceBackbone)]


class FeaturePyramid(nn.Module):
    """The top-down half of a feature pyramid network (Lin et al. 2017), for maps finest first."""

    def __init__(self, dims: list[int], dim: int = 8) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(d, dim, 1) for d in dims)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        for lateral, x in reversed(list(zip(self.lateral, maps, strict=True))):
            y = lateral(x)
            outputs.insert(0, y + F.interpolate(outputs[0], y.shape[2:]) if outputs else y)
        return outputs


def images_for(model: nn.Module) -> Tensor:
    return torch.randn(2, model.channels, *model.image_size)


@pytest.mark.parametrize("name", PYRAMIDS)
def test_a_feature_pyramid_trains_on_a_pyramid(name: str) -> None:
    model = small(name)
    maps = [
        f.to_map(channels_first=True)
        for f in model.intermediates(images_for(model), range(len(model.blocks)))
    ]
    assert [m.shape[1] for m in maps] == list(model.dim)
    head = FeaturePyramid(list(model.dim))
    outputs = head(maps)
    assert [o.shape[2:] for o in outputs] == [m.shape[2:] for m in maps]
    sum((o * torch.randn_like(o)).sum() for o in outputs).backward()
    blocks = [n for n, p in model.named_parameters() if "blocks." in n]
    reached = [n for n, p in model.named_parameters() if p.grad is not None]
    assert set(blocks) <= set(reached), "a stage that its own map does not train"


@pytest.mark.parametrize("name", SEQUENCES)
def test_chosen_layers_of_a_sequence_are_maps(name: str) -> None:
    model = small(name)
    maps = [f.to_map(channels_first=True) for f in model.intermediates(images_for(model), (0, -1))]
    outputs = FeaturePyramid([m.shape[1] for m in maps])(maps)
    assert all(o.shape[2:] == torch.Size(model.grid) for o in outputs)
