"""The page on other libraries: calls of timm, transformers and handwritten code beside ours."""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy
import pytest
import timm
import torch
import transformers
from PIL import Image
from torch import Tensor, nn

import vitrail
import vitrail.layers
from parity.pairs import from_timm
from tests import guide_vit
from tests.pages import ROOT
from vitrail.errors import ConfigError
from vitrail.models import Features
from vitrail.other_names import OBJECTS

PAGE = (ROOT / "docs" / "en" / "coming_from_elsewhere.md").read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")}
SMALL = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
# Parameters of one side only: biases of queries, keys and values, which guides do without or hold
# apart; the guides' norm after the last norm; MAE's fixed positions.
APART = re.compile(r"(qkv|query|key|value|[qkv]_proj|in_proj)[._]bias|mlp_head\.0\.|decoder_pos")
# What from_pretrained and models of transformers take beside the keywords of their config.
ARGUMENTS = {
    "num_labels", "id2label", "label2id", "ignore_mismatched_sizes", "attn_implementation",
    "output_attentions", "output_hidden_states", "return_dict", "interpolate_pos_encoding",
    "torch_dtype", "dtype", "device_map",
}  # fmt: skip


def rows(section: str) -> list[tuple[str, str]]:
    """The calls of a table of two columns, theirs and ours."""
    return re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", SECTIONS[section], re.M)


def compare(theirs: Any, ours: Any) -> None:
    """Models have as many parameters, everything else is equal."""
    if isinstance(ours, Features):
        ours = torch.cat([ours.prefix, ours.patches], dim=1)
    if isinstance(ours, nn.Module):
        assert parameters(theirs) == parameters(ours)
    elif isinstance(ours, Tensor):
        limit = 0.02 if ours.shape[1:] == (3, 224, 224) else 1e-4  # pixels may round to neighbors
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=limit)
    elif isinstance(ours, list | tuple) and isinstance(ours[0], Tensor):
        for one, other in zip(theirs, ours, strict=True):
            compare(one, other)
    elif isinstance(ours, list):  # names: theirs have tags
        assert ours and set(ours) <= {name.partition(".")[0] for name in theirs}
    elif isinstance(ours, Path):
        assert ours.exists()
    else:
        assert theirs == ours


def parameters(model: nn.Module) -> int:
    """The number of learned ones, without those that are on one side only."""
    learned = [(name, p.numel()) for name, p in model.named_parameters() if p.requires_grad]
    return sum(count for name, count in learned if not APART.search(name))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    pixels = numpy.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels).resize((321, 240), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def timm_names(photo: Image.Image) -> tuple[dict[str, Any], dict[str, Any]]:
    keywords = {"patch_size": 56, "embed_dim": 48, "depth": 3, "num_heads": 4, "num_classes": 7}
    ours, theirs = from_timm("vit_tiny_patch16_224", **keywords)
    shared = {"images": torch.randn(2, 3, 224, 224), "photo": photo}
    return {"timm": timm, "model": theirs.eval(), **shared}, {"model": ours, **shared}


@pytest.mark.parametrize("row", rows("timm"), ids=lambda row: row[0])
@torch.no_grad()
def test_timm(row: tuple[str, str], timm_names: tuple[dict[str, Any], dict[str, Any]]) -> None:
    cells = [cell.replace('_224", pretrained=True', '_224"') for cell in row]
    with torch.device("meta" if "create_model" in cells[0] else "cpu"):
        theirs = eval(cells[0], timm_names[0])
        ours = eval(cells[1], {"vitrail": vitrail, **timm_names[1]})
    compare(theirs, ours)


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, photo: Image.Image
) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
    """Small models in folders that stand for Hub ids, and the names that calls see."""
    folder = tmp_path_factory.mktemp("hub")
    config = transformers.ViTConfig(**SMALL, num_labels=7)
    clip = transformers.CLIPConfig(
        vision_config=SMALL, text_config=SMALL | {"vocab_size": 99, "eos_token_id": 98}
    )
    models = {
        "google/vit-base-patch16-224": transformers.ViTForImageClassification(config),
        "facebook/vit-mae-base": transformers.ViTMAEForPreTraining(
            transformers.ViTMAEConfig(**SMALL, decoder_hidden_size=32, decoder_num_hidden_layers=1,
                                      decoder_num_attention_heads=2, decoder_intermediate_size=64)
        ),
        "openai/clip-vit-base-patch32": transformers.CLIPModel(clip),
    }  # fmt: skip
    folders = {name: str(folder / str(index)) for index, name in enumerate(models)}
    for name, model in models.items():
        model.save_pretrained(folders[name])
    vit = folders["google/vit-base-patch16-224"]
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=size).save_pretrained(vit)
    theirs = transformers.ViTForImageClassification.from_pretrained(
        vit, attn_implementation="eager"
    )
    shared = {
        "images": torch.randn(2, 3, 32, 32),
        "larger": torch.randn(2, 3, 48, 40),
        "labels": torch.tensor([1, 4]),
        "photo": photo,
    }
    return folders, {"model": theirs, **shared}, {"model": vitrail.load(vit), **shared}


@pytest.mark.parametrize("row", rows("transformers"), ids=lambda row: row[0])
@torch.no_grad()
def test_transformers(
    row: tuple[str, str],
    hub: tuple[dict[str, str], dict[str, Any], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "theirs").mkdir()
    cells = list(row)
    for name, folder in hub[0].items():
        cells = [cell.replace(name, folder) for cell in cells]
    monkeypatch.chdir(tmp_path / "theirs")
    theirs = eval(cells[0], {**names_in(cells[0]), **hub[1]})
    monkeypatch.chdir(tmp_path)
    ours = eval(cells[1], {"vitrail": vitrail, **hub[2]})
    compare(theirs, ours)


def names_in(cell: str) -> dict[str, Any]:
    """The classes of transformers, which are imported when they are asked for."""
    names = set(re.findall(r"\b[A-Z]\w+", cell))
    return {n: getattr(transformers, n) for n in names if hasattr(transformers, n)}


@pytest.mark.parametrize("row", rows("A ViT written by hand"), ids=lambda row: row[0])
def test_by_hand(row: tuple[str, str]) -> None:
    names = {"vitrail": vitrail, **{n: getattr(vitrail.layers, n) for n in vitrail.layers.__all__}}
    with torch.device("meta"):
        theirs = eval(row[0], {"nn": nn, **vars(guide_vit)})
        compare(theirs, eval(row[1], names))


@pytest.mark.parametrize(
    "names",
    [
        inspect.signature(timm.models.VisionTransformer).parameters.keys(),
        transformers.ViTConfig.__annotations__.keys() | ARGUMENTS,
    ],
    ids=["timm", "transformers"],
)
def test_every_keyword_of_theirs_has_a_hint(names: Iterable[str]) -> None:
    model: Any = vitrail.ViT
    for keyword in set(names) - inspect.signature(model).parameters.keys():
        with pytest.raises(ConfigError) as error:
            model(**{keyword: 1})
        hint = str(error.value).partition(f"{keyword!r}.")[2].partition(" It takes:")[0]
        assert hint and "Did you mean" not in hint, keyword


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("vit_base", r"vit_base_patch16_224, .* others: vitrail.list_models\(\"vit_base_\*\"\)"),
        ("vit", "It may mean ViT, vit_tiny_patch16_224"),
        ("ViT-B/16", "'ViT-B/16'. It may mean vit_base_patch16_224"),
        ("vit_base_patch16_224.augreg_in21k", "It may mean vit_base_patch16_224"),
        ("google/vit-base-patch16-224", "read by vitrail.load\\('google/vit-base-patch16-224'\\)"),
        ("deit3_base_patch16_224", "Did you mean 'deit_base_patch16_224'"),
        ("eva02_base", r"'eva02_base'\. vitrail.list_models\(\)"),  # no vim_base
    ],
)
def test_a_vague_name_of_a_model_lists_what_it_may_mean(name: str, meaning: str) -> None:
    with pytest.raises(ConfigError, match=meaning):
        vitrail.create_model(name)


def test_a_name_that_is_elsewhere_is_shown() -> None:
    with pytest.raises(AttributeError, match=r"'MAE'\. It is vitrail.methods.MAE"):
        vitrail.MAE
    for name, place in OBJECTS.items():
        with pytest.raises(AttributeError, match=re.escape(f"{name!r}. Here it is {place}.")):
            getattr(vitrail, name)
        if place.startswith("vitrail."):
            eval(re.match(r"[\w.]+", place)[0], {"vitrail": vitrail})
