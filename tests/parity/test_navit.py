"""NaViT on images of many sizes at once: against vit-pytorch's two, and against itself."""

import itertools
import warnings
from collections import abc
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from vit_pytorch import na_vit, na_vit_nested_tensor

import vitrail
from parity.oracle import randomise
from parity.pairs.navit import SMALL, masked, nested, run_nested
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.layers.packing import Pack, attend_within
from vitrail.layers.position import resize_positions
from vitrail.models.navit import VARIANTS, NaViT

SIZES = ((64, 64), (16, 24), (8, 8), (24, 16), (32, 40), (16, 24), (64, 8), (48, 8))
THEIRS = {**SMALL, "dim_head": 16}


def mixed(*sizes: tuple[int, int], kind: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, *s, generator=generator, dtype=kind) for s in sizes or SIZES]


def navit(**more: object) -> NaViT:
    return randomise(NaViT(**{**SMALL, **more})).double()


# ------------------------------------------------------------------------ against the originals


@pytest.mark.parametrize(
    ("build", "run"),
    [
        (masked, lambda m, images: m(images)),
        (masked, lambda m, images: m(images, group_images=True, group_max_seq_len=90)),
        (nested, run_nested),
    ],
    ids=["one sequence", "groups", "nested tensors"],
)
@pytest.mark.parametrize(("kind", "limit"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_a_list_gives_what_the_original_gives(
    build: abc.Callable[[bool], tuple[nn.Module, nn.Module]],
    run: abc.Callable[[nn.Module, list[Tensor]], Tensor],
    kind: torch.dtype,
    limit: float,
) -> None:
    ours, theirs = (m.to(kind) for m in build(False))
    images = [x.requires_grad_() for x in mixed(kind=kind)]
    twins = [x.detach().clone().requires_grad_() for x in images]
    mine, original = ours(images), run(theirs, twins)
    assert original.std() > 0.01
    assert mine.shape == (len(SIZES), 7)
    assert (mine - original).abs().max() <= limit * original.abs().max().clamp(min=1)
    weights = torch.linspace(-1, 1, 7, dtype=kind)
    (mine @ weights).sum().backward()
    (original @ weights).sum().backward()
    limit *= max(twin.grad.abs().max().item() for twin in twins)
    for image, twin in zip(images, twins, strict=True):
        assert (image.grad - twin.grad).abs().max() <= limit
    tables = torch.cat([theirs.pos_embed_height.grad, theirs.pos_embed_width.grad])
    mine = torch.cat([ours.position.rows.grad, ours.position.columns.grad])
    torch.testing.assert_close(mine, tables, rtol=0, atol=limit * len(SIZES))


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_the_originals(name: str) -> None:
    with torch.device("meta"):
        theirs = na_vit.NaViT(**VARIANTS[name].keywords)
    # Without its norms around the patch projection, which have a gain and no bias.
    theirs.to_patch_embedding[0] = theirs.to_patch_embedding[2] = nn.Identity()
    assert sum(p.numel() for p in theirs.parameters()) == VARIANTS[name].parameters


# ------------------------------------------------------------------------------ against itself


def test_images_of_a_pack_do_not_see_each_other_and_keep_their_order() -> None:
    model, images = navit(), mixed()
    together = model(images)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    backwards = model(images[::-1]).flip(0)
    torch.testing.assert_close(backwards, alone, rtol=0, atol=1e-12)


def test_a_list_of_one_size_is_a_batch() -> None:
    model, images = navit(), mixed(*[(24, 40)] * 3)
    torch.testing.assert_close(model(images), model(torch.stack(images)), rtol=0, atol=1e-12)
    packed, batch = model.embed(images), model.embed(torch.stack(images))
    assert packed.extras[0].groups == ((3, 15),)
    assert torch.equal(packed.patches, batch.patches.reshape(1, 45, -1))


def test_a_pack_lists_which_patches_belong_to_which_image() -> None:
    features = navit().embed(mixed())
    pack: Pack = features.extras[0]
    assert features.patches.shape == (1, 117, 48)
    assert features.grid == (117,)
    # Equally many patches are a group, whatever their shape; among them, one size after another.
    assert pack.groups == ((1, 1), (4, 6), (1, 8), (1, 20), (1, 64))
    assert pack.order == (2, 1, 5, 3, 7, 6, 4, 0)
    assert pack.offsets.tolist() == [0, 1, 7, 13, 19, 25, 33, 53, 117]


@pytest.mark.parametrize("pools", [False, True])
def test_nested_tensors_give_what_groups_give(pools: bool) -> None:
    pack = Pack.of([2, 3, 3, 7], (0, 1, 2, 3), torch.device("cpu"))
    own = pack.single() if pools else pack
    attend = vitrail.layers.attention.Attend()
    outputs = []
    for at_once in (False, True):
        torch.manual_seed(0)
        parts = [
            (p, torch.randn(sum(p.lengths), 2, 8, dtype=torch.double, requires_grad=True))
            for p in (own, pack, pack)
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")
            try:
                output = attend_within(attend, parts, at_once)
            except (NotImplementedError, RuntimeError) as problem:
                pytest.skip(f"this torch has no nested attention on a CPU: {problem}")
        output.square().sum().backward()
        outputs.append([output, *[x.grad for _, x in parts]])
    for grouped, nested_output in zip(*outputs, strict=True):
        torch.testing.assert_close(grouped, nested_output, rtol=0, atol=1e-12)


def test_the_same_fraction_of_every_image_is_dropped_in_training_only() -> None:
    torch.manual_seed(0)
    model, images = navit(token_dropout=0.5), mixed()
    whole = model.embed(images)
    fewer = model.train().embed(images)
    assert fewer.extras[0].groups == ((1, 1), (4, 3), (1, 4), (1, 10), (1, 32))
    # The logits of an image are those for its remaining patches alone.
    logits = model.eval().head(model.pool(model.encode(fewer)))
    ends, begins = itertools.pairwise(fewer.extras[0].offsets), whole.extras[0].offsets
    for position, (start, end) in enumerate(ends):
        image = fewer.extras[0].order[position]
        patches = fewer.keep_indices[:, start:end] - begins[position]
        assert (patches.diff() > 0).all()
        alone = model.encode(model.embed(images[image][None]).take(patches))
        torch.testing.assert_close(logits[image], model.head(model.pool(alone))[0])
    assert model.train().embed(torch.stack(images[:1] * 3)).patches.shape == (3, 32, 48)


def test_large_images_may_drop_more() -> None:
    model = navit(token_dropout_largest=0.5)
    fewer = model.drop(model.embed(mixed((64, 64), (32, 64), (8, 8))))
    assert fewer.extras[0].lengths == [1, 24, 32]
    assert all(model.train().embed(mixed((64, 64))).extras[0].lengths == [32] for _ in range(2))
    with pytest.raises(ConfigError, match=r"token_dropout=1.0 is not a number of at least 0"):
        navit(token_dropout=1.0)


def test_what_a_pack_cannot_do_is_said() -> None:
    model, images = navit(), mixed()
    with pytest.raises(DataError, match="a list of no images"):
        model([])
    with pytest.raises(DataError, match="3-channel images"):
        model([*images, torch.zeros(4, 8, 8).double()])
    with pytest.raises(DataError, match="12 x 8 pixels does not divide"):
        model([torch.zeros(3, 12, 8).double()])
    with pytest.raises(TierError, match=r"use NaViT\.drop"):
        model.encode(model.embed(images).take(torch.arange(9)[None]))
    with (
        pytest.raises(TierError, match="record images of one size at a time"),
        vitrail.record(model),
    ):
        model(images)
    with vitrail.record(model) as maps:
        model(mixed((8, 16), (16, 8)))
    assert [tuple(m.shape) for m in maps.values()] == [(2, 3, 2, 2), (2, 3, 2, 2), (2, 3, 1, 2)]


def test_a_larger_image_stretches_positions_along_its_larger_side(tmp_path: Path) -> None:
    model, (image,) = navit(), mixed((96, 40))
    table = model.position((12, 5)).unflatten(1, (12, 5))[0]
    columns = model.position.columns[:5]
    torch.testing.assert_close(table - table[:, :1], (columns - columns[:1]).expand(12, -1, -1))
    stretched = resize_positions(model.position.rows[None], (8,), (12,))[0]
    torch.testing.assert_close(table[:, 0], stretched + columns[0])
    vitrail.save(model.float(), tmp_path / "navit")
    larger = vitrail.load(tmp_path / "navit", image_size=(96, 64))
    assert larger.grid == (12, 8)
    image = image.float()[None]
    torch.testing.assert_close(larger(image), model(image))


def test_intermediates_of_a_list_are_packed() -> None:
    model, images = navit(), mixed()
    first, last = model.intermediates(images, [0, -1])
    assert first.patches.shape == last.patches.shape == (1, 117, 48)
    torch.testing.assert_close(model.norm(last.patches), model.features(images).patches)


# ------------------------------------------------------- where vit-pytorch's files are mistaken


def test_the_original_does_not_divide_its_logits() -> None:
    """na_vit says that RMSNorm "already includes √d": it does so twice, once in q and once in k."""
    attention = na_vit.Attention(64, heads=1, dim_head=64).requires_grad_(False)
    x = torch.randn(1, 500, 64)
    q = attention.q_norm(attention.to_q(x)[:, None])
    k = attention.k_norm(attention.to_kv(x).chunk(2, dim=-1)[0][:, None])
    logits = q @ k.mT  # what its softmax sees: scale=1
    assert logits.std() == pytest.approx(64**0.5, rel=0.05)
    expected = attention.to_out(
        logits.softmax(-1) @ attention.to_kv(x).chunk(2, dim=-1)[1][:, None]
    )
    attention.norm = nn.Identity()
    torch.testing.assert_close(attention(x), expected[:, 0])


def test_the_nested_original_never_learns_its_embedding() -> None:
    """`torch.nested.nested_tensor` makes leaves: no gradient passes it."""
    theirs = na_vit_nested_tensor.NaViT(**THEIRS, token_dropout_prob=0.0)
    ours = NaViT(**SMALL)
    images = mixed(kind=torch.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")
        theirs(images).square().sum().backward()
    without = {name for name, p in theirs.named_parameters() if p.grad is None}
    parts = {"pos_embed_height", "pos_embed_width", "attn_pool_queries", "to_patch_embedding"}
    assert {name.partition(".")[0] for name in without} == parts
    ours(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in ours.parameters())


def test_the_nested_original_cannot_train_as_it_is_built() -> None:
    """Its default rate of dropping is None, which it compares with 0."""
    with pytest.raises(TypeError, match="'>' not supported"):
        na_vit_nested_tensor.NaViT(**THEIRS).train()(mixed(kind=torch.float32))
    assert NaViT(**SMALL).train()(mixed(kind=torch.float32)).isfinite().all()


def test_the_nested_original_keeps_norms_that_were_declined() -> None:
    """`qk_rmsnorm=False` does not reach its pooling; and the norms are LayerNorms."""
    theirs = na_vit_nested_tensor.NaViT(**THEIRS, qk_rmsnorm=False)
    assert isinstance(theirs.transformer.layers[0][0].query_norm, nn.Identity)
    assert isinstance(theirs.attn_pool.query_norm, nn.LayerNorm)


def test_the_originals_groups_exceed_their_limit() -> None:
    """It counts an image of one patch, half of them dropped, as none, and does not drop it."""
    images = [torch.zeros(3, 8, 8)] * 50
    groups = na_vit.group_images_by_max_seq_len(images, 8, 0.5, max_seq_len=16)
    assert [len(group) for group in groups] == [50]


def test_the_originals_fail_on_a_larger_image() -> None:
    image = torch.zeros(3, 72, 8)
    for theirs in (na_vit.NaViT(**THEIRS), na_vit_nested_tensor.NaViT(**THEIRS)):
        with pytest.raises(IndexError, match="out of bounds"):
            theirs.eval()([image])
    assert NaViT(**SMALL)([image]).isfinite().all()
