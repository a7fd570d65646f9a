"""ATSViT: which patches stay, and what batches and exports do with images that keep fewer."""

import pytest
import torch
from vit_pytorch import ats_vit

import vitrail
from parity.pairs.ats_vit import build
from tests.models.small import small
from vitrail.errors import ConfigError, TierError
from vitrail.lens.features import pca_colors
from vitrail.models.ats_vit import ATSViT, find_repeated, sample_tokens

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_points_are_the_paper_s_and_select_the_nearest() -> None:
    """Scores 1, 2, 3, 4 in another order: their sums are 0.1, 0.3, 0.6, 1."""
    scores = torch.tensor([[3.0, 1.0, 4.0, 2.0]])
    # points 1/4 and 3/4: nearest are 0.3 (score 2) and 0.6 (score 3)
    assert sample_tokens(scores, 2).tolist() == [[0, 3]]
    # points 1/8, 3/8, 5/8, 7/8: 0.1, 0.3, 0.6, 1
    assert sample_tokens(scores, 4).tolist() == [[0, 1, 2, 3]]
    # points 1/2: 0.6; and what is marked is never selected, not even by the lowest point
    assert sample_tokens(scores, 1).tolist() == [[0]]
    marked = torch.tensor([[False, True, False, True]])
    assert not set(sample_tokens(torch.tensor([[3.0, 0.0, 4.0, 0.0]]), 9, marked)[0].tolist()) & {
        1, 3,
    }  # fmt: skip


def test_an_image_keeps_its_tokens_once_whatever_its_batch_keeps() -> None:
    model = small("ATSViT", patch_size=4, samples=(0, 40, 12)).double()
    images = IMAGES.double()
    images[2] = 0.3  # a plain image
    kept = model.features(images).keep_indices
    assert kept.shape[1] <= 12
    for image, row in zip(images, kept, strict=True):
        alone = model.features(image[None])
        assert not find_repeated(alone.keep_indices).any()
        assert torch.equal(row.unique(), alone.keep_indices[0])
        torch.testing.assert_close(
            model.pool(alone)[0], model.pool(model.features(images))[kept.eq(row).all(1)][0]
        )


def test_an_exported_program_gives_the_same_logits() -> None:
    model = small("ATSViT", patch_size=4, samples=(0, 40, 12))
    with torch.no_grad():
        program = torch.export.export(model, (IMAGES,)).module()
        torch.testing.assert_close(program(IMAGES), model(IMAGES))


def test_weights_of_deit_fit() -> None:
    sizes = {
        "image_size": 32, "patch_size": 4, "num_classes": 5, "dim": 32, "depth": 2, "heads": 2,
        "mlp_dim": 48,
    }  # fmt: skip
    vit = vitrail.ViT(**sizes).eval()
    model = ATSViT(**sizes, samples=(0, 0)).eval()
    model.load_state_dict(vit.state_dict())
    torch.testing.assert_close(model(IMAGES), vit(IMAGES))


def test_the_original_samples_at_random_in_evaluation_too() -> None:
    ours, theirs = build(False)
    assert not torch.equal(theirs(IMAGES), theirs(IMAGES))
    assert torch.equal(ours(IMAGES), ours(IMAGES))
    assert isinstance(theirs, ats_vit.ViT)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 2 entries for depth=3: give one per block"):
        small("ATSViT", samples=(4, 4))
    model = small("ATSViT")
    with pytest.raises(TierError, match="patches were dropped"):
        pca_colors(model.features(IMAGES))
    model.cut(2)
    assert ATSViT(**model.config).config["samples"] == (0, 10)
