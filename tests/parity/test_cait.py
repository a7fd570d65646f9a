"""Where vit-pytorch's CaiT is not the paper's, and ours is."""

import torch
from vit_pytorch.cait import CaiT as TheirCaiT

from parity.oracle import images, randomise
from vitrail.models.cait import CaiT

SMALL = {
    "image_size": 32, "patch_size": 8, "num_classes": 7,
    "dim": 32, "depth": 20, "heads": 2, "mlp_dim": 64,
}  # fmt: skip


def theirs(**more: object) -> TheirCaiT:
    return randomise(TheirCaiT(**{**SMALL, "cls_depth": 2, "dim_head": 16, **more}))


@torch.inference_mode()
def test_theirs_drops_layers_at_inference() -> None:
    model, pixels = theirs(layer_dropout=0.5), images(32, 32)
    assert len({model(pixels).sum().item() for _ in range(8)}) > 1
    ours = CaiT(**SMALL, drop_path=0.5).eval()
    assert torch.equal(ours(pixels), ours(pixels))


def test_theirs_scales_a_block_by_its_index_not_by_the_depth() -> None:
    layers = TheirCaiT(**{**SMALL, "cls_depth": 2}).patch_transformer.layers
    assert {round(branch.scale[0, 0, 0].item(), 6) for pair in layers for branch in pair} == {
        0.1,
        1e-5,
    }
    ours = CaiT(**SMALL)  # the paper's for 20 layers
    assert all(torch.all(block.scale1.gamma == 1e-5) for block in ours.blocks)


@torch.inference_mode()
def test_theirs_hands_over_patches_that_were_not_normalized() -> None:
    torch.manual_seed(0)
    token, patches = torch.randn(2, 1, 32), torch.randn(2, 16, 32)
    attention = theirs().cls_transformer.layers[0][0].fn
    assert not torch.allclose(attention(token, patches), attention(token, 3 * patches), atol=1e-3)
    block = randomise(CaiT(**SMALL)).class_blocks[0]  # a LayerNorm takes the factor away
    torch.testing.assert_close(block(token, patches), block(token, 3 * patches))


@torch.inference_mode()
def test_theirs_gives_a_smaller_image_positions_of_other_patches() -> None:
    columns = torch.arange(4.0).repeat(4)[None, :, None].expand(-1, -1, 32)
    model = theirs()
    for parameter in model.to_patch_embedding.parameters():
        parameter.zero_()
    model.pos_embedding.copy_(columns)
    outputs = []
    model.dropout.register_forward_hook(lambda _module, _inputs, out: outputs.append(out))
    model(images(16, 16))
    assert outputs[0][0, :, 0].tolist() == [0, 1, 2, 3]  # a row of 4, for 2 rows of 2
    ours = CaiT(**SMALL)
    ours.position.weight.copy_(columns)
    rows = ours.position((2, 2))[0, :, 0].unflatten(0, (2, 2))
    torch.testing.assert_close(rows[0], rows[1])
    assert rows[0, 0] < rows[0, 1]
