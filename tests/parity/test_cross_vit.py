"""Where vit-pytorch's CrossViT is not the paper's, and ours is."""

import torch
from vit_pytorch.cross_vit import CrossViT as TheirCrossViT

from parity.oracle import images, randomise
from parity.pairs.cross_vit import vit_pytorch


@torch.inference_mode()
def test_theirs_attends_to_patches_that_were_not_normalized() -> None:
    torch.manual_seed(0)
    token, patches = torch.randn(2, 1, 32), torch.randn(2, 9, 48)
    theirs = randomise(TheirCrossViT(image_size=48, num_classes=7, sm_dim=32, lg_dim=48))
    attend = theirs.multi_scale_encoder.layers[0][2].layers[0][0]
    outputs = [attend(token, context=c * patches, kv_include_self=True) for c in (1, 3)]
    assert not torch.allclose(*outputs, atol=1e-3)
    ours = vit_pytorch(False)[0].blocks[0].fusions[0]  # a LayerNorm takes the factor away
    torch.testing.assert_close(ours(token, patches), ours(token, 3 * patches))


@torch.inference_mode()
def test_theirs_normalizes_the_residual_stream() -> None:
    theirs = randomise(TheirCrossViT(image_size=48, num_classes=7, sm_dim=32, lg_dim=48))
    outputs = []
    encoder = theirs.multi_scale_encoder.layers[0][0]
    encoder.register_forward_hook(lambda _module, _inputs, out: outputs.append(out))
    for parameter in encoder.norm.parameters():
        parameter.fill_(0.0)
    theirs(images(48, 48))
    assert not outputs[0].any()  # only the norm's bias remains
