"""BEiT beyond its logits: tables at other sizes, pretraining checkpoints, dropped patches.

Not in inference mode: transformers stores indices for later forwards, which may need gradients.
"""

from pathlib import Path

import torch
import transformers
from transformers.models.beit.modeling_beit import BeitRelativePositionBias

import vitrail
from parity.oracle import close, images, randomise
from parity.pairs.beit import EACH, SHARED, SMALL
from tests.models.small import small
from vitrail.models.beit import RelativeBiasWithClass, offset_index


@torch.no_grad()
def test_a_model_for_another_size_is_what_theirs_computes_there(tmp_path: Path) -> None:
    config = transformers.BeitConfig(**SMALL, **EACH)
    original = randomise(transformers.BeitForImageClassification(config))
    original.save_pretrained(tmp_path)
    model, pixels = vitrail.load(tmp_path, image_size=(48, 40)), images(48, 40)
    assert model.blocks[0].mixer.bias.table.shape == (11 * 9 + 3, 4)
    close(model(pixels), original(pixels).logits)


@torch.no_grad()
def test_features_of_a_pretraining_checkpoint(tmp_path: Path) -> None:
    config = transformers.BeitConfig(**SMALL, **{**SHARED, "use_mean_pooling": True})
    config.use_mask_token = True
    original = randomise(transformers.BeitForMaskedImageModeling(config))
    original.save_pretrained(tmp_path)
    features = vitrail.load(tmp_path).features(images(32, 32))
    tokens = original.layernorm(original.beit(images(32, 32)).last_hidden_state)
    close(torch.cat([features.prefix, features.patches], dim=1), tokens)


@torch.no_grad()
def test_theirs_scrambles_the_offsets_of_an_image_that_is_not_square() -> None:
    settings = {**SMALL, "image_size": [16, 32]}
    theirs = randomise(BeitRelativePositionBias(transformers.BeitConfig(**settings)))
    grid, table = (2, 4), theirs.relative_position_bias_table
    expected = table[theirs.generate_relative_position_index(grid)].permute(2, 0, 1)[None]
    assert not torch.allclose(theirs(grid), expected, atol=1e-3)
    ours = RelativeBiasWithClass(grid, 4)
    ours.load_state_dict({"table": table})
    assert torch.equal(ours(offset_index(grid)[None], grid), expected)


@torch.no_grad()
def test_patches_that_remain_have_the_biases_of_their_offsets() -> None:
    model = randomise(vitrail.create_model("beit_base_patch16_224", image_size=64, depth=1))
    features = model.embed(images(64, 64))
    keep_indices = torch.tensor([[1, 4, 6, 11], [0, 2, 3, 15]])
    (index, grid), _ = model.context(features.take(keep_indices))
    bias = model.blocks[0].mixer.bias
    whole, fewer = bias(model.index[None], grid)[0], bias(index, grid)
    for row, patches in enumerate(keep_indices):
        tokens = torch.cat([torch.zeros(1, dtype=torch.long), patches + 1])
        assert torch.equal(fewer[row], whole[:, tokens][:, :, tokens])


def test_the_shared_bias_learns_at_the_rate_of_the_head() -> None:
    """As the authors' `get_num_layer_for_vit` has it."""
    layers = small("BEiT", pool="cls", shared_bias=True).layer_ids()
    assert layers["bias.table"] == layers["head.weight"] == 4
    assert layers["class_token.weight"] == 0
    per_block = small("BEiT").layer_ids()
    assert [per_block[f"blocks.{i}.mixer.bias.table"] for i in range(3)] == [1, 2, 3]


def test_a_fresh_head_is_as_small_as_the_authors() -> None:
    model = small("BEiT", dim=64)
    model.reset_head(100)
    assert abs(model.head.weight.std().item() / 2e-5 - 1) < 0.05
    assert not model.head.bias.any()
