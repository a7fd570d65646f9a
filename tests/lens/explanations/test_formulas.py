"""Each explanation equals its authors' formula in float64, written out for a tiny model."""

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import vitrail
from tests.models.small import CASES, images_for, small
from vitrail.errors import ConfigError, TierError
from vitrail.layers.mamba import Mamba
from vitrail.lens.explanations.base import EXPLANATIONS, explain, explains_classes
from vitrail.lens.layer_keys import recorded_mixers
from vitrail.lens.record import record
from vitrail.models.base import Backbone
from vitrail.ops.selective_scan.matrix import matrix

MODELS = {name for name, more in CASES if not more}
NO_GRID = {"ATSViT", "PatchMergerViT", "ViViT"}  # blocks return other tokens than patches
EXACT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}


def in_float64(name: str, **keywords: Any) -> tuple[Backbone, Tensor]:
    """A small model with weights that are not tiny, and images."""
    model = small(name, **keywords).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model, images_for(model).double()


@pytest.mark.parametrize("name, pooled", [("ViT", False), ("SimpleViT", True)])
def test_relevance_is_chefers_rule(name: str, pooled: bool) -> None:
    model, images = in_float64(name)
    target = 1
    for each, image in enumerate(images):
        with record(model, gradients=True) as maps:
            model(image[None])[0, target].backward()
        tokens = maps[0].shape[-1]
        relevance = torch.eye(tokens, dtype=torch.float64)
        for weights in maps.values():
            assert weights.grad is not None
            layer = (weights.grad[0] * weights.detach()[0]).clamp(min=0).mean(0)
            relevance = relevance + layer @ relevance
        relevance = relevance - torch.eye(tokens, dtype=torch.float64)
        row = relevance.mean(0) if pooled else relevance[0, 1:]
        expected = row.view(model.grid)
        result = explain(model, images, "relevance", target)[each]
        assert expected.max() > 0
        torch.testing.assert_close(result, expected, **EXACT)
        last = row_of(layer, pooled).view(model.grid)
        result = explain(model, images, "attention_gradient", target)[each]
        torch.testing.assert_close(result, last, **EXACT)


def row_of(layer: Tensor, pooled: bool) -> Tensor:
    return layer.mean(0) if pooled else layer[0, 1:]


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_relevance_of_a_scan_is_that_of_its_matrices(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan of the last layer is written as a product with its matrix, for autograd."""
    monkeypatch.setattr("vitrail.ops.selective_scan.matrix.BLOCK", block)  # rows at a time
    model, images = in_float64("VisionMamba", depth=1)
    mixer = next(m for m in model.modules() if isinstance(m, Mamba))
    scans: list[Any] = []
    mixer.scan_recorder = scans.append
    images = images[:1]
    features = model.features(images)
    score = model.head(model.pool(features))[0, 1]
    mixer.scan_recorder = None
    (slope,) = torch.autograd.grad(score, scans[0].output)
    inputs, total = scans[0].inputs, torch.zeros(())
    contributions = []
    for k, backwards in enumerate(scans[0].backwards):
        weights = matrix(inputs, k, backwards).detach().requires_grad_()  # (B, E, L, L)
        u = inputs.u[k].detach()
        y = torch.einsum("bels, bse -> ble", weights, u) + inputs.D[k] * u
        total = total + y * F.silu(inputs.z)
        contributions.append(weights)
    torch.testing.assert_close(total, scans[0].output, **EXACT)
    slopes = torch.autograd.grad((total * slope).sum(), contributions)
    layer = torch.stack([
        (a.detach() * g).clamp(min=0).mean(1) for a, g in zip(contributions, slopes, strict=True)
    ]).mean(0)[0]  # fmt: skip
    order = scans[0].order
    position = torch.arange(len(layer)) if order is None else order.argsort()
    layer = layer[position][:, position]
    expected = layer[0, 1:].view(model.grid)  # the class token's row, which alone is read
    assert expected.max() > 0
    torch.testing.assert_close(explain(model, images, "relevance", 1)[0], expected, **EXACT)


@pytest.mark.parametrize("name", ["Swin", "ViT", "PVTv2"])
def test_grad_cam_is_the_papers(name: str) -> None:
    model, images = in_float64(name)
    with torch.enable_grad():
        if name == "ViT":
            tokens = model.block_outputs(images, model.depth - 1)[-1]  # type: ignore[attr-defined]
            sequence = torch.cat([tokens.prefix, tokens.patches], dim=1).detach().requires_grad_()
            output = model.norm(model.blocks[-1](sequence))  # type: ignore[operator]
            logits = model.head(output[:, 0])
            (slopes,) = torch.autograd.grad(logits[:, 1].sum(), sequence)
            feature_map, slopes = sequence[:, 1:], slopes[:, 1:]
        else:
            feature_map = model.intermediates(images, [-1])[0].patches.detach().requires_grad_()
            logits = model.head(model.norm(feature_map).mean(1))  # type: ignore[operator]
            (slopes,) = torch.autograd.grad(logits[:, 1].sum(), feature_map)
    grid = model.intermediates(images, [-1])[0].grid
    expected = (slopes.mean(1, keepdim=True) * feature_map).sum(-1).clamp(min=0)
    result = explain(model, images, "grad_cam", 1)
    torch.testing.assert_close(result, expected.detach().unflatten(1, grid), **EXACT)


def test_grad_cam_finds_the_last_block_whose_patches_are_read() -> None:
    """A class token reads the patches before the last block, in PVT before the last stage."""
    for name in ("ViT", "PVT"):
        model, images = in_float64(name)
        count = len(model.blocks)
        maps = explain(model, images, "grad_cam", 1)
        assert torch.equal(maps, explain(model, images, "grad_cam", 1, layer=count - 2))
        with pytest.raises(TierError, match="reads no patch after block -1: choose an earlier"):
            explain(model, images, "grad_cam", 1, layer=-1)
    shallow = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
    with pytest.raises(TierError, match="reads no patch after any block of this ViT: use occl"):
        explain(shallow, torch.zeros(1, 3, 8, 8), "grad_cam", 1)


def test_integrated_gradients_are_complete_and_captums() -> None:
    captum = pytest.importorskip("captum.attr")
    model, images = in_float64("ViT")
    maps = explain(model, images, "integrated_gradients", 2, steps=40)
    rise = model(images)[:, 2] - model(torch.zeros_like(images))[:, 2]
    torch.testing.assert_close(maps.flatten(1).sum(1), rise.detach(), rtol=0.02, atol=1e-3)
    whole = captum.IntegratedGradients(model).attribute(images, target=2, n_steps=40)
    height, width = model.grid
    by_patch = whole.sum(1).unflatten(2, (width, -1)).unflatten(1, (height, -1)).sum((2, 4))
    torch.testing.assert_close(maps, by_patch, **EXACT)


def test_occlusion_is_the_fall_of_the_logit() -> None:
    pytest.importorskip("captum")
    model, images = in_float64("ViT")
    maps = explain(model, images, "occlusion", 0)
    height, width = images.shape[2] // model.grid[0], images.shape[3] // model.grid[1]
    with torch.no_grad():
        for row, column in [(0, 0), (model.grid[0] - 1, 1)]:
            covered = images.clone()
            rows = slice(row * height, (row + 1) * height)
            covered[:, :, rows, column * width : (column + 1) * width] = 0
            fall = model(images)[:, 0] - model(covered)[:, 0]
            torch.testing.assert_close(maps[:, row, column], fall, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="cells=5 does not divide an image of 32 x 32 pixels"):
        explain(model, images, "occlusion", 0, cells=5)


def test_the_logit_lens_ends_at_the_logits() -> None:
    model, images = in_float64("ViT")
    lens = vitrail.lens.logit_lens(model, images)
    torch.testing.assert_close(lens[-1], model(images).detach(), **EXACT)
    first = model.intermediates(images, [0], norm=True)[0]
    torch.testing.assert_close(lens[0], model.head(first.prefix[:, 0]).detach(), **EXACT)
    maps = explain(model, images, "patch_logits", 1, layer=0)
    expected = model.head(first.patches).softmax(-1)[..., 1].unflatten(1, first.grid)
    torch.testing.assert_close(maps, expected.detach(), **EXACT)
    assert lens.shape[0] == model.depth


@pytest.mark.parametrize("center", [True, False])
def test_similarity_is_the_cosine_to_a_patch(center: bool) -> None:
    model, images = in_float64("Swin")
    features = model.intermediates(images, [0])[0]
    height, width = features.grid
    maps = explain(model, images, "similarity", at=(1, -1), layer=0, center=center)
    patches = features.patches - center * features.patches.mean(1, keepdim=True)
    one = patches[:, width + width - 1]
    expected = F.cosine_similarity(patches, one[:, None], dim=-1).detach()
    assert center == torch.equal(maps, explain(model, images, "similarity", at=(1, -1), layer=0))
    torch.testing.assert_close(maps, expected.view(-1, height, width), **EXACT)
    torch.testing.assert_close(maps[:, 1, -1], torch.ones(len(images), dtype=torch.float64))
    with pytest.raises(ConfigError, match="at="):
        explain(model, images, "similarity", at=(1,))


@pytest.mark.parametrize("size", [(32, 32), (36, 28)])  # windows do not divide the latter
@pytest.mark.parametrize("name", ["Swin", "MaxViT"])
@pytest.mark.parametrize("layer", [0, 1, -1])
def test_windows_are_folded_back(name: str, layer: int, size: tuple[int, int]) -> None:
    """The map of a layer equals one that perturbs nothing: cells are followed one by one."""
    from vitrail.lens.explanations.windows import received_attention, windowed_modules

    model, _ = in_float64(name)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    mixers = recorded_mixers(model)
    key = list(mixers)[layer]
    module = windowed_modules(model)[key]
    inputs: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with record(model, [key]) as maps:
        model(images)
    hook.remove()
    height, width = inputs[0].shape[1:3]
    expected = brute_force(module, maps[key], len(images), height, width)
    torch.testing.assert_close(received_attention(model, images, layer), expected, **EXACT)
    torch.testing.assert_close(explain(model, images, "attention", layer=layer), expected.mean(1))


def brute_force(module: Any, weights: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Each query's weights are added to the cells that its window holds, found by arithmetic."""
    h, w = module.window
    rows, columns = math.ceil(height / h), math.ceil(width / w)
    shift = module.shift_at((height, width)) if hasattr(module, "shift_at") else (0, 0)
    spread = getattr(module, "spread", False)
    total = torch.zeros(batch, weights.shape[1], height, width, dtype=torch.float64)

    def cell(window: int, token: int) -> tuple[int, int]:
        r, c = divmod(window, columns)
        i, j = divmod(token, w)
        y, x = (i * rows + r, j * columns + c) if spread else (r * h + i, c * w + j)
        return (y + shift[0]) % (rows * h), (x + shift[1]) % (columns * w)

    for window in range(rows * columns):
        for key in range(h * w):
            y, x = cell(window, key)
            if y >= height or x >= width:
                continue
            for query in range(h * w):
                qy, qx = cell(window, query)
                if qy < height and qx < width:
                    total[:, :, y, x] += weights[window :: rows * columns, :, query, key]
    return total


def test_text_similarity_is_the_cosine_of_projected_patches() -> None:
    def tokenizer(texts: list[str]) -> Tensor:
        return torch.tensor([[len(text) % 10, 15] for text in texts])

    tokenizer.vocabulary, tokenizer.context, tokenizer.end = 16, 2, 15  # type: ignore[attr-defined]
    model = small("SimpleViT", num_classes=0)
    clip = vitrail.methods.CLIP(
        model, tokenizer, embed_dim=4, text_dim=8, text_depth=1, text_heads=2
    ).eval()
    images = images_for(model)
    maps = vitrail.lens.text_similarity(clip, images, ["cat", "a dog"])
    patch = model.features(images).patches[1, 5]
    expected = F.cosine_similarity(clip.image_proj(patch), clip.encode_text(["a dog"])[0], dim=0)
    torch.testing.assert_close(maps[1, 1].flatten()[5], expected.detach())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_is_explained_or_told_what_serves_it(name: str) -> None:
    model = small(name)
    images = images_for(model)[:1]
    served, cures = [], set()
    for explanation in sorted(set(EXPLANATIONS.builtin) - {"integrated_gradients", "occlusion"}):
        try:
            maps = explain(model, images, explanation)
        except TierError as problem:
            reason, _, cure = str(problem).rpartition(":")
            named = set(re.findall(r"\w+", cure)) & set(EXPLANATIONS.builtin)
            assert reason and named - {explanation}, problem
            cures |= named
            continue
        assert maps.isfinite().all()
        served.append(explanation)
    assert "grad_cam" in served or name in NO_GRID
    assert cures <= {*served, "occlusion", "integrated_gradients"}
    if "occlusion" in cures:
        assert explain(model, images, "occlusion").isfinite().all()


@pytest.mark.parametrize("name", sorted(EXPLANATIONS.builtin))
def test_targets_are_checked(name: str) -> None:
    model, images = small("ViT"), torch.zeros(2, 3, 32, 32)
    model.labels = [f"class {i}" for i in range(model.num_classes)]
    if not explains_classes(name):
        with pytest.raises(ConfigError, match=f"{name!r} is the same for every class"):
            explain(model, images, name, 1)
        return
    assert torch.equal(explain(model, images, name, "class 1"), explain(model, images, name, 1))
    likeliest = model(images).argmax(1).tolist()
    assert torch.equal(explain(model, images, name), explain(model, images, name, likeliest))
    for wrong, message in [
        (99, "class 99 does not exist|99"),
        ("clas 1", "no class of that name. Did you mean 'class 1'"),
        ([0, 1, 1], "target has 3 classes for 2 images"),
    ]:
        with pytest.raises(ConfigError, match=message):
            explain(model, images, name, wrong)
    headless = small("ViT", num_classes=0)
    with pytest.raises(TierError, match="has no classes"):
        explain(headless, images, name)


@pytest.mark.parametrize("name", sorted(set(EXPLANATIONS.builtin) - {"similarity"}))
def test_images_are_explained_one_by_one_and_frozen_models_too(name: str) -> None:
    model = small("ViT").requires_grad_(False)
    images = images_for(model)
    together = explain(model, images, name)
    alone = torch.cat([explain(model, image[None], name) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert together.std() > 0
