"""BEiT beyond its logits: tables at other sizes, pretraining checkpoints, dropped patches.

Not in inference mode: transformers keeps indices for later forwards, which may want gradients.
"""

from pathlib import Path

import torch
import transformers
from transformers.models.beit.modeling_beit import BeitRelativePositionBias

import vitrail
from parity.oracle import close, images, randomise
from parity.pairs.beit import EACH, SHARED, SMALL
from vitrail.models.beit import OffsetBias, offset_index


@torch.no_grad()
def test_a_model_for_another_size_is_what_theirs_computes_there(tmp_path: Path) -> None:
    config = transformers.BeitConfig(**SMALL, **EACH)
    original = randomise(transformers.BeitForImageClassification(config))
    original.save_pretrained(tmp_path)
    model, pixels = vitrail.load(tmp_path, image_size=(48, 40)), images(48, 40)
    assert model.blocks[0].mixer.bias.bias_table.shape == (11 * 9 + 3, 4)
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
    right = table[theirs.generate_relative_position_index(grid)].permute(2, 0, 1)[None]
    assert not torch.allclose(theirs(grid), right, atol=1e-3)
    ours = OffsetBias(grid, 4)
    ours.load_state_dict({"bias_table": table})
    assert torch.equal(ours(offset_index(grid)[None], grid), right)


@torch.no_grad()
def test_patches_that_stay_keep_their_offsets() -> None:
    model = randomise(vitrail.create_model("beit_base_patch16_224", image_size=64, depth=1))
    features = model.embed(images(64, 64))
    kept = torch.tensor([[1, 4, 6, 11], [0, 2, 3, 15]])
    (index, grid), _ = model.context(features.take(kept))
    bias = model.blocks[0].mixer.bias
    whole, part = bias(model.index[None], grid)[0], bias(index, grid)
    for row, places in enumerate(kept):
        tokens = torch.cat([torch.zeros(1, dtype=torch.long), places + 1])
        assert torch.equal(part[row], whole[:, tokens][:, :, tokens])
