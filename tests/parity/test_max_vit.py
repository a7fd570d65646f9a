"""What is wrong with vit-pytorch's MaxViT, and not here."""

import pytest
import torch
from torch import nn
from vit_pytorch.max_vit import Dropsample, MaxViT, MBConv

from parity.oracle import images
from tests.models.small import small
from vitrail.layers import conv
from vitrail.layers.block import DropPath


@torch.inference_mode()
def test_a_shortcut_passes_where_the_map_is_halved() -> None:
    theirs = MBConv(8, 16, downsample=True).eval()
    nn.init.zeros_(theirs[-1].weight)
    assert not theirs(torch.randn(1, 8, 12, 12)).any()  # nothing is left of the map
    ours = conv.MBConv(8, 16, 2, activation=nn.GELU()).eval()
    nn.init.zeros_(ours.narrow.weight)
    nn.init.zeros_(ours.narrow.bias)
    x = torch.randn(1, 12, 12, 8)
    halved = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).mean(dim=(2, 4))
    torch.testing.assert_close(ours(x), ours.shortcut(halved))


def test_stochastic_depth_drops_samples() -> None:
    x = torch.ones(64, 1, 2, 4)
    dropped = Dropsample(0.5)(x)  # vit-pytorch drops columns, of all samples alike
    assert torch.equal(dropped, dropped[:1].expand(64, -1, -1, -1))
    with pytest.raises(RuntimeError):
        Dropsample(0.5)(torch.ones(64, 1, 2, 5))
    dropped = DropPath(0.5)(x)
    assert torch.equal(dropped, dropped[:, :, :1, :1].expand_as(x))
    assert set(dropped.flatten().tolist()) == {0.0, 2.0}


@torch.inference_mode()
def test_the_stem_is_more_than_one_convolution() -> None:
    theirs = MaxViT(num_classes=5, dim=32, depth=(1,), window_size=2).eval()
    black, picture = torch.zeros(1, 3, 16, 16), images(16, 16, batch=1)
    bend = theirs.conv_stem(2 * picture) - 2 * theirs.conv_stem(picture) + theirs.conv_stem(black)
    torch.testing.assert_close(bend, torch.zeros_like(bend), atol=1e-5, rtol=0)  # linear
    ours = small("MaxViT")
    twice, once, none = (ours.embed(k * picture).patches for k in (2, 1, 0))
    assert (twice - 2 * once + none).abs().max() > 0.001
