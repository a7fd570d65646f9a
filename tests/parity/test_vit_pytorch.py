"""What vit-pytorch's ViT takes, ours takes. `pairs/vit.py` holds the same weights in both."""

import torch

import vitrail


def test_the_seeds_model_is_built_as_they_write_it() -> None:
    model = vitrail.ViT(
        image_size=256, patch_size=32, num_classes=1000, dim=1024, depth=6, heads=16, mlp_dim=2048
    ).eval()
    with torch.inference_mode():
        assert model(torch.randn(1, 3, 256, 256)).shape == (1, 1000)
