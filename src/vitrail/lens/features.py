"""Patch features as colours."""

import torch
from torch import Tensor

from vitrail.models.base import Features


def pca_colours(features: Features) -> Tensor:
    """The first three principal components of patch features as red, green and blue.

    Patches that mean alike look alike, within an image and across the batch: components are those
    of all patches together. Signs and order are fixed, so the same features give the same
    picture. Returns uint8 (B, H, W, 3).
    """
    patches = features.patches.float()
    flat = patches.flatten(0, 1)
    centred = flat - flat.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    components = axes[:3]
    # A component's sign is arbitrary: make its largest entry positive.
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    projected = centred @ (components * largest.sign()).T
    if projected.shape[1] < 3:
        missing = projected.new_zeros(len(projected), 3 - projected.shape[1])
        projected = torch.cat([projected, missing], dim=1)
    # Outliers would make the rest of the picture grey.
    low = projected.quantile(0.02, dim=0)
    high = projected.quantile(0.98, dim=0)
    scaled = (projected - low) / (high - low).clamp(min=1e-6)
    colours = (scaled.clamp(0, 1) * 255).round().to(torch.uint8)
    return colours.reshape(len(patches), *features.grid, 3)
