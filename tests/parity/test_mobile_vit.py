"""MobileViT's preprocessing, and what differs in vit-pytorch's."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil
from vit_pytorch.mobile_vit import MobileViT as TheirMobileViT

import vitrail
from parity.oracle import close, randomise

SMALL = {
    "image_size": 64, "num_labels": 7, "hidden_sizes": [16, 24, 32],
    "neck_hidden_sizes": [8, 8, 16, 24, 32, 40, 48],
}  # fmt: skip


def test_images_stay_rgb_where_theirs_turns_them_to_bgr(tmp_path: Path) -> None:
    config = transformers.MobileViTConfig(**SMALL)
    theirs = randomise(transformers.MobileViTForImageClassification(config))
    theirs.save_pretrained(tmp_path)
    settings = {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}
    published = {"do_center_crop": True, "do_flip_channel_order": True, "do_resize": True}
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({**published, **settings, "resample": 2})
    )
    photograph = torch.randint(0, 256, (3, 72, 100), dtype=torch.uint8)
    processor = MobileViTImageProcessorPil(**settings)
    pixels = processor(photograph.numpy(), return_tensors="pt")["pixel_values"]
    ours = vitrail.load(tmp_path)
    close(ours(ours.preprocess(photograph)), theirs(pixels).logits)


def test_the_original_counts_channels_of_places_that_do_not_fit() -> None:
    """vit-pytorch's fourth inverted residual reads channels[2], and is given channels[3]."""
    channels = [16, 16, 24, 32, 48, 48, 64, 64, 80, 80, 320]
    theirs = TheirMobileViT((64, 64), [64, 80, 96], channels, num_classes=7)
    with pytest.raises(RuntimeError, match="channels"):
        theirs(torch.randn(2, 3, 64, 64))
