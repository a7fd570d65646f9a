"""What the contract asks of the stages of a model. The tests run the same checks."""

import math
import random

import torch
from torch import nn

from vitrail.contract.checks import (
    Check,
    checked_by,
    count_calls,
    require,
    require_close,
    require_none,
    require_same,
    require_shape,
    shape_of,
)
from vitrail.contract.model_case import ModelCase, images_for
from vitrail.errors import TierError, VitrailError
from vitrail.layers.recording import RecordedMixer
from vitrail.lens.record import record
from vitrail.messages import _
from vitrail.models.features import Features
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone
from vitrail.registry import describe_exception

STAGE_CHECKS: list[Check] = []


@checked_by(
    STAGE_CHECKS,
    _("shapes of the four stages"),
    _("return Features(patches (B, N, D), prefix (B, P, D), grid) from embed and encode, (B, D) "
      "from pool, and (B, num_classes) from head"),
)  # fmt: skip
def _shapes(case: ModelCase) -> None:
    model = case.shared()
    images = images_for(model)
    for stage, features in (("embed", model.embed(images)), ("encode", model.features(images))):
        require(
            isinstance(features, Features),
            f"{stage} returns {type(features).__name__}, not Features",
        )
        patches, prefix, grid = features[:3]
        good = patches.ndim == prefix.ndim == 3 and len(patches) == len(prefix) == 2
        require(
            good,
            f"of 2 images {stage} returns patches {shape_of(patches)}, prefix {shape_of(prefix)}",
        )
        if features.keep_indices is not None:
            require_shape("keep_indices are", features.keep_indices, tuple(patches.shape[:2]))
        elif stage == "encode" or isinstance(model, SequenceBackbone):
            require(
                math.prod(grid) == patches.shape[1],
                f"{stage} returns {patches.shape[1]} patches on a grid of {grid}",
            )
    pooled, logits = model.pool(features), model(images)
    require_shape("pool returns", pooled, (2, model.pooled_dim))
    require_shape("logits are", logits, (2, model.num_classes))


@checked_by(
    STAGE_CHECKS,
    _("forward is embed, encode, pool, head"),
    _("leave forward as Backbone has it, and write the four stages"),
)
def _stages(case: ModelCase) -> None:
    model = case.shared()
    images = images_for(model)
    logits = model.head(model.pool(model.encode(model.embed(images))))
    require_same("forward differs from the four stages", model(images), logits)


@checked_by(
    STAGE_CHECKS,
    _("batches of none and of one"),
    _("read sizes off the tensors; take the mean over tokens, not over the batch"),
)
def _batches(case: ModelCase) -> None:
    model = case.small()
    images = images_for(model, 3)
    with torch.no_grad():
        require_shape("logits of no image are", model(images[:0]), (0, model.num_classes))
        require_close("an image alone, and in a batch", model(images[:1]), model(images)[:1], 1e-5)
    model.train()(images[:1].repeat(2, *[1] * (images.ndim - 1))).sum().backward()


@checked_by(
    STAGE_CHECKS,
    _("a gradient reaches every parameter"),
    _("use the parameter in the forward pass, or remove it; mind .detach(), .data and no_grad"),
)
def _gradients(case: ModelCase) -> None:
    model = case.small().train()
    logits = model(images_for(model))
    (logits * torch.randn(logits.shape)).sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    missing = sorted(set(missing) - case.unread_names(model))
    require_none(missing, "no gradient reaches {}")


@checked_by(
    STAGE_CHECKS,
    _("init_weights sets every parameter"),
    _("give the module that owns the parameter a method reset_parameters"),
)
def _initial_values(case: ModelCase) -> None:
    model = case.small()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    model.init_weights()
    missing = [n for n, p in model.named_parameters() if not p.isfinite().all()]
    require_none(missing, "init_weights leaves {} as it is")


@checked_by(
    STAGE_CHECKS,
    _("samples of a batch are independent"),
    _("do not mix along the first axis; in evaluation mode a norm must not use the batch"),
)
def _independent(case: ModelCase) -> None:
    model = case.small().double()
    images = images_for(model, 3).double()
    changed = images.clone()
    changed[1] = 100.0
    before, after = model(images), model(changed)
    require(not torch.allclose(before[1], after[1]), "the logits do not depend on the image")
    require_close(
        "logits of an image, when another one changes,", before[[0, 2]], after[[0, 2]], 1e-12
    )


@checked_by(
    STAGE_CHECKS,
    _("the same image gives the same logits"),
    _("draw random numbers in training only: if self.training"),
)
def _deterministic(case: ModelCase) -> None:
    model = case.small()
    images = images_for(model)
    first = model(images)
    model.train()(images)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            return  # whose statistics a forward pass in training changes
    require_same("logits of the same image differ in evaluation mode", model.eval()(images), first)


@checked_by(
    STAGE_CHECKS,
    _("another image size"),
    _("resample what depends on the size, as layers.position.PositionTable does, and read the "
      "grid off the images; raise DataError where a size cannot be"),
)  # fmt: skip
def _other_size(case: ModelCase) -> None:
    model = case.shared()
    first, *rest = model.image_size
    size = case.second_size or (2 * first, *rest)
    images = torch.randn(1, model.channels, *size)
    require_shape(f"logits of an image of {size} are", model(images), (1, model.num_classes))
    wrong = torch.randn(1, model.channels + 1, *model.image_size)
    try:
        model(wrong)
    except VitrailError:
        return
    except Exception as problem:  # whatever torch raises
        require(False, f"{len(wrong[0])} channels end in {describe_exception(problem)}")
    require(False, f"images of {len(wrong[0])} channels are accepted")


@checked_by(
    STAGE_CHECKS,
    _("patches are dropped as the tier says"),
    _("sequences: let each patch keep its own position; others: call require_whole_grid in encode"),
)
def _dropped(case: ModelCase) -> None:
    model = case.shared()
    features = model.embed(images_for(model))
    count = features.patches.shape[1]
    if not isinstance(model, SequenceBackbone):
        try:
            model.encode(features.take(torch.zeros(2, 1, dtype=torch.long)))
        except TierError:
            return
        require(False, "encode accepts dropped patches, and the model is no SequenceBackbone")
    everything = torch.arange(count).expand(2, -1)
    whole, same = model.encode(features), model.encode(features.take(everything))
    require_close("all patches, and all taken,", whole.patches, same.patches, 1e-5)
    visible = torch.stack([torch.randperm(count)[:4].sort().values for _n in range(2)])
    require_shape(
        "of 4 patches encode makes",
        model.encode(features.take(visible)).patches,
        (2, 4, whole.patches.shape[2]),
    )
    hidden = torch.tensor([sorted(set(range(count)) - set(row.tolist())) for row in visible])
    index = hidden[..., None].expand(-1, -1, features.patches.shape[2])
    poisoned = features._replace(patches=features.patches.scatter(1, index, torch.nan))
    fewer, plain = (model.encode(f.take(visible)).patches for f in (poisoned, features))
    require_close("what is dropped leaves a trace: visible patches", fewer, plain, 1e-5)


@checked_by(
    STAGE_CHECKS,
    _("recording attention changes nothing"),
    _("let attention go through layers.attention.Attend"),
)
def _recorded(case: ModelCase) -> None:
    model = case.shared()
    mixers = [m for m in model.modules() if isinstance(m, RecordedMixer)]
    if not mixers:
        return
    images = images_for(model)
    plain = model(images)
    with record(model) as maps:
        recorded = model(images)
    require_same("recording changes the logits", recorded, plain)
    require(len(maps) == len(mixers), f"{len(maps)} of {len(mixers)} layers were recorded")
    for key, weights in maps.items():
        require_close(
            f"layer {key}: sums of attention rows", weights.sum(-1), weights.sum(-1) * 0 + 1, 1e-5
        )


@checked_by(
    STAGE_CHECKS,
    _("features after each block"),
    _("make blocks an nn.ModuleList of what encode applies one after the other"),
)
def _intermediates(case: ModelCase) -> None:
    model = case.shared()
    images = images_for(model)
    first, last = model.intermediates(images, [0, -1])
    if isinstance(model, SequenceBackbone | PyramidBackbone):
        normed, features = model.norm(last.patches), model.features(images).patches
        require_close("the last block, normalized, and encode", normed, features, 1e-5)
    if len(model.blocks) > 1:
        changed = first.patches.shape != last.patches.shape or not torch.equal(
            first.patches, last.patches
        )
        require(changed, "the first and the last block give the same features")


@checked_by(
    STAGE_CHECKS,
    _("gradient checkpointing changes nothing"),
    _("apply the blocks by self.run_blocks"),
)
def _checkpointing(case: ModelCase) -> None:
    model = case.small().train()
    images = images_for(model)
    leaves = [m for m in model.blocks.modules() if not list(m.children())]
    gradients, counts = [], []
    for enable in (False, True):
        model.set_gradient_checkpointing(enable)
        model.zero_grad()
        torch.manual_seed(0)  # for what a model draws in training
        random.seed(0)
        with count_calls(leaves) as calls:
            model(images).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        counts.append(calls)
    for plain, again in zip(*gradients, strict=True):
        require_close("gradients with and without checkpointing", plain, again, 1e-5)
    # A block's last modules need not run again: nothing in the backward pass needs their outputs.
    for number, modules in enumerate(model.block_modules()):
        inner = [leaf for module in modules for leaf in module.modules() if leaf in counts[0]]
        again = any(counts[1][leaf] > counts[0][leaf] for leaf in inner)
        require(again, f"block {number} is not computed again in the backward pass")


@checked_by(
    STAGE_CHECKS,
    _("reset_head gives other classes"),
    _("make the head by self.make_head(num_classes)"),
)
def _head(case: ModelCase) -> None:
    model = case.small()
    images = images_for(model)
    pooled = model.pool(model.features(images))
    model.reset_head(9)
    require_shape("logits after reset_head(9) are", model(images), (2, 9))
    require(model.config["num_classes"] == 9, "reset_head(9) is not in model.config")
    model.reset_head(0)
    require_same(
        "without a head the model does not return the pooled features", model(images), pooled
    )


@checked_by(
    STAGE_CHECKS,
    _("layers for learning rates and freezing"),
    _("name the modules after the blocks in the class attribute after_blocks"),
)
def _layers(case: ModelCase) -> None:
    model = case.small()
    layers, names = model.layer_ids(), [n for n, _p in model.named_parameters()]
    require(list(layers) == names, "layer_ids does not name every parameter")
    empty = set(range(model.depth + 2)) - set(layers.values())
    require(not empty, f"of layers 0 to {model.depth + 1}, {empty} have no parameter")
    model.freeze()
    head = {id(p) for p in model.head.parameters()}
    wrong = [n for n, p in model.named_parameters() if p.requires_grad != (id(p) in head)]
    require_none(wrong, "freeze() should freeze all but the head; wrong is {}")
