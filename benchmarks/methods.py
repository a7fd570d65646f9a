"""A training step of MAE, SimMIM and DINO beside vit-pytorch, transformers and lightly.

python -m benchmarks.methods [--quick] [--only MAE,SimMIM,DINO]

The networks are the same, with as many masked patches and crops of the same sizes. A step is
forward, backward, AdamW, and for DINO the update of the EMA teacher. Ratios are the time of the
peer over ours: above 1 ours is faster. Memory is the peak that a step allocates beyond what was
allocated before it, as the profiler counts it. lightly is installed by `pip install --no-deps
lightly`; what is not installed, or fails, is printed and left out.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import profile

from benchmarks.common import compare, read, show, write
from vitrail.methods.base import Batch
from vitrail.methods.dino import DINO
from vitrail.methods.mae import MAE
from vitrail.methods.simmim import SimMIM
from vitrail.models.vit import ViT

torch.set_num_threads(os.cpu_count() or 1)

SIDE, PATCH, BATCH = 224, 16, 8
DIM, DEPTH, HEADS = 192, 12, 3
DECODER_DIM, DECODER_DEPTH, DECODER_HEADS = 128, 4, 4
PATCHES = (SIDE // PATCH) ** 2
MAE_RATIO, SIMMIM_RATIO = 0.75, 0.6
PROTOTYPES, HIDDEN, BOTTLENECK = 4096, 2048, 256
LOCAL, LOCAL_SIDE = 6, 96

Loss = Callable[[], Tensor]
Rival = tuple[nn.Module, Loss, Callable[[], None]]  # what learns, its loss, what follows a step


def nothing() -> None:
    """After a step."""


def images(side: int = SIDE, batch: int = BATCH) -> Tensor:
    """A batch of noise."""
    return torch.randn(batch, 3, side, side)


def vit() -> ViT:
    """Ours."""
    return ViT(SIDE, PATCH, 0, DIM, DEPTH, HEADS, 4 * DIM)


def timm_vit(**more: Any) -> nn.Module:
    """timm's, as lightly trains it."""
    import timm

    return timm.models.VisionTransformer(
        img_size=SIDE, patch_size=PATCH, num_classes=0, embed_dim=DIM, depth=DEPTH,
        num_heads=HEADS, **more,
    )  # fmt: skip


def lucidrains_vit() -> nn.Module:
    """vit-pytorch's."""
    import vit_pytorch

    return vit_pytorch.ViT(
        image_size=SIDE, patch_size=PATCH, num_classes=10, dim=DIM, depth=DEPTH, heads=HEADS,
        dim_head=DIM // HEADS, mlp_dim=4 * DIM,
    )  # fmt: skip


def mae_ours() -> Rival:
    """Vitrail."""
    method = MAE(vit(), MAE_RATIO, DECODER_DIM, DECODER_DEPTH, DECODER_HEADS).train()
    batch = Batch(images=images())
    return method, lambda: method(batch).loss, nothing


def mae_transformers() -> Rival:
    """ViTMAEForPreTraining."""
    import transformers

    model = transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(
            image_size=SIDE, patch_size=PATCH, hidden_size=DIM, num_hidden_layers=DEPTH,
            num_attention_heads=HEADS, intermediate_size=4 * DIM, mask_ratio=MAE_RATIO,
            decoder_hidden_size=DECODER_DIM, decoder_num_hidden_layers=DECODER_DEPTH,
            decoder_num_attention_heads=DECODER_HEADS, decoder_intermediate_size=4 * DECODER_DIM,
            norm_pix_loss=True,
        )
    ).train()  # fmt: skip
    x = images()
    return model, lambda: model(x).loss, nothing


def mae_vit_pytorch() -> Rival:
    """vit_pytorch.MAE."""
    from vit_pytorch.mae import MAE as Theirs

    model = Theirs(
        encoder=lucidrains_vit(), decoder_dim=DECODER_DIM, masking_ratio=MAE_RATIO,
        decoder_depth=DECODER_DEPTH, decoder_heads=DECODER_HEADS,
        decoder_dim_head=DECODER_DIM // DECODER_HEADS,
    ).train()  # fmt: skip
    x = images()
    return model, lambda: model(x), nothing


def mae_lightly() -> Rival:
    """As lightly's example composes it."""
    from lightly.models import utils
    from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM

    encoder = MaskedVisionTransformerTIMM(vit=timm_vit())
    decoder = MAEDecoderTIMM(
        num_patches=PATCHES, patch_size=PATCH, embed_dim=DIM, decoder_embed_dim=DECODER_DIM,
        decoder_depth=DECODER_DEPTH, decoder_num_heads=DECODER_HEADS,
    )  # fmt: skip
    x, length = images(), encoder.sequence_length

    def loss() -> Tensor:
        keep, masked = utils.random_token_mask((BATCH, length), mask_ratio=MAE_RATIO)
        visible = decoder.embed(encoder.encode(images=x, idx_keep=keep))
        tokens = utils.repeat_token(decoder.mask_token, (BATCH, length))
        tokens = decoder.decode(utils.set_at_index(tokens, keep, visible.type_as(tokens)))
        predicted = decoder.predict(utils.get_at_index(tokens, masked))
        pixels = utils.get_at_index(utils.patchify(x, PATCH), masked - 1)
        return F.mse_loss(predicted, utils.normalize_mean_var(pixels))

    return nn.ModuleList([encoder, decoder]).train(), loss, nothing


def simmim_ours() -> Rival:
    """Vitrail."""
    method = SimMIM(vit(), SIMMIM_RATIO).train()
    batch = Batch(images=images())
    return method, lambda: method(batch).loss, nothing


def simmim_transformers() -> Rival:
    """ViTForMaskedImageModeling."""
    import transformers

    model = transformers.ViTForMaskedImageModeling(
        transformers.ViTConfig(
            image_size=SIDE, patch_size=PATCH, hidden_size=DIM, num_hidden_layers=DEPTH,
            num_attention_heads=HEADS, intermediate_size=4 * DIM, encoder_stride=PATCH,
        )
    ).train()  # fmt: skip
    x = images()
    masked = PATCHES - int(PATCHES * (1 - SIMMIM_RATIO))

    def loss() -> Tensor:
        mask = torch.rand(BATCH, PATCHES).argsort(1) < masked
        return model(x, bool_masked_pos=mask).loss

    return model, loss, nothing


def simmim_vit_pytorch() -> Rival:
    """vit_pytorch.SimMIM."""
    from vit_pytorch.simmim import SimMIM as Theirs

    model = Theirs(encoder=lucidrains_vit(), masking_ratio=SIMMIM_RATIO).train()
    x = images()
    return model, lambda: model(x), nothing


def simmim_lightly() -> Rival:
    """As lightly's example composes it."""
    from lightly.models import utils
    from lightly.models.modules import MaskedVisionTransformerTIMM

    encoder = MaskedVisionTransformerTIMM(vit=timm_vit())
    head = nn.Linear(DIM, 3 * PATCH**2)
    x, length = images(), encoder.sequence_length

    def loss() -> Tensor:
        _, masked = utils.random_token_mask((BATCH, length), mask_ratio=SIMMIM_RATIO)
        tokens = encoder.encode(images=x, idx_mask=masked)
        predicted = head(utils.get_at_index(tokens, masked))
        pixels = utils.get_at_index(utils.patchify(x, PATCH), masked - 1)
        return F.l1_loss(predicted, pixels)

    return nn.ModuleList([encoder, head]).train(), loss, nothing


def crops() -> list[Tensor]:
    """Two global and six local ones, of half a batch."""
    batch = BATCH // 2
    return [images(batch=batch) for _ in range(2)] + [
        images(LOCAL_SIDE, batch) for _ in range(LOCAL)
    ]


def dino_ours() -> Rival:
    """Vitrail."""
    method = DINO(vit(), PROTOTYPES, (HIDDEN, BOTTLENECK), freeze_last=0.0).train()
    method.before_step(0.5)
    batch = Batch(crops=tuple(crops()))
    return method, lambda: method(batch).loss, method.after_step


def dino_lightly() -> Rival:
    """As lightly's example composes it, all crops of a size in one pass, as the authors do."""
    from lightly.loss import DINOLoss
    from lightly.models.modules import DINOProjectionHead
    from lightly.models.utils import update_momentum

    def parts() -> nn.ModuleList:
        head = DINOProjectionHead(DIM, HIDDEN, BOTTLENECK, PROTOTYPES)
        return nn.ModuleList([timm_vit(dynamic_img_size=True), head]).train()

    student, teacher = parts(), parts().requires_grad_(False)
    teacher.load_state_dict(student.state_dict())
    criterion, x = DINOLoss(PROTOTYPES), crops()

    def loss() -> Tensor:
        whole = torch.cat(x[:2])
        with torch.no_grad():
            teacher_logits = teacher[1](teacher[0](whole)).chunk(2)
        pooled = torch.cat([student[0](whole), student[0](torch.cat(x[2:]))])
        return criterion(
            list(teacher_logits), list(student[1](pooled).chunk(len(x))), teacher_temp=0.07
        )

    return student, loss, lambda: update_momentum(student, teacher, 0.996)


def dino_vit_pytorch() -> Rival:
    """vit_pytorch.Dino, which crops no smaller: it compares two crops of the whole size."""
    from vit_pytorch import Dino

    same = nn.Identity()
    model = Dino(
        lucidrains_vit(), SIDE, hidden_layer="to_latent", projection_hidden_size=HIDDEN,
        projection_layers=4, num_classes_K=PROTOTYPES, augment_fn=same, augment_fn2=same,
    ).train()  # fmt: skip
    x = images(batch=BATCH // 2)
    return model.student_encoder, lambda: model(x), model.update_moving_average


def dino_ours_two() -> Rival:
    """Vitrail with two crops only, as vit-pytorch has them, and its wider bottleneck."""
    method = DINO(vit(), PROTOTYPES, (HIDDEN, BOTTLENECK), freeze_last=0.0).train()
    method.before_step(0.5)
    batch = Batch(crops=tuple(crops()[:2]))
    return method, lambda: method(batch).loss, method.after_step


CASES: dict[str, dict[str, Callable[[], Rival]]] = {
    "MAE": {
        "vitrail": mae_ours,
        "transformers": mae_transformers,
        "vit-pytorch": mae_vit_pytorch,
        "lightly": mae_lightly,
    },
    "SimMIM": {
        "vitrail": simmim_ours,
        "transformers": simmim_transformers,
        "vit-pytorch": simmim_vit_pytorch,
        "lightly": simmim_lightly,
    },
    "DINO": {"vitrail": dino_ours, "lightly": dino_lightly},
    "DINO, two crops": {"vitrail": dino_ours_two, "vit-pytorch": dino_vit_pytorch},
}


def step(rival: Rival) -> Callable[[], None]:
    """Forward, backward, AdamW and what follows."""
    module, loss, after = rival
    learning = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-6, fused=True)

    def call() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        after()

    return call


def peak(call: Callable[[], None]) -> float:
    """Peak MiB that a step allocates beyond what was allocated before it. The optimizer has run."""
    with profile(profile_memory=True) as profiler:
        call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    standing, most = 0, 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        standing += event.nbytes()
        most = max(most, standing)
    return most / 2**20


def measure(case: str, rounds: int) -> dict[str, Any]:
    """Seconds, ratios and memory of all rivals that run."""
    calls, failed = {}, {}
    for name, build in CASES[case].items():
        try:
            calls[name] = step(build())
            calls[name]()
        except Exception as problem:  # whatever it is, it is what a user would meet
            if name == "vitrail":
                raise
            calls.pop(name, None)
            failed[name] = f"{type(problem).__name__}: {str(problem).splitlines()[0]}"
    table = compare(calls, rounds)
    for name, call in calls.items():
        table[name]["peak MiB"] = peak(call)
    show(case, table, BATCH)
    for name, row in table.items():
        print(f"  {name:<28} {row['peak MiB']:9.1f} MiB")
    for name, why in failed.items():
        print(f"  {name:<28} fails: {why}")
    return {"rows": table, "failed": failed}


def main() -> None:
    """Measures the cases of --only and writes them beside the others."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="few rounds")
    arguments.add_argument("--only", help="cases, such as MAE,DINO")
    options = arguments.parse_args()
    cases = options.only.split(",") if options.only else list(CASES)
    results = {case: measure(case, 3 if options.quick else 12) for case in cases}
    write("methods", {"cases": {**read("methods").get("cases", {}), **results}})


if __name__ == "__main__":
    main()
