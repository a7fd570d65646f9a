"""BEiT's pretraining and transformers' BeitForMaskedImageModeling: the same loss and gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import vitrail
from parity.oracle import images, randomise
from parity.pairs.beit import EACH, SMALL
from vitrail.errors import LoadError
from vitrail.hub.method_folder import load_method
from vitrail.methods.base import Batch
from vitrail.methods.beit import BEiTPretraining
from vitrail.methods.frozen import Frozen

CODES = 24


def both(folder: Path, **settings: Any) -> tuple[Any, BEiTPretraining]:
    config = transformers.BeitConfig(**SMALL, vocab_size=CODES, use_mask_token=True, **settings)
    original = randomise(transformers.BeitForMaskedImageModeling(config))
    original.save_pretrained(folder)
    method = load_method(folder)
    assert isinstance(method, BEiTPretraining)
    return original, method


@pytest.mark.parametrize("settings", [EACH, {"use_shared_relative_position_bias": True}])
def test_loss_and_gradients(settings: dict[str, Any], tmp_path: Path) -> None:
    original, method = both(tmp_path, **settings)
    original, method = original.double(), method.double()
    mask = method.sample_mask(3)
    codes = torch.randint(CODES, mask.shape)
    method.tokenizer = Frozen(lambda _: codes)
    pixels = images(32, 32, batch=3).double()
    theirs = original(pixels, bool_masked_pos=mask, labels=codes[mask])
    ours = method(Batch(images=pixels, patch_mask=mask))
    assert theirs.loss > 1
    assert (ours.loss - theirs.loss).abs() <= 1e-9
    right = (theirs.logits[mask].argmax(-1) == codes[mask]).float().mean()
    assert ours.metrics["accuracy"] == right
    ours.loss.backward()
    theirs.loss.backward()
    block, layer = method.backbone.blocks[1], original.beit.layers[1]
    assert method.mask_token.weight.grad is not None
    embeddings = original.beit.embeddings
    for mine, other in (
        (method.mask_token.weight, embeddings.mask_token),
        (method.head.weight, original.lm_head.weight),
        (method.backbone.class_token.weight, embeddings.cls_token),
        (method.backbone.norm.weight, original.layernorm.weight),
        (block.mlp.fc1.weight, layer.mlp.fc1.weight),
        (method.backbone.patch_embed.weight, embeddings.patch_embeddings.projection.weight),
    ):
        assert other.grad.abs().max() > 1e-4
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=1e-9)


def test_one_that_predicts_no_tokens_is_told_so(tmp_path: Path) -> None:
    config = transformers.BeitConfig(**SMALL, **EACH)
    transformers.BeitForImageClassification(config).save_pretrained(tmp_path)
    assert vitrail.load(tmp_path).num_classes == 7
    with pytest.raises(LoadError, match="predict no visual tokens: use load"):
        load_method(tmp_path)
