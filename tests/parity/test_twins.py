"""What is wrong with vit-pytorch's Twins-SVT, and not here."""

import pytest
import torch
from einops import EinopsError
from vit_pytorch.twins_svt import GlobalAttention, LocalAttention, TwinsSVT

import vitrail
from vitrail.layers.spatial_reduction import ReducedAttention
from vitrail.layers.window import WindowAttention


@torch.inference_mode()
def test_windows_need_not_divide_the_map() -> None:
    narrow = {f"s{stage}_emb_dim": 8 for stage in (1, 2, 3, 4)}
    with pytest.raises(EinopsError):
        TwinsSVT(num_classes=5, **narrow)(torch.randn(1, 3, 256, 256))
    narrow = {"dim": (8, 8, 8, 8), "heads": (1, 1, 1, 1), "depth": (2, 1, 1, 1)}
    ours = vitrail.create_model("twins_svt_small", num_classes=5, **narrow).eval()
    assert ours(torch.randn(1, 3, 256, 256)).shape == (1, 5)


def test_the_small_one_has_as_many_blocks_as_the_paper_says() -> None:
    # vit-pytorch adds a pair of blocks before the positions of each stage to those it is asked for,
    # and its last stage has no windows.
    with torch.device("meta"):
        stages = list(TwinsSVT(num_classes=5).layers)[:4]
    kinds = (LocalAttention, GlobalAttention)
    theirs = [[sum(isinstance(m, k) for m in s.modules()) for k in kinds] for s in stages]
    assert theirs == [[2, 2], [2, 2], [6, 6], [0, 5]]
    with torch.device("meta"):
        stages = list(vitrail.create_model("twins_svt_small").blocks)
    kinds = (WindowAttention, ReducedAttention)
    ours = [[sum(isinstance(m, k) for m in s.modules()) for k in kinds] for s in stages]
    assert ours == [[1, 1], [1, 1], [5, 5], [2, 2]]
