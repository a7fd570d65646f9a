"""Layers by number, by block and by path."""

from typing import Any

import pytest
import torch

import vitrail
from tests.models.small import CASES, IDS, images_for, small
from vitrail.errors import ConfigError
from vitrail.layers.recording import RecordedMixer
from vitrail.lens.layer_keys import Maps, layer_paths, select_layers


@pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)
def test_a_selected_key_is_the_key_of_its_map(name: str, more: dict[str, Any]) -> None:
    """Whatever the keys are, `layers=[key]` records what `maps[key]` and its path give."""
    model = small(name, **more).eval()
    if not any(isinstance(module, RecordedMixer) for module in model.modules()):
        return
    images = images_for(model)
    with vitrail.record(model) as everything, torch.no_grad():
        model(images)
    for key, path in everything.paths.items():
        assert everything[path] is everything[key]
        for choice in (key, path):
            with vitrail.record(model, layers=[choice]) as maps, torch.no_grad():
                model(images)
            assert list(maps) == [key] and torch.equal(maps[key], everything[key])


def test_a_block_with_a_stem_that_attends_keeps_its_number() -> None:
    model = small("T2TViT")
    paths = layer_paths(model)
    first = next(iter(paths))
    assert isinstance(first, str) and paths[0].startswith("blocks.0.")
    assert select_layers([0], paths) == [0]
    assert select_layers([-1, first], paths) == [first, model.depth - 1]


def test_blocks_give_all_their_layers() -> None:
    model = small("SepViT").eval()
    with vitrail.record(model) as maps, torch.no_grad():
        model(images_for(model))
    stages = [maps.block(i) for i in range(len(model.blocks))]
    assert all(stages) and sum(map(len, stages)) == len(maps)
    last = [w for path, w in maps.items() if str(path).startswith(f"blocks.{len(stages) - 1}.")]
    assert all(map(torch.equal, maps.block(-1), last)) and len(last) == len(stages[-1])
    with pytest.raises(ConfigError, match="block 9 does not exist"):
        maps.block(9)


def test_numbers_between_blocks_without_attention_are_no_positions() -> None:
    paths: dict[int | str, str] = {0: "blocks.0.mixer", 2: "blocks.2.mixer", "pool": "pool"}
    assert select_layers([-1, 2], paths) == [2, "pool"]
    for layer in (1, 3, "blocks.1.mixer"):
        with pytest.raises(ConfigError, match="does not exist: there are 0, 2, pool"):
            select_layers([layer], paths)


def test_what_was_not_recorded_is_a_key_error() -> None:
    maps = Maps({0: "blocks.0.mixer"})
    with pytest.raises(KeyError, match="layer 0 was not recorded"):
        maps[0]
    with pytest.raises(KeyError, match="'nose' does not exist"):
        maps["nose"]
    maps[0] = torch.ones(1)
    assert maps[-1] is maps["blocks.0.mixer"] is maps[0]
