"""Features by name and by index."""

import pytest
import torch

from vitrail.errors import DataError
from vitrail.models.features import Features


def test_fields_go_by_name_and_by_index() -> None:
    features = Features(torch.zeros(1, 6, 2), torch.zeros(1, 1, 2), (2, 3))
    for index, name in enumerate(features._fields):
        assert features[name] is features[index] is getattr(features, name)
    patches, prefix, grid = features[:3]
    assert patches is features.patches and prefix is features.prefix and grid == (2, 3)
    with pytest.raises(KeyError, match="patch: Features has patches, .* Did you mean 'patches'"):
        features["patch"]


def test_names_compile() -> None:
    class Tokens(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Features(x, x[:, :0], (3,))["patches"] + Features(x, x, (3,))[0]

    x = torch.randn(1, 3, 2)
    assert torch.equal(torch.compile(Tokens(), backend="eager", fullgraph=True)(x), 2 * x)


def test_a_map_without_a_grid_is_one_line() -> None:
    with pytest.raises(DataError, match=r"map of shape \(2, 4\) has no grid"):
        Features.from_map(torch.zeros(2, 4))
