"""What names of models in other spellings may mean."""

import pytest

import vitrail
from vitrail.errors import ConfigError
from vitrail.models.registry import variants
from vitrail.models.spelling import similar_names


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("vit_base", "vit_base_patch16_224"),
        ("ViT-B/16", "vit_base_patch16_224"),
        ("vit_b_16", "vit_base_patch16_224"),
        ("google/vit-base-patch16-224", "vit_base_patch16_224"),
        ("swin_t", "swin_tiny_patch4_window7_224"),
        ("microsoft/swin-tiny-patch4-window7-224", "swin_tiny_patch4_window7_224"),
        ("facebook/deit-base-distilled-patch16-224", "deit_base_distilled_patch16_224"),
        ("dinov2_vits14", "dinov2_small"),
        ("dino_vits16", "vit_small_patch16_224"),
        ("openai/clip-vit-base-patch32", "vit_base_patch32_clip_quickgelu_224"),
    ],
)
def test_spellings_of_other_libraries(name: str, first: str) -> None:
    assert similar_names(name, variants())[0] == first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_base", "no model 'vit_base'. It may mean vit_base_patch16_224, "),
        ("base", r"It may mean .* or [0-9]+ others: vitrail.list_models\("),
        ("vit", "It may mean ViT, vit_tiny"),
        ("vitt_base", r"It may mean vit_base_.* others: vitrail.list_models\(\"vit_base_\*\"\)"),
        ("swinn_tiny", r"It may mean swin_tiny_patch4_window7_224\.$"),
        ("resnet50", "It is a convolutional network"),
        ("", "vitrail.list_models.. names all"),
        ("xyz", "vitrail.list_models.. names all"),
    ],
)
def test_one_line_says_what_a_name_may_mean(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as problem:
        vitrail.create_model(name)
    assert "vim_base" not in str(problem.value) or name == "base"
