"""SepViT against its authors' code, and what vit-pytorch's file has wrong."""

import torch
from vit_pytorch.sep_vit import DSSA
from vit_pytorch.sep_vit import SepViT as TheirSepViT

import vitrail
from parity.oracle import close, images, position_as_block, randomise

SMALL = {
    "image_size": 224, "num_classes": 7, "dim": (16, 32, 64), "depth": (1, 2, 2),
    "heads": (2, 4, 4), "window": (7, 7, 7), "second_window": (7, 14, 0), "norm_eps": 1e-5,
}  # fmt: skip
# What https://github.com/liwei109/SepViT computes at commit 2b420d3 with our weights, zero window
# tokens, and without the two additions within the attention that are marked "short cut".
AUTHORS = [
    0.342866430499, 0.115565267331, -0.028003994297, 0.158718976958, -0.148955273212,
    -0.219982527298, 0.226394622003,
]  # fmt: skip


@torch.inference_mode()
def test_equals_the_authors_code() -> None:
    ours = vitrail.create_model("sepvit_tiny", **SMALL)
    ours = randomise(ours, by_name=True, old_name=position_as_block).double()
    for block in (block for stage in ours.blocks for block in stage.blocks):
        if hasattr(block.mixer, "window_tokens"):
            token = block.mixer.window_tokens.weight
            token.copy_(block.norm1.bias.expand_as(token))  # theirs, zero, normalised
    logits = ours(images(224, 224, batch=1).double())
    close(logits[0], torch.tensor(AUTHORS, dtype=torch.double), 1e-9)


def attentions(model: TheirSepViT) -> list[DSSA]:
    return [module for module in model.modules() if isinstance(module, DSSA)]


def test_vit_pytorch_does_not_read_window_size_nor_dim_head() -> None:
    arguments = {"num_classes": 7, "dim": 16, "depth": (1, 1), "heads": (2, 4)}
    theirs = attentions(TheirSepViT(**arguments, window_size=(4, 14), dim_head=8))
    assert [a.window_size for a in theirs] == [7, 7]
    assert [a.to_qkv.out_channels for a in theirs] == [3 * 2 * 32, 3 * 4 * 32]


def test_vit_pytorch_has_one_token_for_all_windows() -> None:
    theirs = attentions(TheirSepViT(num_classes=7, dim=16, depth=(1,), heads=(2,)))
    assert theirs[0].window_tokens.shape == (16,)
    ours = vitrail.create_model("sepvit_tiny", **SMALL).blocks[0].blocks[0].mixer
    assert ours.window_tokens.weight.shape == (1, 8 * 8, 16)


def test_another_size_resamples_the_windows_tokens() -> None:
    ours = vitrail.create_model("sepvit_tiny", **SMALL)
    other = vitrail.create_model("sepvit_tiny", **{**SMALL, "image_size": (112, 224)})
    other.load_state_dict(ours.weights_at(other))
    assert other.blocks[0].blocks[0].mixer.window_tokens.weight.shape == (1, 4 * 8, 16)
