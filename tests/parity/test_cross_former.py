"""CrossFormer against its authors' code, and what vit-pytorch's file has wrong."""

import torch
from vit_pytorch import crossformer as theirs

import vitrail
from parity.oracle import close, images, randomise

SMALL = {
    "image_size": 64, "patch_size": (4, 8, 16), "num_classes": 7, "dim": (32, 64, 128),
    "depth": (2, 3, 2), "heads": (2, 2, 4), "window": 4,
}  # fmt: skip
# What https://github.com/cheerss/CrossFormer computes at commit f20000d with our weights.
AUTHORS = [
    0.241811991776, 0.537744650398, -0.486537789646, 0.033234253989, -0.211200145516,
    -0.213878474393, 0.158140061439,
]  # fmt: skip


@torch.inference_mode()
def test_equals_the_authors_code() -> None:
    ours = randomise(vitrail.create_model("crossformer_tiny", **SMALL), by_name=True).double()
    logits = ours(images(64, 64, batch=1).double())
    close(logits[0], torch.tensor(AUTHORS, dtype=torch.double), 1e-9)


@torch.inference_mode()
def test_vit_pytorch_attends_to_nothing_far_in_its_last_stage() -> None:
    far = theirs.CrossFormer().layers[-1][1].layers[0][2]
    assert (far.attn_type, far.window_size) == ("long", 1)
    x = torch.randn(1, 512, 7, 7)
    changed = x.clone()
    changed[..., 0, 0] = 1.0
    before, after = far(x), far(changed)
    assert torch.equal(before[..., 1:, :], after[..., 1:, :])  # the change has no effect
    ours = vitrail.create_model("crossformer_tiny").blocks[-1].blocks[1].mixer.eval()
    x, changed = (t.permute(0, 2, 3, 1) for t in (x, changed))
    assert (ours(x) - ours(changed)).abs().amin(-1).gt(0).all()


@torch.inference_mode()
def test_vit_pytorch_computes_its_bias_from_wrong_offsets() -> None:
    attention = theirs.Attention(64, attn_type="short", window_size=7)
    offsets: list[torch.Tensor] = []
    attention.dpb.register_forward_pre_hook(lambda _module, inputs: offsets.append(inputs[0]))
    attention(torch.randn(1, 64, 7, 7))
    itself = attention.rel_pos_indices[0, 0]  # of a position from itself
    assert offsets[0][itself].tolist() == [-2, 2]
    ours = vitrail.create_model("crossformer_tiny").blocks[0].blocks[0].mixer.bias
    assert ours.offsets[ours.index[0, 0]].tolist() == [0, 0]
