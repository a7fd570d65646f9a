"""Where vit-pytorch's XCiT is not the paper's, and ours is."""

import torch
from vit_pytorch.xcit import XCiT as TheirXCiT

from parity.oracle import images, randomise
from vitrail.models.xcit import XCiT

SMALL = {
    "image_size": 32, "patch_size": 8, "num_classes": 7,
    "dim": 32, "depth": 20, "heads": 2, "mlp_dim": 64,
}  # fmt: skip


def theirs(**more: object) -> TheirXCiT:
    return TheirXCiT(**SMALL, cls_depth=2, **more)


def test_theirs_scales_a_block_by_its_place_not_by_the_depth() -> None:
    first, *_, last = theirs().xcit_transformer.layers
    assert first[0].scale[0] == 0.1
    assert last[0].scale[0] == 1e-6  # meant to be 1e-5: it asks for 18 > depth <= 24
    ours = XCiT(**SMALL, layer_scale=1e-5)  # the paper's for 24 layers
    assert all(torch.all(stage.blocks[0].scale.gamma == 1e-5) for stage in ours.blocks)


@torch.inference_mode()
def test_theirs_drops_layers_at_inference() -> None:
    model, pixels = randomise(theirs(layer_dropout=0.5)), images(32, 32)
    assert len({model(pixels).sum().item() for _ in range(8)}) > 1
    ours = XCiT(**SMALL, drop_path=0.5).eval()
    assert torch.equal(ours(pixels), ours(pixels))
