"""LeViT at other sizes, and what differs in vit-pytorch's."""

import torch
from vit_pytorch.levit import LeViT as TheirLeViT

from parity.oracle import images, randomise
from tests.models.small import small
from vitrail.models.surgery import resized


def test_tables_are_resampled_for_another_size() -> None:
    model = randomise(small("LeViT"))
    larger = images(112, 160)
    expected = model(larger)
    other = resized(model, (112, 160))
    assert other.grid == (7, 10)
    torch.testing.assert_close(other(larger), expected)
    tables = [(m.blocks[1].downsample.attention.bias.table) for m in (model, other)]
    # no distance, and the largest: the corners of both tables
    torch.testing.assert_close(tables[0][:, [0, -1]], tables[1][:, [0, -1]])


def test_the_original_has_a_linear_stem() -> None:
    """vit-pytorch's four convolutions have neither norms nor activations between them."""
    options = {"num_classes": 7, "dim": (32, 48, 64), "depth": 1, "heads": (2, 3, 4)}
    stem = TheirLeViT(image_size=96, mlp_mult=2, **options).conv_embedding.double()
    a, b = images(96, 96).double(), images(96, 96).double().flip(0)
    nothing = stem(torch.zeros_like(a))
    torch.testing.assert_close(stem(a + b) + nothing, stem(a) + stem(b))
    stem = small("LeViT").double().stem
    nothing = stem(torch.zeros_like(a))
    assert not torch.allclose(stem(a + b) + nothing, stem(a) + stem(b), rtol=0.01)
