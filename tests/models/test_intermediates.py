"""Features after blocks: which blocks, and the last norm."""

import pytest
import torch

from tests.models.small import images_for, small
from vitrail.errors import ConfigError, TierError
from vitrail.models.registry import model_classes
from vitrail.models.tiers import PyramidBackbone

# Models whose features are more than the last norm of the last block: the class token comes after
# the blocks there.
MORE_AFTER = {"CaiT"}


@pytest.mark.parametrize("name", sorted(model_classes()))
def test_the_last_block_s_with_the_last_norm_are_the_features(name: str) -> None:
    model = small(name)
    images = images_for(model)
    with torch.no_grad():
        features, (last,) = model.features(images), model.intermediates(images, 1, norm=True)
        if name in MORE_AFTER:
            assert last.patches.shape[-1] == features.patches.shape[-1]
            return
        assert torch.allclose(last.patches, features.patches, atol=1e-6)
        assert torch.allclose(last.prefix, features.prefix, atol=1e-6)
        if isinstance(model, PyramidBackbone) and model.dim[0] != model.dim[-1]:
            with pytest.raises(TierError, match=r"set norm=False, or layers=\[-1\]"):
                model.intermediates(images, norm=True)


def test_a_number_stands_for_the_last_blocks_and_nothing_for_all() -> None:
    model = small("ViT")
    images = images_for(model)
    every = model.intermediates(images)
    assert len(every) == 3
    for count in (1, 2, 3):
        last = model.forward_intermediates(images, count)
        assert len(last) == count
        pairs = zip(last, every[-count:], strict=True)
        assert all(torch.equal(one.patches, other.patches) for one, other in pairs)
    normed = model.intermediates(images, [0], norm=True)[0]
    assert torch.equal(normed.patches, model.norm(every[0].patches))
    for wrong in (0, 4, -1):
        with pytest.raises(ConfigError, match=rf"layers={wrong} is not within 1 to 3"):
            model.intermediates(images, wrong)
