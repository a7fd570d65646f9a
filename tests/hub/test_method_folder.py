"""A saved training method: what stands beside the backbone."""

import json
from pathlib import Path

import pytest
import torch

import vitrail
from tests.models.small import small
from vitrail.data.text import Tokenizer
from vitrail.errors import LoadError
from vitrail.hub.method_folder import MissingPart, load_method, read_tokenizer, save_method
from vitrail.methods.base import Batch, Method
from vitrail.methods.registry import create_method

TEXT = {"text_dim": 16, "text_depth": 1, "text_heads": 2, "embed_dim": 8}


def saved(method: Method, name: str, run: Path) -> Method:
    """The method, saved in a run with its backbone, and loaded."""
    vitrail.save(method.backbone, run / "model")
    save_method(method, name, run / "method")
    return load_method(run)


def test_a_decoder_comes_back(tmp_path: Path) -> None:
    settings = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2, "mask_ratio": 0.5}
    method = create_method("mae", small("ViT"), **settings).eval()
    loaded = saved(method, "mae", tmp_path)
    assert loaded.settings == method.settings
    mask = torch.arange(16).expand(2, -1) % 2 == 0
    batch = Batch(images=torch.randn(2, 3, 32, 32), patch_mask=mask)
    assert torch.equal(loaded(batch).loss, method(batch).loss)
    assert not loaded.training


def test_a_tokenizer_comes_back(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["a photo of a cat", "a dog"], 300, context=8)
    method = create_method("clip", small("ViT"), tokenizer=tokenizer, **TEXT).eval()
    loaded = saved(method, "clip", tmp_path)
    assert torch.equal(loaded.tokenizer(["a cat"]), tokenizer(["a cat"]))
    assert torch.equal(loaded.encode_text(["a dog"]), method.encode_text(["a dog"]))


def test_a_tokenizer_that_cannot_be_saved_leaves_its_sizes(tmp_path: Path) -> None:
    tokenizer = MissingPart("tokenizer", vocabulary=20, context=6, end=19)
    method = create_method("clip", small("ViT"), tokenizer=tokenizer, **TEXT).eval()
    loaded = saved(method, "clip", tmp_path)
    ids = torch.tensor([[3, 4, 19, 0, 0, 0]])
    assert torch.equal(loaded.encode_text(ids), method.encode_text(ids))
    with pytest.raises(LoadError, match="the tokenizer of this method was not saved with it"):
        loaded.encode_text(["a cat"])


def test_sizes_of_the_weights_count(tmp_path: Path) -> None:
    Tokenizer.train(["a cat"], 300, context=8).save(tmp_path / "tokenizer.json")
    sizes = {"vocabulary": 310, "context": 8, "end": 5}
    tokenizer = read_tokenizer(tmp_path / "tokenizer.json", "tokenizer", sizes)
    assert (tokenizer.vocabulary, tokenizer.context, tokenizer.end) == (310, 8, 5)


def test_a_method_without_anything_of_its_own_saves_nothing(tmp_path: Path) -> None:
    save_method(create_method("supervised", small("ViT")), "supervised", tmp_path / "method")
    assert not (tmp_path / "method").exists()


def test_what_holds_no_method_is_refused(tmp_path: Path) -> None:
    vitrail.save(small("ViT"), tmp_path / "model")
    with pytest.raises(LoadError, match="holds no method, such as a decoder or a text tower"):
        load_method(tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    saved(create_method("simmim", small("ViT")), "simmim", tmp_path)
    file = tmp_path / "method" / "method.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "name": "mpp", "settings": {}}))
    with pytest.raises((LoadError, RuntimeError)):
        load_method(tmp_path)
