"""Models by name with their published weights: which there are, and that each can be read.

No test downloads: the weights are random, written by timm and transformers themselves into a cache
as the Hub's client lays it out.
"""

import json
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
import transformers
from timm.models import get_pretrained_cfg, load_state_dict_from_hf, save_for_hf
from timm.models._hub import save_config_for_hf  # private: the public one writes weights too
from torch import nn

import vitrail
from parity.oracle import close, images, randomise
from vitrail.errors import ConfigError, LoadError
from vitrail.hub.converters.vision_mamba import official_state_dict
from vitrail.hub.other_libraries import from_config
from vitrail.hub.pretrained import OTHER_IDS, create_model, list_models, published_ids
from vitrail.models.registry import new_model, variants

IDS = published_ids()
BY_TIMM = {name: ref.removeprefix("timm/") for name, ref in IDS.items() if ref[:5] == "timm/"}
# Of each class the smallest variant that timm has weights of.
SMALLEST = {
    variants()[name].model: name
    for name in sorted(BY_TIMM, key=lambda n: variants()[n].variant.parameters, reverse=True)
}.values()

# The ids that are not timm's: the folder of transformers that names them, or the authors' README.
AUTHORS = {name for name in OTHER_IDS if OTHER_IDS[name].startswith("hustvl/Vim-")}
FOLDERS = {
    "cvt_13": "cvt",
    "pvt_tiny": "pvt",
    "vit_base_patch32_clip_quickgelu_224": "clip",
    "vivit_base_patch16x2_224": "vivit",
}


def test_ids_are_those_of_timm() -> None:
    for name, ref in BY_TIMM.items():
        architecture, _, tag = ref.partition(".")
        default = get_pretrained_cfg(architecture)
        assert default is not None, name
        assert (default.hf_hub_id, default.tag) == (f"timm/{ref}", tag), name
        assert architecture == name or name in OTHER_IDS


def test_other_ids_are_named_by_transformers_or_the_authors() -> None:
    for name, folder in FOLDERS.items():
        files = (Path(transformers.__file__).parent / "models" / folder).glob("*.py")
        assert any(f'"{OTHER_IDS[name]}"' in file.read_text("utf-8") for file in files), name
    assert FOLDERS.keys() | AUTHORS | BY_TIMM.keys() == IDS.keys()


def test_variants_of_timm_without_an_id_have_none_there() -> None:
    """Or they are CLIP's, whose folder on the Hub has the name of another architecture."""
    for name in variants().keys() - IDS.keys():
        default = get_pretrained_cfg(name) if timm.is_model(name) else None
        assert default is None or default.hf_hub_id is None or "_clip_quickgelu_" in name, name


def check_reads_timm(name: str, tmp_path: Path) -> None:
    """timm's model, whose weights are one number each, which takes no memory."""
    with torch.device("meta"):
        original = timm.create_model(BY_TIMM[name])
    save_config_for_hf(original, str(tmp_path / "config.json"))
    weights = original.state_dict().items()
    tensors = {n: torch.ones((), dtype=t.dtype).expand(t.shape) for n, t in weights}
    config = json.loads((tmp_path / "config.json").read_text())
    model = from_config(config, tensors, tmp_path)
    architecture, keywords = type(model), variants()[name].variant.keywords
    assert architecture is variants()[name].model
    classes = get_pretrained_cfg(BY_TIMM[name].partition(".")[0]).num_classes
    with torch.device("meta"):
        own = new_model(name, num_classes=classes)
    assert shapes_of(model) == shapes_of(own)
    assert model.image_size == own.image_size == model.preprocess.size
    assert keywords["dim"] == model.config["dim"]


def shapes_of(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_what_timm_publishes_can_be_read(name: str, tmp_path: Path) -> None:
    check_reads_timm(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BY_TIMM.keys() - set(SMALLEST)))
def test_all_that_timm_publishes_can_be_read(name: str, tmp_path: Path) -> None:
    check_reads_timm(name, tmp_path)


# Few layers: the other sizes are the published ones, transformers' defaults.
ORIGINALS: dict[str, tuple[Callable[[], transformers.PreTrainedModel], object]] = {
    "cvt_13": (
        lambda: transformers.CvtForImageClassification(
            transformers.CvtConfig(depth=[1, 2, 3], num_labels=1000)
        ),
        (1, 2, 3),
    ),
    "pvt_tiny": (
        lambda: transformers.PvtForImageClassification(
            transformers.PvtConfig(depths=[1, 1, 1, 1], num_labels=1000)
        ),
        (1, 1, 1, 1),
    ),
    "vit_base_patch32_clip_quickgelu_224": (
        lambda: transformers.CLIPModel(
            transformers.CLIPConfig(
                vision_config={"num_hidden_layers": 1},
                text_config={"num_hidden_layers": 1, "vocab_size": 10},
            )
        ),
        1,
    ),
    "vivit_base_patch16x2_224": (
        lambda: transformers.VivitForVideoClassification(
            transformers.VivitConfig(num_hidden_layers=1, num_labels=400)
        ),
        1,
    ),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_what_transformers_writes_can_be_read(name: str, tmp_path: Path) -> None:
    original, depth = ORIGINALS[name]
    original().save_pretrained(tmp_path)
    model = vitrail.load(tmp_path)
    with torch.device("meta"):
        own = new_model(name, depth=depth)
    assert type(model) is type(own)
    assert shapes_of(model) == shapes_of(own)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the Hub's client, without a net."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def snapshot(cache: Path, ref: str) -> Path:
    """The folder in the cache that a repository's main branch stands for."""
    folder, commit = cache / f"models--{ref.replace('/', '--')}", "0" * 39 + "1"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    return folder / "snapshots" / commit


NAME = "pit_ti_224"


@pytest.fixture
def original(cache: Path) -> nn.Module:
    """timm's model, in the cache as timm saves it."""
    model = randomise(timm.create_model(NAME)).eval()
    save_for_hf(model, str(snapshot(cache, IDS[NAME])), safe_serialization=True)
    assert load_state_dict_from_hf(IDS[NAME]).keys() == model.state_dict().keys()
    return model


@torch.inference_mode()
def test_weights_of_timm(original: nn.Module) -> None:
    model = create_model(NAME, pretrained=True)
    close(model(images(224, 224)), original(images(224, 224)))
    assert not model.training
    assert model.origin == f"{IDS[NAME]} of the Hub"
    settings = timm.data.resolve_model_data_config(original)
    preprocess = model.preprocess
    assert preprocess.size == settings["input_size"][1:] == (224, 224)
    assert (preprocess.mean, preprocess.std) == (settings["mean"], settings["std"])
    assert preprocess.resize == int(224 / settings["crop_pct"]) == 248
    assert preprocess.interpolation == settings["interpolation"]


@pytest.mark.usefixtures("original")
def test_keywords_change_the_head_the_size_and_the_options() -> None:
    plain = create_model(NAME, pretrained=True)
    model = create_model(
        NAME, pretrained=True, num_classes=10, image_size=160, drop_path=0.1, channels=3
    )
    assert model(torch.zeros(1, 3, 160, 160)).shape == (1, 10)
    assert model.preprocess.size == (160, 160)
    assert model.preprocess.mean == plain.preprocess.mean
    assert (model.config["drop_path"], plain.config["drop_path"]) == (0.1, 0.0)
    theirs, own = plain.state_dict(), model.state_dict()
    assert not own.keys() ^ theirs.keys()
    same = {name for name in own if torch.equal(own[name], theirs[name])}
    assert own.keys() - same == {"head.weight", "head.bias", "position.weight"}


@pytest.mark.usefixtures("original")
def test_as_many_classes_as_published_keep_the_head() -> None:
    model = create_model(NAME, pretrained=True, num_classes=1000)
    published = vitrail.load(IDS[NAME])
    assert torch.equal(model.head.weight, published.head.weight)


def test_a_pickle_of_transformers(cache: Path) -> None:
    original = transformers.PvtForImageClassification(transformers.PvtConfig(num_labels=1000))
    folder = snapshot(cache, IDS["pvt_tiny"])
    original.config.save_pretrained(folder)
    torch.save(original.state_dict(), folder / "pytorch_model.bin")
    model = create_model("pvt_tiny", pretrained=True)
    pixels = images(224, 224)
    with torch.inference_mode():
        close(model(pixels), original.eval()(pixels).logits)


def test_a_checkpoint_of_vision_mamba(cache: Path) -> None:
    torch.manual_seed(0)
    model = new_model("vim_tiny")
    file = snapshot(cache, IDS["vim_tiny"]) / "vim_t_midclstok_76p1acc.pth"
    torch.save({"model": official_state_dict(model)}, file)
    loaded = create_model("vim_tiny", pretrained=True)
    assert type(loaded) is type(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.usefixtures("cache")
def test_without_a_net() -> None:
    with pytest.raises(LoadError) as error:
        create_model("deit_tiny_patch16_224", pretrained=True)
    ref = "timm/deit_tiny_patch16_224.fb_in1k"
    assert str(error.value) == (
        f"'{ref}' cannot be downloaded from the Hub, which does not answer: where it does, "
        f'`hf download {ref} --local-dir FOLDER` works, and vitrail.load("FOLDER") reads that.'
    )


@pytest.mark.usefixtures("cache")
def test_a_misspelt_run_is_no_matter_of_the_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(LoadError, match=r"^there is no folder 'runs/pest', and 'runs/pest' cannot"):
        vitrail.load("runs/pest")
    with pytest.raises(ConfigError, match=r"^there is no run 'runs/pest', so its dataset is"):
        vitrail.evaluate("runs/pest")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("name", "keywords", "error"),
    [
        ("nest_small", {}, "'nest_small' has no published weights .*: nest_small_jx, nest_tiny_jx"),
        ("cct_7_7x2_224", {}, "'cct_7_7x2_224' has no published .* of about its size have: "),
        ("DeiT", {}, "DeiT is a class: name a variant that has weights, deit_base_distilled_"),
        ("RegionViT", {}, "no variant 'RegionViT'. It may mean regionvit_tiny_224, "),
        ("vit_tiny_patch16_225", {}, "no variant .*Did you mean 'vit_tiny_patch16_224'"),
        ("pit_ti", {}, "It may mean pit_ti_224 or pit_ti_distilled_224"),
        (NAME, {"dropuot": 0.1}, "Did you mean 'dropout'"),
        (NAME, {"depth": (1, 1, 1)}, "'depth' cannot change once there are weights"),
        (NAME, {"image_size": 0}, "image_size=0 is not"),
    ],
)
def test_what_is_wrong_is_said_before_a_download(
    name: str, keywords: dict[str, object], error: str
) -> None:
    with pytest.raises(ConfigError, match=error) as caught:
        create_model(name, pretrained=True, **keywords)
    assert "\n" not in str(caught.value)


def test_lists() -> None:
    assert list_models(pretrained=True) == sorted(IDS)
    assert list_models() == sorted(variants())
    assert list_models("deit_tiny*", pretrained=True) == [
        "deit_tiny_distilled_patch16_224",
        "deit_tiny_patch16_224",
    ]
    assert list_models("cct*", pretrained=True) == []


def test_untrained_models_have_preprocessing() -> None:
    model = create_model("vit_tiny_patch16_224", depth=1, image_size=96)
    assert model.training
    assert model.preprocess.size == (96, 96)
    assert model.preprocess(torch.zeros(3, 120, 100, dtype=torch.uint8)).shape == (1, 3, 96, 96)
