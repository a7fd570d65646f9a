"""Laws of Vision Mamba: orders, places, steps, pairs, and the official code's keywords."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitrail
from vitrail.deploy.stream import Stepper
from vitrail.errors import ConfigError, DataError, LoadError, TierError
from vitrail.layers.mamba import Mamba
from vitrail.layers.mamba_block import MambaBlock, PairedBlocks
from vitrail.layers.position import rotate, rotation
from vitrail.models import vim_official
from vitrail.models.vim import POOLS, ROPE_GRID, ROPE_THETA, VisionMamba

GRID, PATCHES = (3, 4), 12
WITH_CLASS = [pool for pool in POOLS if pool.startswith("cls")]


def tiny(**more: Any) -> VisionMamba:
    """A small one, no parameter of which is at a value that hides a mistake."""
    keywords = {"image_size": (12, 16), "patch_size": 4, "num_classes": 5, "dim": 16, "depth": 2}
    model = VisionMamba(**{**keywords, **more})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def images(batch: int = 2, size: tuple[int, int] = (12, 16)) -> Tensor:
    return torch.randn(batch, 3, *size)


def bare(model: VisionMamba) -> VisionMamba:
    """Without blocks and norm: what goes in comes out, in its place."""
    model.blocks, model.norm = nn.ModuleList(), nn.Identity()
    return model


def entering(model: VisionMamba, given: Tensor) -> Tensor:
    """The sequence that the first block is given."""
    caught: list[Tensor] = []
    hook = model.blocks[0].register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    model(given)
    hook.remove()
    return caught[0]


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The sequence: which tokens stand where.


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("cls-middle", [1, 2, 0, 3, 4, 5]),
        ("cls-head", [0, 1, 2, 3, 4, 5]),
        ("cls-random", [0, 1, 2, 3, 4, 5]),
        ("cls-both", [0, 2, 3, 4, 5, 6, 1]),
        ("mean", [0, 1, 2, 3, 4]),
    ],
)
def test_class_tokens_stand_where_the_pool_says(pool: str, expected: list[int]) -> None:
    assert tiny(pool=pool).order(5).tolist() == expected


@pytest.mark.parametrize("augment", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("position", ["learned", "none"])
@pytest.mark.parametrize("pool", [p for p in POOLS if p != "last"])
def test_whatever_the_order_patches_come_back_to_their_places(
    pool: str, position: str, augment: tuple[float, float]
) -> None:
    if pool == "cls-random":  # its positions come with the place that is drawn
        position = "none"
    model = bare(tiny(pool=pool, position=position, augment=augment)).train()
    embedded = model.embed(images())
    encoded = model.encode(embedded)
    assert torch.equal(encoded.patches, embedded.patches)
    assert torch.equal(encoded.prefix, embedded.prefix)


@pytest.mark.parametrize("pool", ["cls-middle", "cls-both", "mean"])
def test_a_flip_and_a_shuffle_are_of_the_whole_sequence(pool: str) -> None:
    model, given = tiny(pool=pool), images()
    plain = entering(model, given)
    model.train()
    model.augment = (1.0, 0.0)
    assert torch.equal(entering(model, given), plain.flip(1))
    model.augment = (0.0, 1.0)
    torch.manual_seed(7)
    order = torch.randperm(plain.shape[1])
    torch.manual_seed(7)
    assert torch.equal(entering(model, given), plain[:, order])
    model.augment = (1.0, 1.0)
    torch.manual_seed(7)
    assert torch.equal(entering(model, given), plain[:, order].flip(1))


@pytest.mark.parametrize("position", ["learned", "none"])
@pytest.mark.parametrize("pool", ["cls-middle", "cls-both"])
def test_the_class_token_speaks_for_the_reordered_sequence(pool: str, position: str) -> None:
    model, given = tiny(pool=pool, position=position, augment=(1.0, 0.0)), images()
    tokens, context, _ = model.to_sequence(model.embed(given))
    places = model.order(PATCHES).argsort()
    reordered = model.norm(model.run_blocks(tokens.flip(1), *context)).flip(1)
    plain = model.features(given)
    found = model.train().features(given)
    assert not torch.allclose(found.prefix, plain.prefix, atol=1e-3)
    torch.testing.assert_close(found.prefix, reordered[:, places[: model.prefix]])
    torch.testing.assert_close(found.patches, reordered[:, places[model.prefix :]])


@pytest.mark.parametrize("pool", ["cls-middle", "cls-random"])
def test_in_eval_mode_nothing_is_drawn(pool: str) -> None:
    model, given = tiny(pool=pool, augment=(1.0, 1.0)), images()
    plain = tiny(pool=pool)
    plain.load_state_dict(model.state_dict())
    model.generator = seeded()
    assert torch.equal(model(given), plain(given))
    assert torch.equal(model.generator.get_state(), seeded().get_state())


@pytest.mark.parametrize("pool", ["cls-middle", "cls-random"])
def test_what_is_drawn_comes_from_the_models_generator(pool: str) -> None:
    model, given, found = tiny(pool=pool, augment=(0.5, 0.5)).train(), images(), []
    before = torch.get_rng_state(), random.getstate()
    for seed in (3, 3, 4, 5, 6):
        model.generator = seeded(seed)
        found.append(model(given))
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert torch.equal(found[0], found[1])
    assert any(not torch.allclose(found[0], other) for other in found[2:])


def test_without_a_generator_the_global_seeds_decide() -> None:
    model, given, found = tiny(pool="cls-random", augment=(0.5, 0.5)).train(), images(), []
    for seed in (3, 3):
        torch.manual_seed(seed)
        random.seed(seed)
        found.append([model(given) for _ in range(4)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_nothing_is_drawn_that_is_not_asked_for() -> None:
    model = tiny().train()
    model.generator = seeded()
    model(images())
    assert torch.equal(model.generator.get_state(), seeded().get_state())


def test_a_random_class_token_stands_anywhere_and_positions_follow() -> None:
    model, given, seen = tiny(pool="cls-random").train(), images(), set()
    model.generator = seeded()
    raw, _ = model.patch_embed(given)
    token = model.class_token.expand(2, -1, -1)
    for _ in range(200):
        embedded = model.embed(given)
        tokens = model.to_sequence(embedded).tokens - model.position
        place = int((tokens - model.class_token).abs().amax((0, 2)).argmin())
        expected = torch.cat([raw[:, :place], token, raw[:, place:]], dim=1)
        torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)
        seen.add(place)
    assert seen == set(range(PATCHES + 1))
    head = model.eval().to_sequence(model.embed(given)).tokens - model.position
    torch.testing.assert_close(head, torch.cat([token, raw], 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pool", ["cls-middle", "cls-random", "mean"])
def test_dropout_drops_a_token_once(pool: str) -> None:
    model = tiny(pool=pool, position="none", emb_dropout=0.5, dim=64).train()
    tokens = model.to_sequence(model.embed(images(32))).tokens
    assert (tokens == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("augment", [(0.0, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize("pool", WITH_CLASS)
def test_rotations_turn_patches_by_their_places_and_no_class_token(
    pool: str, augment: tuple[float, float]
) -> None:
    model, given = bare(tiny(pool=pool, position="rope", augment=augment)).train(), images()
    embedded = model.embed(given)
    encoded = model.encode(embedded)
    turned = rotate(embedded.patches, rotation(GRID, ROPE_GRID, 16, theta=ROPE_THETA))
    torch.testing.assert_close(encoded.patches, turned)
    assert torch.equal(encoded.prefix, embedded.prefix)


# Directions, pairs and steps.

AHEAD = (torch.arange(11) < 6)[:, None]


@pytest.mark.parametrize("fusion", ["mean", "sum", "gate"])
@pytest.mark.parametrize("kind", ["forward", "v1", "v2"])
def test_a_reversed_mixer_is_the_mixer_of_the_reversed_sequence(kind: str, fusion: str) -> None:
    mixer, x = Mamba(16, kind, fusion=fusion).double(), torch.randn(2, 11, 16, dtype=torch.double)
    torch.testing.assert_close(mixer(x, reverse=True), mixer(x.flip(1)).flip(1))
    if kind == "forward":
        later, earlier = (torch.where(seen, x, 1.0) for seen in (AHEAD, ~AHEAD))
        torch.testing.assert_close(mixer(later)[:, :6], mixer(x)[:, :6])
        torch.testing.assert_close(mixer(earlier, True)[:, 6:], mixer(x, True)[:, 6:])


@pytest.mark.parametrize("position", ["none", "rope", "rope+residual"])
@pytest.mark.parametrize("more", ["", "+alpha", "+shared", "+doubled", "+alpha+shared+doubled"])
@pytest.mark.parametrize("kind", ["forward", "v1", "v2+gate"])
def test_a_pair_is_one_layer_ahead_and_one_on_the_flipped_sequence(
    kind: str, more: str, position: str
) -> None:
    model = tiny(mixer=f"{kind}+paired{more}", depth=4, position=position, layer_scale=0.7).double()
    tokens, (turn, order), _ = model.to_sequence(model.embed(images().double()))
    expected = tokens
    for block in model.blocks:
        ahead, back = block.ahead, block.back or block.ahead
        assert (block.back is None) == ("shared" in more)
        f = ahead.scale(ahead.mixer(ahead.norm(expected)))
        b = back.scale(back.mixer(back.norm(expected.flip(1)))).flip(1)
        last = block is model.blocks[-1]
        if position != "none" and not last:
            f, b = rotate(f, turn), rotate(b, turn)
        if "residual" in position and not last:
            expected = rotate(expected, turn)
        alpha = block.gate.sigmoid() if "alpha" in more else None
        f, b = (f, b) if alpha is None else (alpha * f, (1 - alpha) * b)
        expected = (2 if "doubled" in more else 1) * expected + f + b
    found = model.run_blocks(tokens, turn, order)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_pairs_need_an_even_depth() -> None:
    with pytest.raises(ConfigError, match="depth=3 does not go into pairs: use an even one"):
        tiny(mixer="v2+paired", depth=3)
    model = tiny(mixer="v2+paired", depth=4)
    assert model.depth == 2 and all(isinstance(b, PairedBlocks) for b in model.blocks)
    model.cut(1)
    assert model.config["depth"] == 2


def sequence(model: VisionMamba) -> tuple[Tensor, Any, Tensor]:
    """Its tokens, what they were embedded as, and what all layers make of them."""
    embedded = model.embed(images())
    tokens, context, _ = model.to_sequence(embedded)
    return tokens, embedded, model.run_blocks(tokens, *context)


STEPPED = [
    {},
    {"position": "rope"},
    {"position": "learned+rope+residual", "layer_scale": 0.5},
    {"pool": "last", "position": "none", "norm": "layer", "ssm": (5, 3, 3, 7)},
    {"pool": "cls-both", "mixer": "forward+bias", "ssm": (4, 1, 1, 0)},
]


@torch.no_grad()
@pytest.mark.parametrize("more", STEPPED, ids=str)
def test_steps_of_a_causal_model_are_the_model(more: dict[str, Any]) -> None:
    model = tiny(**{"mixer": "forward", "depth": 3, **more})
    tokens, embedded, whole = sequence(model)
    for parts in ([1] * tokens.shape[1], [5, 1, tokens.shape[1] - 6], [tokens.shape[1]]):
        steps = Stepper(model, embedded)
        sizes = [t.shape for state in steps.states for t in state]
        found = torch.cat([steps(part) for part in tokens.split(parts, dim=1)], dim=1)
        torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
        assert [t.shape for state in steps.states for t in state] == sizes, "a state grew"
        with pytest.raises(ConfigError, match=f"{tokens.shape[1] + 1} tokens are more than"):
            steps(tokens[:, :1])


@torch.no_grad()
@pytest.mark.parametrize("position", ["learned", "rope", "rope+residual"])
def test_steps_where_patches_were_dropped(position: str) -> None:
    model = tiny(mixer="forward", position=position)
    kept = torch.stack([torch.randperm(PATCHES)[:5].sort().values for _ in range(2)])
    features = model.embed(images()).take(kept)
    tokens, context, _ = model.to_sequence(features)
    steps = Stepper(model, features)
    found = torch.cat([steps(token) for token in tokens.split(1, dim=1)], dim=1)
    torch.testing.assert_close(found, model.run_blocks(tokens, *context), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("position", ["learned", "rope+residual"])
@pytest.mark.parametrize("mixer", ["v2", "v1", "v2+sum", "forward+paired", "v2+paired+alpha"])
def test_steps_both_ways_are_the_model_once_all_is_there(mixer: str, position: str) -> None:
    model = tiny(mixer=mixer, position=position)
    tokens, embedded, whole = sequence(model)
    steps = Stepper(model, embedded)
    early, late = steps(tokens[:, :7]), steps(tokens[:, 7:])
    torch.testing.assert_close(late, whole[:, 7:])
    assert not torch.allclose(early, whole[:, :7], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("mixer", ["v1+sum", "v2+sum", "v2+gate", "v2+mean"])
def test_forward_only_is_the_forward_direction_alone(mixer: str) -> None:
    model, alone = tiny(mixer=mixer), tiny(mixer="forward")
    weights = model.state_dict()
    alone.load_state_dict({n: weights[n][: len(t)] for n, t in alone.state_dict().items()})
    tokens, embedded, whole = sequence(model)
    found = Stepper(model, embedded, forward_only=True)(tokens)
    assert not torch.allclose(found, whole, atol=1e-3)
    context = model.to_sequence(embedded).context
    torch.testing.assert_close(found, alone.run_blocks(tokens, *context), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_stepped_says_so() -> None:
    model = tiny(mixer="v1+paired")
    with pytest.raises(ConfigError, match="every second begins at the end"):
        Stepper(model, model.embed(images()), forward_only=True)
    mixer = Mamba(16, "v2")
    with pytest.raises(TierError, match='mixer="v2" looks at later tokens too'):
        mixer.step(torch.randn(2, 16), mixer.start(2))


# Patches and positions.


def test_overlapping_patches_are_those_that_unfold_finds() -> None:
    model, given = tiny(stride=2, position="none"), images()
    patches, grid = model.patch_embed(given)
    assert grid == model.grid == (5, 7)
    pixels = F.unfold(given, 4, stride=2).mT
    weight, bias = model.patch_embed.weight.flatten(1), model.patch_embed.bias
    torch.testing.assert_close(patches, F.linear(pixels, weight, bias))
    assert model(images(size=(13, 9))).shape == (2, 5)
    assert tiny(stride=(2, 4)).grid == (5, 4)
    with pytest.raises(ConfigError, match=r"stride=\(5, 5\) skips pixels"):
        tiny(stride=5)
    with pytest.raises(DataError, match="3 x 9 pixels does not divide"):
        model(images(size=(3, 9)))


@pytest.mark.parametrize("stride", [None, 2])
@pytest.mark.parametrize("pool", ["cls-middle", "cls-head", "cls-random", "cls-both", "mean"])
def test_positions_are_resized_around_the_class_token(
    pool: str, stride: int | None, tmp_path: Path
) -> None:
    model, size = tiny(pool=pool, stride=stride), (28, 8)
    vitrail.save(model, tmp_path / "model")
    loaded = vitrail.load(tmp_path / "model", image_size=size)
    given = images(size=size)
    torch.testing.assert_close(loaded(given), model(given))
    # By hand: a table of the patches only, as an image, and the class tokens' rows as they are.
    (h, w), places = model.grid, model.order(model.grid[0] * model.grid[1]).argsort()
    own = model.position[0, places[: model.prefix]]
    table = model.position[0, places[model.prefix :]].T.reshape(1, 16, h, w)
    resized = F.interpolate(table, loaded.grid, mode="bicubic")[0].flatten(1).T
    order = loaded.order(loaded.grid[0] * loaded.grid[1])
    torch.testing.assert_close(loaded.position[0], torch.cat([own, resized])[order])
    assert loaded.config["image_size"] == size


# What speaks for the image.


def test_pools_are_what_they_are_called() -> None:
    given = images()
    for pool in POOLS:
        model = tiny(pool=pool)
        features, head = model.features(given), model.head
        patches, prefix = features.patches, features.prefix
        expected = {
            "mean": lambda p=patches, h=head: h(p.mean(1)),
            "max": lambda p=patches, h=head: F.linear(p, h.weight, h.bias).max(1).values,
            "last": lambda p=patches, h=head: h(p[:, -1]),
            "all": lambda p=patches, h=head: h(p),
            "cls-both": lambda c=prefix, h=head: h((c[:, 0] + c[:, 1]) / 2),
        }.get(pool, lambda c=prefix, h=head: h(c[:, 0]))
        torch.testing.assert_close(model(given), expected(), msg=pool)
        assert (prefix.shape[1], model.prefix) == (
            {"cls-both": 2}.get(pool, int("cls" in pool)),
        ) * 2
    assert tiny(pool="all")(given).shape == (2, PATCHES, 5)
    assert tiny(pool="max", num_classes=0)(given).shape == (2, PATCHES, 16)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"pool": "cls"}, "pool='cls' is not one of"),
        ({"position": "sincos"}, "position='sincos' is not one of"),
        ({"norm": "batch"}, "norm='batch' is not one of"),
        ({"mixer": "v3"}, "mixer='v3' is not one of"),
        ({"mixer": "v2+men"}, "mixer part='men' is not one of .* Did you mean 'mean'"),
        ({"mixer": "v2+mean+sum"}, "joins its directions in two ways"),
        ({"mixer": "forward+sum"}, "has one direction: there is nothing to join"),
        ({"mixer": "v2+alpha"}, r'"\+alpha" is for layers in pairs: add "\+paired"'),
        ({"mixer": "v2+shared"}, r'"\+shared" is for layers in pairs'),
        ({"mixer": "v2+doubled"}, r'"\+doubled" is for layers in pairs'),
        ({"mixer": "forward", "pool": "cls-head"}, "never shows its first token any other"),
        ({"mixer": "forward", "pool": "cls-random"}, "never shows its first token any other"),
        ({"augment": (0.5,)}, "is not two probabilities"),
        ({"augment": (0.5, 1.5)}, "is not two probabilities"),
        ({"pool": "last", "augment": (0.5, 0.0)}, "reads the last patch, which augment moves"),
        ({"position": "rope", "dim": 18}, "dim=18 cannot be rotated in 2-D"),
        ({"ssm": (0, 4, 2, 0)}, "states=0 of the mixer is not at least 1"),
    ],
)
def test_keywords_that_do_not_fit_are_one_line(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        tiny(**more)
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
        ({"ssm_cfg": {"use_fast_path": False}}, "silently drops the backward direction"),
        ({"ssm_cfg": {"d_kov": 3}}, "'d_kov' in ssm_cfg is not supported"),
        ({"if_rope": True, "use_middle_cls_token": False, "pt_hw_seq_len": 16}, "pt_hw_seq_len"),
        ({"bimamba_type": "none", "use_middle_cls_token": False}, "never shows its first token"),
    ],
)
def test_official_keywords_that_contradict_each_other(
    official: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        VisionMamba.from_official({}, **official)
    assert "\n" not in str(caught.value)


def test_rotations_beside_a_middle_class_token_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="neighbours' places"):
        vim_official.keywords({"if_rope": True})


SMALL = {"image_size": 224, "patch_size": 56, "num_classes": 3, "dim": 8, "depth": 2}
FIRST = {"pool": "cls-head", "position": "learned+rope+residual", "mixer": "v2+sum"}
PUBLISHED = [
    {},
    FIRST,
    {"stride": 28, "ssm": (4, 4, 3, 0), "norm": "layer"},
    {"num_classes": 0, "channels": 1, "depth": 1},
    {**FIRST, "norm": "layer", "stride": 42},
]


@torch.no_grad()
@pytest.mark.parametrize("more", PUBLISHED, ids=str)
def test_a_published_checkpoint_is_recognised_by_its_weights(more: dict[str, Any]) -> None:
    model = tiny(**{**SMALL, **more})
    weights = vim_official.state_dict(model)
    if "rope" in model.position_kind:
        weights["rope.freqs_cos"] = torch.ones(16, 8)
    found = VisionMamba.from_official(weights, **vim_official.guess(weights))
    given = torch.randn(1, model.channels, 224, 224)
    assert torch.equal(found(given), model(given))
    same = {"stride": (more.get("stride") or 56,) * 2}
    assert found.config | same == model.config | same
    assert found.stride == model.stride


def test_weights_that_do_not_fit_are_one_line() -> None:
    model = tiny(**SMALL)
    weights, keywords = (
        vim_official.state_dict(model),
        vim_official.guess(vim_official.state_dict(model)),
    )
    for broken, problem in (
        ({n: t for n, t in weights.items() if n != "norm_f.weight"}, "norm_f.weight is missing"),
        ({**weights, "extra": torch.ones(1)}, "extra has no place"),
        ({**weights, "head.bias": torch.ones(4)}, r"head.bias has shape \(4,\), where \(3,\)"),
    ):
        with pytest.raises(LoadError, match=problem) as caught:
            VisionMamba.from_official(broken, **keywords)
        assert "\n" not in str(caught.value)
    for missing in ("pos_embed", "patch_embed.proj.weight", "layers.0.mixer.conv1d_b.weight"):
        with pytest.raises(LoadError, match=f"no {missing} among the weights") as caught:
            vim_official.guess({n: t for n, t in weights.items() if n != missing})
        assert "\n" not in str(caught.value)


@torch.no_grad()
def test_official_names_there_and_back() -> None:
    for more in ({"pool": "cls-both"}, {"mixer": "v1+sum+firstgate"}, {"layer_scale": 0.3}):
        model = tiny(**more)
        official = {
            "img_size": (12, 16), "patch_size": 4, "stride": 4, "num_classes": 5, "embed_dim": 16,
            "depth": 2, "use_double_cls_token": model.pool_kind == "cls-both",
            "bimamba_type": "v1" if "v1" in model.config["mixer"] else "v2",
            "init_layer_scale": model.config["layer_scale"],
        }  # fmt: skip
        found = VisionMamba.from_official(vim_official.state_dict(model), **official)
        given = images()
        assert torch.equal(found(given), model(given))
        assert all(isinstance(block, MambaBlock) for block in found.blocks)
