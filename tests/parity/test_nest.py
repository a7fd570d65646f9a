"""What vit-pytorch's NesT has wrong; ours is compared with timm's in `pairs`."""

from typing import Any

from vit_pytorch.nest import NesT as TheirNesT

import vitrail

THEIRS: dict[str, Any] = {
    "image_size": 32, "patch_size": 4, "num_classes": 7, "dim": 16, "heads": 2,
    "num_hierarchies": 2, "block_repeats": (1, 1),
}  # fmt: skip


def test_vit_pytorch_has_one_number_for_a_position() -> None:
    theirs = TheirNesT(**THEIRS)
    positions = 4 * 4  # of a block, and all blocks of a level share them
    assert [level[0].pos_emb.shape for level in theirs.layers] == [(positions,)] * 2
    ours = vitrail.create_model(
        "nest_tiny", image_size=32, dim=(16, 32), depth=(1, 1), heads=(2, 4), num_classes=7
    )
    assert [level.position.weight.shape for level in ours.blocks] == [(1, 64, 16), (1, 16, 32)]


def test_vit_pytorch_does_not_read_dim_head() -> None:
    shapes = [
        [p.shape for p in TheirNesT(**THEIRS, dim_head=width).parameters()] for width in (8, 64)
    ]
    assert shapes[0] == shapes[1]
