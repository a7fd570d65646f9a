"""T2T-ViT and the authors' code.

tests/golden/t2t was made by the unmodified code of yitu-opensource/T2T-ViT, 0f63dc9, on a CPU, of
small random weights that float16 holds exactly.
"""

import json
import re
from pathlib import Path

import torch
from safetensors import safe_open
from vit_pytorch.t2t import T2TViT as TheirT2TViT

import vitrail
from parity.oracle import close

GOLDEN = Path(__file__).parents[1] / "golden" / "t2t" / "t2t_vit_t.safetensors"
NAMES = (
    (r"tokens_to_token\.attention(\d)\.(?:attn\.)?", r"patch_embed.transformer\1."),
    (r"tokens_to_token\.project", "patch_embed.project"),
    (r"cls_token", "class_token.weight"),
    (r"\.attn\.", ".mixer."),
)


def test_equals_the_authors_code() -> None:
    with safe_open(GOLDEN, "pt") as file:
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        keywords = json.loads(file.metadata()["keywords"])
    images, logits = tensors.pop("input"), tensors.pop("logits")
    for pattern, name in NAMES:
        tensors = {re.sub(pattern, name, key): value for key, value in tensors.items()}
    dim = keywords["embed_dim"]
    model = vitrail.create_model(
        "T2TViT",
        image_size=keywords["img_size"],
        num_classes=keywords["num_classes"],
        dim=dim,
        depth=keywords["depth"],
        heads=keywords["num_heads"],
        mlp_dim=3 * dim,
        token_dim=keywords["token_dim"],
    ).eval()
    weight = tensors["patch_embed.project.weight"]
    tensors["patch_embed.project.weight"] = weight.unflatten(1, (-1, 3, 3))
    model.load_state_dict(tensors)
    close(model(images), logits)


def test_the_original_keeps_the_width_of_the_soft_split() -> None:
    with torch.device("meta"):
        theirs = TheirT2TViT(
            image_size=224, num_classes=1000, dim=384, depth=14, heads=6, mlp_dim=1152
        )
        ours = vitrail.create_model("t2t_vit_t_14")
    assert theirs.to_patch_embedding[7].norm.normalized_shape == (1323,)
    assert ours.patch_embed.transformer2.mlp.fc1.in_features == 64
    sizes = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert sizes[0] < 21.5e6 < 30e6 < sizes[1]
