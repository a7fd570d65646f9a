"""Figures that methods draw of what they have learned."""

import numpy as np
import torch

from vitrail.lens import grids

IMAGES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


def test_similarities_have_a_color_for_either_sign() -> None:
    cosines = torch.tensor([[0.5, -0.5, 0.0], [-0.1, 0.1, 0.25]])
    drawn = grids.similarity_matrix(IMAGES, ["a cat", "a dog", "a" * 40], cosines)
    assert drawn.dtype == np.uint8
    colors = {tuple(color) for color in drawn.reshape(-1, 3)}
    blue, red = (5, 48, 97), (103, 0, 31)  # the ends of the map, as far from white as each other
    assert blue in colors and red in colors
    flat = grids.similarity_matrix(IMAGES, ["a cat", "a dog"], torch.zeros(2, 2))
    assert (flat.reshape(-1, 3) == blue).all(1).sum() == 0
