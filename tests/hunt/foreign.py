"""Objects of other libraries, which users pass in the place of Vitrail's."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from torch.utils.data import DataLoader, TensorDataset

import parity  # noqa: F401, before timm asks for torchvision


@functools.cache
def foreign() -> dict[str, Any]:
    """One object of each kind, by what it is."""
    from timm.models.vision_transformer import VisionTransformer
    from transformers import BatchFeature, ViTConfig, ViTForImageClassification

    size: dict[str, Any] = {"patch_size": 4, "num_classes": 2, "depth": 1}
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=8, patch_size=4,
    )  # fmt: skip
    samples = TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4))
    return {
        "timm model": VisionTransformer(img_size=8, embed_dim=8, num_heads=2, **size).eval(),
        "transformers model": ViTForImageClassification(config).eval(),
        "transformers config": config,
        "BatchFeature": BatchFeature({"pixel_values": torch.zeros(1, 3, 8, 8)}),
        "DataFrame": pandas.DataFrame({"image": ["a.png"], "label": ["cat"]}),
        "Series": pandas.Series(["a.png", "b.png"]),
        "array of an image": np.zeros((8, 8, 3), np.uint8),
        "torch Dataset": samples,
        "torch DataLoader": DataLoader(samples, 2),
        "missing file": Path("missing") / "没有.png",
        "torch device": torch.device("cpu"),
        "torch dtype": torch.float16,
    }
