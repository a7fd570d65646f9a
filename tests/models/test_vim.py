"""Laws of Vision Mamba: the order of its tokens, positions, steps, pairs, official keywords."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitrail
from vitrail.deploy.stream import Stepper
from vitrail.errors import ConfigError, DataError, LoadError
from vitrail.hub.converters.vision_mamba import (
    from_official,
    guess,
    keywords,
    official_state_dict,
)
from vitrail.layers.block import DropPath
from vitrail.layers.mamba import Mamba
from vitrail.layers.mamba_block import MambaBlock, MambaPair
from vitrail.layers.position import rotate, rotation
from vitrail.layers.sequence import SequenceAugment
from vitrail.models.vim import ROPE_GRID, ROPE_THETA, VisionMamba
from vitrail.models.vim_official import OfficialMamba, OfficialMambaPair, OfficialVisionMamba

GRID, PATCHES = (3, 4), 12
WITH_CLASS = ["cls_middle", "cls_head", "cls_random", "cls_both"]
POOLS = [*WITH_CLASS, "mean", "max", "last", "all"]


SIZES = {"image_size": (12, 16), "patch_size": 4, "num_classes": 5, "dim": 16, "depth": 2}


def tiny(**more: Any) -> VisionMamba:
    """A small one, no parameter of which is at a value that hides a mistake."""
    return disturbed(VisionMamba(**{**SIZES, **more}))


def official(**more: Any) -> OfficialVisionMamba:
    """A small one of the official code."""
    return disturbed(OfficialVisionMamba(**{**SIZES, **more}))


def disturbed(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def images(batch: int = 2, size: tuple[int, int] = (12, 16)) -> Tensor:
    return torch.randn(batch, 3, *size)


def bare(model: VisionMamba) -> VisionMamba:
    """Without blocks and norm, so that tokens come out as they went in."""
    model.blocks, model.norm = nn.ModuleList(), nn.Identity()
    return model


def first_input(model: VisionMamba, batch: Tensor) -> Tensor:
    """The sequence that the first block reads."""
    sequences: list[Tensor] = []
    hook = model.blocks[0].register_forward_pre_hook(lambda _, x: sequences.append(x[0]))
    model(batch)
    hook.remove()
    return sequences[0]


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The order of the sequence.


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("cls_middle", [1, 2, 0, 3, 4, 5]),
        ("cls_head", [0, 1, 2, 3, 4, 5]),
        ("cls_both", [0, 2, 3, 4, 5, 6, 1]),
        ("mean", [0, 1, 2, 3, 4]),
    ],
)
def test_class_tokens_stand_where_the_pool_says(pool: str, expected: list[int]) -> None:
    assert tiny(pool=pool).order(5).tolist() == expected


@pytest.mark.parametrize("shuffle", [0.0, 1.0])
@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("position", ["learned", "none"])
@pytest.mark.parametrize("pool", [p for p in POOLS if p != "last"])
def test_whatever_the_order_patches_come_back_to_their_positions(
    pool: str, position: str, flip: float, shuffle: float
) -> None:
    if pool == "cls_random":  # its positions come with the slot that is drawn
        position = "none"
    model = bare(official(pool=pool, position=position, flip=flip, shuffle=shuffle)).train()
    embedded = model.embed(images())
    encoded = model.encode(embedded)
    assert torch.equal(encoded.patches, embedded.patches)
    assert torch.equal(encoded.prefix, embedded.prefix)


@pytest.mark.parametrize("pool", ["cls_middle", "cls_both", "mean"])
def test_a_flip_and_a_shuffle_are_of_the_whole_sequence(pool: str) -> None:
    model, batch = official(pool=pool), images()
    plain = first_input(model, batch)
    model.train()
    model.set_sequence_augment(flip=1.0)
    assert torch.equal(first_input(model, batch), plain.flip(1))
    model.set_sequence_augment(shuffle=1.0)
    torch.manual_seed(7)
    order = torch.randperm(plain.shape[1])
    torch.manual_seed(7)
    assert torch.equal(first_input(model, batch), plain[:, order])
    model.set_sequence_augment(flip=1.0, shuffle=1.0)
    torch.manual_seed(7)
    assert torch.equal(first_input(model, batch), plain[:, order].flip(1))


@pytest.mark.parametrize("position", ["learned", "none"])
@pytest.mark.parametrize("pool", ["cls_middle", "cls_both"])
def test_the_class_token_reads_the_reordered_sequence(pool: str, position: str) -> None:
    model, batch = official(pool=pool, position=position, flip=1.0), images()
    tokens, context, _ = model.to_sequence(model.embed(batch))
    slots = model.order(PATCHES).argsort()
    reordered = model.norm(model.run_blocks(tokens.flip(1), *context)).flip(1)
    plain = model.features(batch)
    features = model.train().features(batch)
    assert not torch.allclose(features.prefix, plain.prefix, atol=1e-3)
    torch.testing.assert_close(features.prefix, reordered[:, slots[: model.prefix]])
    torch.testing.assert_close(features.patches, reordered[:, slots[model.prefix :]])


@pytest.mark.parametrize("pool", ["cls_middle", "cls_random"])
def test_in_eval_mode_nothing_is_drawn(pool: str) -> None:
    model, batch = official(pool=pool, flip=1.0, shuffle=1.0), images()
    plain = tiny(pool=pool.replace("random", "head"))
    plain.load_state_dict(model.state_dict())
    model.sequence_augment.generator = seeded()
    assert torch.equal(model(batch), plain(batch))
    assert torch.equal(model.sequence_augment.generator.get_state(), seeded().get_state())


@pytest.mark.parametrize("pool", ["cls_middle", "cls_random"])
def test_what_is_drawn_comes_from_the_models_generator(pool: str) -> None:
    model, batch, logits = official(pool=pool, flip=0.5, shuffle=0.5).train(), images(), []
    before = torch.get_rng_state(), random.getstate()
    for seed in (3, 3, 4, 5, 6):
        model.sequence_augment.generator = seeded(seed)
        logits.append(model(batch))
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert torch.equal(logits[0], logits[1])
    assert any(not torch.allclose(logits[0], other) for other in logits[2:])


def test_without_a_generator_the_global_seeds_decide() -> None:
    model, batch, runs = official(pool="cls_random", flip=0.5, shuffle=0.5).train(), images(), []
    for seed in (3, 3):
        torch.manual_seed(seed)
        random.seed(seed)
        runs.append([model(batch) for _ in range(4)])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    draws = SequenceAugment()
    random.seed(3)
    slots = [random.randint(0, PATCHES) for _ in range(5)]
    random.seed(3)
    assert [draws.draw_slot(PATCHES) for _ in range(5)] == slots, "not the official code's"


def test_nothing_is_drawn_that_no_keyword_asks_for() -> None:
    before = torch.get_rng_state(), random.getstate()
    official().train()(images())
    assert random.getstate() == before[1]
    assert official().sequence_augment is None


def test_a_random_class_token_stands_anywhere_and_positions_follow() -> None:
    model, batch, slots = official(pool="cls_random").train(), images(), set()
    model.sequence_augment.generator = seeded()
    raw, _ = model.patch_embed(batch)
    token = model.class_token(2)
    for _ in range(200):
        embedded = model.embed(batch)
        tokens = model.to_sequence(embedded).tokens - model.position.weight
        slot = int((tokens - token).abs().amax((0, 2)).argmin())
        expected = torch.cat([raw[:, :slot], token, raw[:, slot:]], dim=1)
        torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)
        slots.add(slot)
    assert slots == set(range(PATCHES + 1))
    model.set_sequence_augment()
    assert model.sequence_augment.training, "slots are no longer drawn"
    head = model.eval().to_sequence(model.embed(batch)).tokens - model.position.weight
    torch.testing.assert_close(head, torch.cat([token, raw], 1), rtol=0, atol=1e-5)


def test_a_patch_keeps_the_position_of_its_slot_where_others_were_dropped() -> None:
    model, batch = official(pool="cls_random").train(), images()
    model.sequence_augment.generator = seeded(5)
    raw, _ = model.patch_embed(batch)
    keep = torch.stack([torch.tensor([0, 3, 4, 7, 11]), torch.tensor([1, 2, 5, 8, 9])])
    for _ in range(10):
        features = model.embed(batch).take(keep)
        draws = model.sequence_augment.generator.get_state()
        tokens, (_, _, order), to_features = model.to_sequence(features)
        model.sequence_augment.generator.set_state(draws)
        slot = model.sequence_augment.draw_slot(5)
        patch_rows = keep + (keep >= slot)
        positions = model.position.weight[0]
        expected = raw.gather(1, keep[..., None].expand(-1, -1, 16)) + positions[patch_rows]
        torch.testing.assert_close(to_features(tokens).patches, expected)
        assert order.tolist().index(0) == slot


@pytest.mark.parametrize("pool", ["cls_middle", "cls_random", "mean"])
def test_dropout_drops_a_token_once(pool: str) -> None:
    model = official(pool=pool, position="none", emb_dropout=0.5, dim=64).train()
    tokens = model.to_sequence(model.embed(images(32))).tokens
    assert (tokens == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("augmented", [0.0, 1.0])
@pytest.mark.parametrize("pool", WITH_CLASS)
def test_patches_are_rotated_by_their_positions_and_class_tokens_are_not(
    pool: str, augmented: float
) -> None:
    keywords = {"position": "none", "rope": "branch", "flip": augmented, "shuffle": augmented}
    model = bare(official(pool=pool, **keywords)).train()
    embedded = model.embed(images())
    encoded = model.encode(embedded)
    rotated = rotate(embedded.patches, rotation(GRID, ROPE_GRID, 16, theta=ROPE_THETA))
    torch.testing.assert_close(encoded.patches, rotated)
    assert torch.equal(encoded.prefix, embedded.prefix)


# Directions, pairs and steps.

EARLY = (torch.arange(11) < 6)[:, None]


@pytest.mark.parametrize("fusion", ["mean", "sum", "gate"])
@pytest.mark.parametrize("kind", ["forward", "v1", "v2"])
def test_a_reversed_mixer_is_the_mixer_of_the_reversed_sequence(kind: str, fusion: str) -> None:
    mixer, x = Mamba(16, kind, fusion=fusion).double(), torch.randn(2, 11, 16, dtype=torch.double)
    torch.testing.assert_close(mixer(x, reverse=True), mixer(x.flip(1)).flip(1))
    if kind == "forward":
        later, earlier = (torch.where(unchanged, x, 1.0) for unchanged in (EARLY, ~EARLY))
        torch.testing.assert_close(mixer(later)[:, :6], mixer(x)[:, :6])
        torch.testing.assert_close(mixer(earlier, True)[:, 6:], mixer(x, True)[:, 6:])


PAIRS = [
    {"pairs": "sum"},
    {"pairs": "gate"},
    {"pairs": "sum", "share_pairs": True},
    {"pairs": "gate", "share_pairs": True},
]


@pytest.mark.parametrize("rope", ["none", "branch", "residual"])
@pytest.mark.parametrize("pairs", [*PAIRS, {"pairs": True}], ids=str)
@pytest.mark.parametrize(("scan", "fusion"), [("forward", "mean"), ("v1", "sum"), ("v2", "gate")])
def test_a_pair_is_a_layer_on_the_sequence_and_one_on_its_reverse(
    scan: str, fusion: str, pairs: dict[str, Any], rope: str
) -> None:
    keywords = {"depth": 4, "position": "none", "rope": rope, "layer_scale": 0.7, **pairs}
    doubled = pairs["pairs"] is True
    fusion = fusion.replace("gate", "mean") if doubled else fusion
    build = official if doubled else tiny
    model = build(scan=scan, fusion=fusion, **keywords).double()
    tokens, (_, angles, order), _ = model.to_sequence(model.embed(images().double()))
    expected = tokens
    for block in model.blocks:
        first, second = block.first, block.second or block.first
        assert (block.second is None) == pairs.get("share_pairs", False)
        f = first.scale(first.mixer(first.norm(expected)))
        b = second.scale(second.mixer(second.norm(expected.flip(1)))).flip(1)
        last = block is model.blocks[-1]
        if rope != "none" and not last:
            f, b = rotate(f, angles), rotate(b, angles)
        if rope == "residual" and not last:
            expected = rotate(expected, angles)
        alpha = block.gate.sigmoid() if pairs["pairs"] == "gate" else None
        f, b = (f, b) if alpha is None else (alpha * f, (1 - alpha) * b)
        expected = (2 if doubled else 1) * expected + f + b
    outputs = model.run_blocks(tokens, None, angles, order)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)


def test_pairs_need_an_even_depth() -> None:
    with pytest.raises(ConfigError, match='depth=3 is odd, and pairs="sum" needs an even depth'):
        tiny(pairs="sum", depth=3)
    model = tiny(pairs="sum", depth=4)
    assert model.depth == 2 and all(type(b) is MambaPair for b in model.blocks)
    model.cut(1)
    assert model.config["depth"] == 2
    assert all(type(b) is OfficialMambaPair for b in official(pairs=True).blocks)


def test_layers_are_dropped_with_rates_that_grow_to_the_last() -> None:
    for more, count in (({}, 5), ({"pairs": "sum", "depth": 6}, 6)):
        model = tiny(**{"depth": 5, "drop_path": 0.5, "emb_dropout": 0.2, **more})
        rates = [m.drop_path.rate for m in model.modules() if hasattr(m, "drop_path")]
        assert rates == pytest.approx([0.5 * i / (count - 1) for i in range(count)])
        assert model.emb_dropout.p == 0.2


def test_output_projections_start_smaller_with_depth() -> None:
    stds = {}
    for depth in (2, 32):
        model = VisionMamba(**{**SIZES, "depth": depth, "dim": 64})
        stds[depth] = model.blocks[0].mixer.out_proj.weight.std().item()
    assert stds[2] == pytest.approx(4 * stds[32], rel=0.05)


def test_official_scans_from_the_end_start_with_large_steps() -> None:
    ours, theirs = Mamba(16, "v2"), OfficialMamba(16, "v2")
    assert not theirs.dt_bias[1].any()
    for bias in (*ours.dt_bias, theirs.dt_bias[0]):
        size = F.softplus(bias)
        assert ((size > 0.0009) & (size < 0.11)).all()


def test_official_gate_learns_from_the_first_direction_only() -> None:
    theirs = OfficialMamba(16, "v1", fusion="sum").double()
    first = Mamba(16, "forward").double()
    x = torch.randn(2, 7, 16, dtype=torch.double)
    weights = {n: t[:1] if n in ("A_log",) else t for n, t in theirs.state_dict().items()}
    first.load_state_dict(weights)
    for mixer in (theirs, first):
        mixer(x).sum().backward()
    inner = 32  # the second half of the projection in is the gate's
    gate, expected = (m.in_proj.weight.grad[inner:] for m in (theirs, first))
    torch.testing.assert_close(gate, expected)
    right = Mamba(16, "v1", fusion="sum").double()
    right.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(right(x), theirs(x))
    right(x).sum().backward()
    assert not torch.allclose(right.in_proj.weight.grad[inner:], gate)


def sequence(model: VisionMamba) -> tuple[Tensor, Any, Tensor]:
    """Its tokens, what they were embedded as, and what all layers make of them."""
    embedded = model.embed(images())
    tokens, context, _ = model.to_sequence(embedded)
    return tokens, embedded, model.run_blocks(tokens, *context)


OTHER_SIZES = {"d_state": 5, "d_conv": 3, "expand": 3, "dt_rank": 7}
STEPPED = [
    {},
    {"position": "none", "rope": "branch"},
    {"rope": "residual", "layer_scale": 0.5},
    {"pool": "last", "position": "none", "norm": "layer", **OTHER_SIZES},
    {"pool": "cls_both", "bias": True, "d_state": 4, "d_conv": 1, "expand": 1},
]


@torch.no_grad()
@pytest.mark.parametrize("more", STEPPED, ids=str)
def test_steps_of_a_causal_model_are_the_model(more: dict[str, Any]) -> None:
    model = tiny(**{"scan": "forward", "depth": 3, **more})
    assert model.causal
    tokens, embedded, whole = sequence(model)
    for parts in ([1] * tokens.shape[1], [5, 1, tokens.shape[1] - 6], [tokens.shape[1]]):
        steps = Stepper(model, embedded)
        sizes = [t.shape for b in model.blocks for t in b.mixer.start(2)]
        outputs = torch.cat([steps(part) for part in tokens.split(parts, dim=1)], dim=1)
        torch.testing.assert_close(outputs, whole, rtol=1e-4, atol=1e-5)
        assert [t.shape for state in steps.states for t in state] == sizes, "a state grew"
        assert steps(tokens[:, :0]).shape == (2, 0, tokens.shape[2])
        with pytest.raises(ConfigError, match=f"{tokens.shape[1] + 1} tokens .*: begin anew"):
            steps(tokens[:, :1])
        with pytest.raises(ConfigError, match="do not fit the features"):
            Stepper(model, embedded)(tokens.repeat(2, 1, 1))


@torch.no_grad()
@pytest.mark.parametrize("rope", ["none", "branch", "residual"])
def test_steps_where_patches_were_dropped(rope: str) -> None:
    model = tiny(scan="forward", rope=rope)
    keep = torch.stack([torch.randperm(PATCHES)[:5].sort().values for _ in range(2)])
    features = model.embed(images()).take(keep)
    tokens, context, _ = model.to_sequence(features)
    steps = Stepper(model, features)
    outputs = torch.cat([steps(token) for token in tokens.split(1, dim=1)], dim=1)
    torch.testing.assert_close(outputs, model.run_blocks(tokens, *context), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("rope", ["none", "residual"])
@pytest.mark.parametrize(
    "scan",
    [
        {"scan": "v2"},
        {"scan": "v1"},
        {"scan": "v2", "fusion": "sum"},
        {"scan": "forward", "pairs": "sum"},
        {"scan": "v2", "pairs": "gate"},
    ],
    ids=str,
)
def test_steps_in_both_directions_are_the_model_at_the_end(scan: dict[str, Any], rope: str) -> None:
    model = tiny(rope=rope, **scan)
    assert not model.causal
    tokens, embedded, whole = sequence(model)
    steps = Stepper(model, embedded)
    early, late = steps(tokens[:, :7]), steps(tokens[:, 7:])
    torch.testing.assert_close(late, whole[:, 7:])
    assert not torch.allclose(early, whole[:, :7], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(
    ("scan", "fusion"), [("v1", "sum"), ("v2", "sum"), ("v2", "gate"), ("v2", "mean")]
)
def test_forward_only_is_the_forward_direction_alone(scan: str, fusion: str) -> None:
    model, alone = tiny(scan=scan, fusion=fusion), tiny(scan="forward")
    weights = model.state_dict()
    alone.load_state_dict({n: weights[n][: len(t)] for n, t in alone.state_dict().items()})
    tokens, embedded, whole = sequence(model)
    outputs = Stepper(model, embedded, forward_only=True)(tokens)
    assert not torch.allclose(outputs, whole, atol=1e-3)
    context = model.to_sequence(embedded).context
    torch.testing.assert_close(outputs, alone.run_blocks(tokens, *context), rtol=1e-4, atol=1e-5)


# Patches and positions.


def test_overlapping_patches_are_those_that_unfold_finds() -> None:
    model, batch = tiny(stride=2, position="none"), images()
    patches, grid = model.patch_embed(batch)
    assert grid == model.grid == (5, 7)
    pixels = F.unfold(batch, 4, stride=2).mT
    weight, bias = model.patch_embed.weight.flatten(1), model.patch_embed.bias
    torch.testing.assert_close(patches, F.linear(pixels, weight, bias))
    assert model(images(size=(13, 9))).shape == (2, 5)
    assert tiny(stride=(2, 4)).grid == (5, 4)
    with pytest.raises(ConfigError, match=r"stride=\(5, 5\) leaves pixels between patches"):
        tiny(stride=5)
    with pytest.raises(DataError, match="3 x 9 pixels does not divide"):
        model(images(size=(3, 9)))


@pytest.mark.parametrize("stride", [None, 2])
@pytest.mark.parametrize("pool", ["cls_middle", "cls_head", "cls_random", "cls_both", "mean"])
def test_positions_of_patches_are_resampled_and_those_of_class_tokens_are_not(
    pool: str, stride: int | None, tmp_path: Path
) -> None:
    model, size = official(pool=pool, stride=stride), (28, 8)
    vitrail.save(model, tmp_path / "model")
    loaded = vitrail.load(tmp_path / "model", image_size=size)
    batch = images(size=size)
    torch.testing.assert_close(loaded(batch), model(batch))
    # By hand: the rows of the patches as an image.
    (h, w), prefix = model.grid, model.prefix
    rows = model.position.weight[0]
    image = rows[prefix:].T.reshape(1, 16, h, w)
    resampled = F.interpolate(image, loaded.grid, mode="bicubic")[0].flatten(1).T
    expected = torch.cat([rows[:prefix], resampled])
    torch.testing.assert_close(loaded.position.weight[0], expected)
    assert loaded.config["image_size"] == size


# What the head reads.


def test_pools_are_what_they_are_called() -> None:
    batch = images()
    for pool in POOLS:
        model = official(pool=pool)
        features, head = model.features(batch), model.head
        patches, prefix = features.patches, features.prefix
        expected = {
            "mean": lambda p=patches, h=head: h(p.mean(1)),
            "max": lambda p=patches, h=head: F.linear(p, h.weight, h.bias).max(1).values,
            "last": lambda p=patches, h=head: h(p[:, -1]),
            "all": lambda p=patches, h=head: h(p),
            "cls_both": lambda c=prefix, h=head: h((c[:, 0] + c[:, 1]) / 2),
        }.get(pool, lambda c=prefix, h=head: h(c[:, 0]))
        torch.testing.assert_close(model(batch), expected(), msg=pool)
        assert (prefix.shape[1], model.prefix) == (
            {"cls_both": 2}.get(pool, int("cls" in pool)),
        ) * 2
    assert tiny(pool="all")(batch).shape == (2, PATCHES, 5)
    assert tiny(pool="max", num_classes=0)(batch).shape == (2, PATCHES, 16)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"pool": "cls"}, "pool='cls' is not one of"),
        ({"pool": "cls_random"}, "pool='cls_random' is not one of"),
        ({"position": "sincos"}, "position='sincos' is not one of"),
        ({"norm": "batch"}, "norm='batch' is not one of"),
        ({"scan": "v3"}, "scan='v3' is not one of"),
        ({"fusion": "men"}, "fusion='men' is not one of .* Did you mean 'mean'"),
        ({"scan": "forward", "fusion": "sum"}, 'joins two directions, and scan="forward" has one'),
        ({"share_pairs": True}, "share_pairs=True is for layers in pairs"),
        ({"scan": "forward", "pool": "cls_head"}, "reads no other"),
        ({"flip": 0.5}, "no keyword 'flip'"),
        ({"rope": "branch", "dim": 18}, "dim=18 cannot be rotated in 2-D"),
        ({"d_state": 0}, "d_state=0 is not a whole number of at least 1"),
    ],
)
def test_keywords_that_do_not_fit_are_one_line(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        tiny(**more)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"shuffle": 1.5}, "shuffle=1.5 is not a number of at least 0 and at most 1"),
        ({"pool": "last", "flip": 0.5}, "reads the last patch, which flip and shuffle move"),
        ({"scan": "forward", "pool": "cls_random"}, "reads no other"),
        ({"pairs": "gate"}, "pairs='gate' is not True or False"),
        ({"fusion": "gate"}, "fusion='gate' is not one of 'mean', 'sum'"),
    ],
)
def test_official_quirks_that_do_not_fit_are_one_line(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        official(**more)
    assert "\n" not in str(caught.value)


# The official code's keywords and weights.


@pytest.mark.parametrize(
    ("official", "problem"),
    [
        ({"img_sise": 224}, "no keyword 'img_sise'. Did you mean 'img_size'"),
        ({"if_rope_residual": True}, "if_rope_residual needs if_rope"),
        ({"use_double_cls_token": True, "if_cls_token": False}, "needs if_cls_token"),
        ({"if_random_cls_token_position": True}, "needs use_middle_cls_token=False"),
        ({"if_bimamba": True, "bimamba_type": "v2"}, "if_bimamba means bimamba_type='v1'"),
        ({"bimamba_type": "v3"}, "bimamba_type='v3' is not one of"),
        ({"final_pool_type": "max"}, "final_pool_type='max' needs if_cls_token=False"),
        ({"final_pool_type": "min"}, "final_pool_type='min' is not one of"),
        ({"norm_epsilon": 1e-6}, "norm_epsilon other than 1e-5"),
        ({"if_divide_out": True, "if_devide_out": False}, "its old spelling, disagree"),
        ({"ssm_cfg": {"use_fast_path": False}}, "silently drops the scan from the end"),
        ({"ssm_cfg": {"d_kov": 3}}, "'d_kov' in ssm_cfg is not supported"),
        ({"if_rope": True, "use_middle_cls_token": False, "pt_hw_seq_len": 16}, "pt_hw_seq_len"),
        ({"bimamba_type": "none", "use_middle_cls_token": False}, "reads no other"),
    ],
)
def test_official_keywords_that_contradict_each_other(
    official: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        from_official({}, **official)
    assert "\n" not in str(caught.value)


def test_rotations_beside_a_middle_class_token_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="neighbors' positions"):
        keywords({"if_rope": True})


SMALL = {"image_size": 224, "patch_size": 56, "num_classes": 3, "dim": 8, "depth": 2}
FIRST_RELEASE = {"pool": "cls_head", "rope": "residual", "fusion": "sum"}
PUBLISHED = [
    {},
    FIRST_RELEASE,
    {"stride": 28, "d_state": 4, "expand": 3, "norm": "layer"},
    {"num_classes": 0, "channels": 1, "depth": 1},
    {**FIRST_RELEASE, "norm": "layer", "stride": 42},
]


@torch.no_grad()
@pytest.mark.parametrize("more", PUBLISHED, ids=str)
def test_a_published_checkpoint_is_recognised_by_its_weights(
    more: dict[str, Any], tmp_path: Path
) -> None:
    model = tiny(**{**SMALL, **more})
    weights = official_state_dict(model)
    if model.rope_kind != "none":
        weights["rope.freqs_cos"] = torch.ones(16, 8)
    loaded = from_official(weights, **guess(weights))
    batch = torch.randn(1, model.channels, 224, 224)
    assert type(loaded) is VisionMamba
    assert torch.equal(loaded(batch), model(batch))
    same = {"stride": (more.get("stride") or 56,) * 2}
    assert loaded.config | same == model.config | same
    assert loaded.stride == model.stride
    vitrail.save(loaded, tmp_path / "model")
    again = vitrail.load(tmp_path / "model")
    assert again.config == loaded.config
    assert torch.equal(again(batch), model(batch))


@torch.no_grad()
@pytest.mark.parametrize("pool", ["cls_middle", "cls_head", "cls_both", "mean"])
def test_official_positions_are_in_the_order_of_the_sequence(pool: str) -> None:
    model, batch = tiny(pool=pool), images(1)
    rows = official_state_dict(model)["pos_embed"].clone()
    tokens = model.to_sequence(model.embed(batch)).tokens
    model.position.weight.zero_()
    without = model.to_sequence(model.embed(batch)).tokens
    torch.testing.assert_close(tokens - without, rows)


def test_weights_that_do_not_fit_are_one_line() -> None:
    model = tiny(**SMALL)
    weights = official_state_dict(model)
    options = guess(weights)
    for broken, problem in (
        ({n: t for n, t in weights.items() if n != "norm_f.weight"}, "norm_f.weight is missing"),
        ({**weights, "extra": torch.ones(1)}, "extra is not among the model's"),
        ({**weights, "head.bias": torch.ones(4)}, r"head.bias has shape \(4,\), where \(3,\)"),
    ):
        with pytest.raises(LoadError, match=problem) as caught:
            from_official(broken, **options)
        assert "\n" not in str(caught.value)
    for missing in ("pos_embed", "patch_embed.proj.weight", "layers.0.mixer.conv1d_b.weight"):
        with pytest.raises(LoadError, match=f"no {missing} among the weights") as caught:
            guess({n: t for n, t in weights.items() if n != missing})
        assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize(
    "more",
    [
        {"pool": "cls_both"},
        {"pool": "cls_random"},
        {"scan": "v1", "fusion": "sum"},
        {"layer_scale": 0.3},
        {"pairs": True, "flip": 0.5, "shuffle": 1.0},
    ],
    ids=str,
)
def test_official_names_there_and_back(more: dict[str, Any], tmp_path: Path) -> None:
    model = official(**more)
    flags = {
        "img_size": (12, 16), "patch_size": 4, "stride": 4, "num_classes": 5, "embed_dim": 16,
        "depth": 2, "use_double_cls_token": more.get("pool") == "cls_both",
        "use_middle_cls_token": more.get("pool") != "cls_random",
        "if_random_cls_token_position": more.get("pool") == "cls_random",
        "bimamba_type": model.config["scan"], "init_layer_scale": model.config["layer_scale"],
        "if_bidirectional": "pairs" in more, "flip_img_sequences_ratio": more.get("flip", -1.0),
        "if_random_token_rank": "shuffle" in more, "drop_path_rate": 0.0,
    }  # fmt: skip
    loaded = from_official(official_state_dict(model), **flags)
    batch = images()
    assert torch.equal(loaded(batch), model(batch))
    quirks = more.keys() & {"scan", "pairs"} or more.get("pool") == "cls_random"
    assert type(loaded) is (OfficialVisionMamba if quirks else VisionMamba)
    assert all(isinstance(b, MambaPair if "pairs" in more else MambaBlock) for b in loaded.blocks)
    vitrail.save(loaded, tmp_path / "model")
    assert torch.equal(vitrail.load(tmp_path / "model")(batch), model(batch))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"fusion": "gate"}, "2 of its numbers, such as of a gate"),
        ({"fusion": "concat"}, 'fusion="concat"'),
        ({"scan": "v1"}, 'scan="v1" without fusion="sum"'),
        ({"pairs": "sum"}, "counts the residual twice"),
        ({"pairs": "concat"}, "512 of its numbers"),
        ({"pairs": "sum", "share_pairs": True}, "share_pairs=True"),
    ],
    ids=str,
)
def test_what_the_official_code_does_not_compute_gets_no_official_names(
    more: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"{problem}.*: keep the model by vitrail.save"):
        official_state_dict(tiny(**more))


def test_a_checkpoint_of_other_images_is_no_published_one() -> None:
    with pytest.raises(LoadError, match=r"'model' is no tensor: .* checkpoint\['model'\]"):
        from_official({"model": official_state_dict(tiny())})
    with pytest.raises(LoadError, match="positions of 4 x 4 patches of 4 pixels are of no image"):
        guess(official_state_dict(tiny(image_size=16)))


@pytest.mark.parametrize(("ratio", "flip"), [(-1.0, 0.0), (0.3, 0.3), (2.0, 1.0)])
def test_an_official_ratio_of_flips_is_a_probability(ratio: float, flip: float) -> None:
    assert keywords({"flip_img_sequences_ratio": ratio})["flip"] == flip
    with pytest.raises(ConfigError, match="flip_img_sequences_ratio='0.5' is not a number"):
        keywords({"flip_img_sequences_ratio": str(0.5)})


def test_rates_of_stochastic_depth_rise_to_the_last_layer() -> None:
    model = VisionMamba(32, 8, num_classes=5, dim=16, depth=3, drop_path=0.4)
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.0, 0.2, 0.4])
