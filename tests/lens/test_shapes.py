"""What `vitrail info` prints: shapes, parameters and multiply-adds that add up."""

import pytest
import torch

import vitrail
from tests.models.small import small
from vitrail.lens.shape_drawing import shapes_svg
from vitrail.lens.shapes import ShapeRow, shapes
from vitrail.models.registry import model_classes


def assert_rows_add_up(rows: list[ShapeRow]) -> None:
    *stages, total = rows
    assert total.name == "total"
    assert sum(row.parameters for row in stages) == total.parameters
    assert sum(row.multiply_adds for row in stages) == total.multiply_adds
    assert min(row.parameters for row in stages) >= 0
    assert min(row.multiply_adds for row in stages) >= 0
    assert len({row.name for row in stages}) == len(stages)


@pytest.mark.parametrize("name", model_classes())
def test_rows_add_up_at_any_depth_of_every_model(name: str) -> None:
    model = small(name)
    rows = shapes(model)
    assert_rows_add_up(rows)
    assert rows[-1].parameters == sum(p.numel() for p in model.parameters())
    by_name = {row.name: row for row in rows}
    for i, block in enumerate(model.blocks):
        row = by_name.get(f"block {i}") or by_name[f"stage {i}"]
        assert row.parameters == sum(p.numel() for p in block.parameters())
        assert row.multiply_adds > 0
        assert row.shape
    deep = shapes(model, depth=9, batch=3)
    assert [row[:4] for row in deep if row.level == 1] == [row[:4] for row in rows]
    parts = [row for row in deep if row.level > 1]
    assert parts and all(row.sizes for row in parts)
    assert max(row.level for row in parts) > 2
    assert shapes_svg(deep, name).count("<text") > 2 * len(deep)


def test_modules_after_the_blocks_have_rows_of_their_own() -> None:
    """CaiT-XXS24: 147,648 of the patches' projection, 37,632 positions and 192 of a class token."""
    rows = {row.name: row for row in shapes(vitrail.create_model("cait_xxs24_224"))}
    assert rows["embed"].parameters == 147_648 + 196 * 192 + 192 == 185_472
    assert rows["class_blocks 0"].parameters == rows["class_blocks 1"].parameters == 445_248
    assert rows["class_blocks 0"].multiply_adds > 0
    assert_rows_add_up(list(rows.values()))


def test_multiply_adds_are_as_published() -> None:
    # As timm's tables give them; they add the norms' and activations' few.
    for name, billions in (
        ("vit_tiny_patch16_224", 1.26),
        ("vit_base_patch16_224", 17.58),
        ("dinov2_small", 46.76),  # at 518 pixels
        ("vim_tiny", 1.554),  # the paper says 1.5, a scan counted as in VMamba's tables
    ):
        rows = shapes(vitrail.create_model(name))
        assert rows[-1].multiply_adds / 1e9 == pytest.approx(billions, rel=0.01)
        assert_rows_add_up(rows)
    assert shapes(vitrail.create_model("vit_tiny_patch16_224"), (32, 64))[1].shape == (
        "1 + 2 x 4 tokens x 192"
    )


def test_every_stage_counts_as_its_formula() -> None:
    rows = {row.name: row for row in shapes(small("ViT"))}
    tokens, dim, mlp_dim = 16 + 1, 32, 48
    assert rows["embed"].multiply_adds == 16 * (3 * 8 * 8) * dim
    linear = tokens * dim * (3 * dim + dim + 2 * mlp_dim)
    attention = 2 * tokens * tokens * dim
    assert rows["block 1"].multiply_adds == linear + attention
    assert rows["head"].multiply_adds == dim * 5
    assert rows["block 2"].shape == "17 x 32"
    assert rows["norm"].parameters == 2 * dim


def test_shapes_cost_no_memory() -> None:
    """The largest variant is described without its two and a half gigabytes."""
    with torch.device("meta"):
        model = vitrail.create_model("vit_huge_patch14_224")
    assert shapes(model)[-1].parameters == pytest.approx(632e6, rel=0.01)


def test_depth_2_shows_what_is_in_a_block() -> None:
    """The numbers that a learner checks by hand."""
    with torch.device("meta"):
        model = vitrail.create_model("vit_base_patch16_224")
    rows = shapes(model, depth=2, batch=2)
    names = [row.name for row in rows]
    start = names.index("block 0")
    assert [(row.name, row.level, row.sizes) for row in rows[: start + 9]] == [
        ("image", 1, (2, 3, 224, 224)),
        ("embed", 1, (2, 197, 768)),
        ("patch_embed", 2, (2, 196, 768)),
        *((row.name, row.level, row.sizes) for row in rows[3:start]),
        ("block 0", 1, (2, 197, 768)),
        ("norm1", 2, (2, 197, 768)),
        ("q", 2, (2, 12, 197, 64)),
        ("k", 2, (2, 12, 197, 64)),
        ("v", 2, (2, 12, 197, 64)),
        ("attention", 2, (2, 12, 197, 197)),
        ("mixer", 2, (2, 197, 768)),
        *((row.name, row.level, row.sizes) for row in rows[start + 7 : start + 9]),
    ]
    assert ("mlp", 2, (2, 197, 768)) in [(r.name, r.level, r.sizes) for r in rows]
    mlp = next(row for row in rows if row.name == "mlp")
    assert mlp.parameters == 2 * 768 * 3072 + 768 + 3072
    assert mlp.multiply_adds == 197 * 2 * 768 * 3072
    assert rows[-2].sizes == (2, 1000)
    deep = shapes(model, depth=3, batch=2)
    hidden = next(row for row in deep if row.name == "fc1")
    assert hidden.level == 3 and hidden.sizes == (2, 197, 3072)
    assert [row for row in rows if row.level == 1] == [row for row in deep if row.level == 1]
