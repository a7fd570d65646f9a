"""ScalableViT against its authors' code, and what vit-pytorch's file has wrong."""

import torch
from vit_pytorch import scalable_vit as theirs

import vitrail
from parity.oracle import close, images, position_as_block, randomise

SMALL = {
    "image_size": 64, "num_classes": 7, "dim": (16, 32, 64), "depth": (2, 2, 3),
    "heads": (2, 4, 4), "reduction": (4, 2, 1), "key_ratio": (1.25, 1.5, 1.0), "window": 4,
    "head_dim": 24, "norm_eps": 1e-5,
}  # fmt: skip
# What https://github.com/Yangr116/ScalableViT computes at commit 90afa8e with our weights.
AUTHORS = [
    0.603758951318, 0.051041758939, 0.446327627615, 0.194146035427, -0.841508781191,
    0.238675389626, -0.076331955041,
]  # fmt: skip


@torch.inference_mode()
def test_equals_the_authors_code() -> None:
    ours = vitrail.create_model("scalable_vit_small", **SMALL)
    ours = randomise(ours, by_name=True, old_name=position_as_block).double()
    logits = ours(images(64, 64, batch=1).double())
    close(logits[0], torch.tensor(AUTHORS, dtype=torch.double), 1e-9)


@torch.inference_mode()
def test_vit_pytorch_runs_an_mlp_in_place_of_the_windowed_attention() -> None:
    transformer = theirs.Transformer(dim=16, depth=1, heads=2, iwsa_window_size=4)
    order: list[str] = []
    for module in transformer.layers[0]:
        module.register_forward_hook(lambda module, *_: order.append(type(module).__name__))
    transformer(torch.randn(1, 16, 8, 8))
    assert order == [
        "ScalableSelfAttention", "FeedForward", "PEG", "FeedForward",
        "InteractiveWindowedSelfAttention",
    ]  # fmt: skip
    model = vitrail.create_model("scalable_vit_small", **SMALL)
    mixers = [type(block.mixer).__name__ for block in model.blocks[0].blocks]
    assert mixers == ["InteractiveWindowAttention", "ScalableAttention"]  # each before its own MLP


def test_vit_pytorch_joins_windows_by_a_dense_convolution() -> None:
    windowed = theirs.InteractiveWindowedSelfAttention(dim=16, window_size=4, heads=2)
    assert windowed.local_interactive_module.weight.shape == (64, 64, 3, 3)
    ours = vitrail.create_model("scalable_vit_small", **SMALL).blocks[0].blocks[0].mixer
    assert ours.local.weight.shape == (16, 1, 3, 3)
