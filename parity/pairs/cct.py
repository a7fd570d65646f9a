"""CCT in vit-pytorch."""

import torch
from torch import nn
from vit_pytorch import cct, cct_3d

import vitrail
from parity.oracle import randomise
from parity.pairs import Pair, Two


def build(full: bool, position: str = "learned") -> Two:
    small = {
        "image_size": 32, "num_classes": 7, "dim": 48, "depth": 3, "heads": 4, "mlp_dim": 96,
        "convolutions": 2, "patch_size": 5, "stride": 2, "position": position,
    }  # fmt: skip
    ours = vitrail.create_model("cct_7_7x2_224", **({} if full else small))
    config = ours.config
    theirs = cct.CCT(
        img_size=config["image_size"],
        embedding_dim=config["dim"],
        n_conv_layers=config["convolutions"],
        kernel_size=config["patch_size"],
        stride=config["stride"],
        padding=config["patch_size"] // 2,
        attention_dropout=0.0,
        stochastic_depth_rate=0.0,
        dropout_rate=0.0,
        num_layers=config["depth"],
        num_heads=config["heads"],
        mlp_ratio=config["mlp_dim"] / config["dim"],
        num_classes=config["num_classes"],
        positional_embedding={"learned": "learnable", "sincos": "sine", "none": "none"}[position],
    )
    randomise(ours)
    with torch.no_grad():
        fill(theirs, ours, position)
    return ours, theirs.eval()


def build_3d(full: bool) -> Two:
    """(T, H, W), each axis with its own kernel and stride."""
    config = {
        "image_size": (4, 32, 32), "num_classes": 7, "dim": 48, "depth": 3, "heads": 4,
        "mlp_dim": 96, "convolutions": 2, "patch_size": (3, 7, 7), "stride": (1, 2, 2),
    }  # fmt: skip
    ours = vitrail.CCT(**config)
    theirs = cct_3d.CCT(
        img_size=32,
        num_frames=4,
        embedding_dim=48,
        n_conv_layers=2,
        frame_kernel_size=3,
        kernel_size=7,
        stride=2,
        padding=3,
        num_layers=3,
        num_heads=4,
        mlp_ratio=2.0,
        num_classes=7,
        positional_embedding="learnable",
    )
    randomise(ours)
    with torch.no_grad():
        fill(theirs, ours, "learned")
    return ours, theirs.eval()


def fill(theirs: cct.CCT, ours: nn.Module, position: str) -> None:
    """Copies our weights into theirs."""
    for i, layer in enumerate(theirs.tokenizer.conv_layers):
        layer[0].weight.copy_(ours.tokenizer[3 * i].weight)
    last = theirs.classifier
    if position == "learned":
        last.positional_emb.copy_(ours.position.weight)
    for mine, block in zip(ours.blocks, last.blocks, strict=True):
        for name, layer in (
            ("pre_norm", mine.norm1),
            ("norm1", mine.norm2),
            ("linear1", mine.mlp.fc1),
            ("linear2", mine.mlp.fc2),
        ):
            getattr(block, name).load_state_dict(layer.state_dict())
        block.self_attn.load_state_dict(mine.mixer.state_dict())
    last.norm.load_state_dict(ours.norm.state_dict())
    last.attention_pool.load_state_dict(ours.sequence_pool.state_dict())
    last.fc.load_state_dict(ours.head.state_dict())


PAIRS = [
    Pair("CCT", "vit-pytorch CCT", build, ((32, 32),), (224, 224)),
    Pair("CCT", "vit-pytorch cct_3d", build_3d, ((4, 32, 32),)),
]
