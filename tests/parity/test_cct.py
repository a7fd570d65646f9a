"""CCT: what differs from vit-pytorch's."""

import pytest
import torch
from vit_pytorch import cct

from parity.oracle import close, images
from parity.pairs.cct import build


def test_fixed_positions() -> None:
    ours, theirs = build(False, "sincos")  # their table is float32 whatever the model is
    close(ours(images(32, 32)), theirs(images(32, 32)))


def test_the_original_cannot_do_without_positions_at_a_smaller_size() -> None:
    ours, _ = build(False, "none")
    assert ours(images(24, 24)).shape == (2, 7)
    theirs = cct.cct_2(img_size=32, positional_embedding="none")
    with pytest.raises(AttributeError, match="n_channels"):
        theirs(torch.randn(2, 3, 24, 24))
