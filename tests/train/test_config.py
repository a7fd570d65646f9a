"""Settings: typed, strict, with overrides."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.train.tiny import tiny
from vitrail.errors import ConfigError
from vitrail.methods.registry import get_method, list_methods
from vitrail.train.config import RunConfig, make_config, read_config, resumed_config
from vitrail.train.optim import ParameterOptim
from vitrail.train.sections import DataConfig, Section, method_section
from vitrail.train.training_sections import OptimConfig, ScheduleConfig


def test_overrides_are_typed_and_strict() -> None:
    run = make_config({}, ["optim.lr=3e-4", "data.source=folder:a=b", "model.options.dim=64"])
    assert (run.optim.lr, run.data.source, run.model.options) == (3e-4, "folder:a=b", {"dim": 64})
    assert make_config({}, ["data.augment={flip: 0.1}"]).data.augment.flip == 0.1
    assert make_config({"data": {"augment": {"crop": "padded"}}}).data.augment.crop == "padded"
    with pytest.raises(ConfigError, match="has no '='"):
        make_config({}, ["optim.lr"])
    with pytest.raises(ConfigError, match="no setting 'optm'. Did you mean 'optim'"):
        make_config({}, ["optm.lr=1"])


def test_numbers_and_texts_of_overrides() -> None:
    run = make_config({}, ["model.options={a: 1e-3, b: '12', c: [1e-3, x], d: 12}"])
    assert run.model.options == {"a": 1e-3, "b": "12", "c": [1e-3, "x"], "d": 12}
    with pytest.raises(ConfigError, match=r"'\{a: ' is not YAML"):
        make_config({}, ["model.options={a: "])


def test_settings_are_those_of_the_method() -> None:
    with pytest.raises(ConfigError, match=r"no setting 'method.mask_rato'. Did you mean"):
        make_config({"method": {"name": "mae", "mask_rato": 0.5}})
    with pytest.raises(ConfigError, match="no method 'meo'. Did you mean 'm"):
        make_config({"method": {"name": "meo"}})
    with pytest.raises(ConfigError, match=r"method.mask_ratio='much': not a number"):
        make_config({"method": {"name": "mae", "mask_ratio": "much"}})
    with pytest.raises(ConfigError, match=r"method.mask_ratio=2: not a number of at least 0"):
        make_config({"method": {"name": "mae", "mask_ratio": 2}})
    with pytest.raises(ConfigError, match=r"method.teacher is not given, and method needs it"):
        make_config({"method": {"name": "distill"}})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.augment.flip=2", r"data\.augment\.flip=2.* is no probability: use 0 to 1"),
        ("data.crops.local=-1", r"data\.crops\.local=-1 is negative"),
        ("data.augment.flipp=1", r"no setting 'data\.augment\.flipp'\. Did you mean"),
        ("optim.per_module={x: {lr_scale: -1}}", r"optim\.per_module\.x\.lr_scale=-1"),
        ("optim.lr=-1", r"optim\.lr=-1.*: Input should be greater than or equal to 0"),
    ],
)
def test_errors_name_the_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config({}, [override])


def test_patterns_of_parameters_are_settings() -> None:
    run = make_config({}, ["optim.per_module={'backbone.blocks.0.*': {lr_scale: 0.1}}"])
    assert run.optim.per_module == {"backbone.blocks.0.*": ParameterOptim(lr_scale=0.1)}


@pytest.mark.parametrize("name", list_methods())
def test_settings_survive_yaml(name: str, tmp_path: Path) -> None:
    objects = dict.fromkeys(get_method(name).named, "python:module:function")
    run = make_config({"method": {"name": name, **objects}})
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run.plain()))
    assert resumed_config(run, read_config(path)) == (run, [])
    assert read_config(path) == run


def test_a_recipe_may_build_on_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.5, clip: 2}\nmodel: {name: ViT}\n")
    (tmp_path / "zoo").mkdir()
    recipe = tmp_path / "zoo" / "mine.yaml"
    recipe.write_text("base: ../base.yaml\noptim: {lr: 0.25}\n")
    run = read_config(recipe, ["optim.clip=3"])
    assert (run.optim.lr, run.optim.clip, run.model.name) == (0.25, 3, "ViT")
    recipe.write_text("base: mine.yaml\n")
    with pytest.raises(ConfigError, match="is this file itself"):
        read_config(recipe)
    recipe.write_text("base: nowhere.yaml\n")
    with pytest.raises(ConfigError, match="nowhere.yaml: cannot be read"):
        read_config(recipe)


def test_another_method_than_that_of_the_base_keeps_what_it_has_too(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("method: {name: mae, mask_ratio: 0.5, decoder_dim: 8}\n")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("base: base.yaml\nmethod: {name: simmim, mask_unit: 2}\n")
    assert read_config(recipe).method.model_dump() == {
        "name": "simmim", "mask_ratio": 0.5, "mask_unit": 2
    }  # fmt: skip
    recipe.write_text("base: base.yaml\nmethod: {mask_ratio: 0.9}\n")
    assert read_config(recipe).method.decoder_dim == 8  # type: ignore[attr-defined]
    recipe.write_text("method: {name: simmim, decoder_dim: 8}\n")
    with pytest.raises(ConfigError, match="is another: leave it out, or set method.name=mae"):
        read_config(recipe)


def test_a_setting_is_written_once(tmp_path: Path) -> None:
    recipe = tmp_path / "twice.yaml"
    for text in ("optim: {lr: 1}\noptim: {clip: 2}", "optim: {lr: 1, clip: 2, lr: 2}"):
        recipe.write_text(text)
        with pytest.raises(ConfigError, match="it has '(optim|lr)' twice: write it once"):
            read_config(recipe)
    recipe.write_text("optim: {lr: 1, betas: [0.9, 0.9]}\ndata: {source: optim}")
    assert read_config(recipe).optim.lr == 1


def test_what_may_change_on_resume() -> None:
    changes = ("data.workers=3", "train.log_every=1", "optim.lr=0.1", "schedule={warmup: 0.5}")
    config, remarks = resumed_config(tiny(), tiny(*changes))
    assert (config.data.workers, config.optim.lr, config.schedule.warmup) == (3, 0.1, 0.5)
    assert remarks == [
        "optim.lr was 0.003 and is 0.1 from here on.",
        "schedule.warmup was 0.05 and is 0.5 from here on.",
    ]
    with pytest.raises(ConfigError, match="data.augment.padding was 1 and is 2 now"):
        resumed_config(tiny(), tiny("data.augment.padding=2"))


def test_what_is_not_given_on_resume_is_as_it_was() -> None:
    patterns = "optim.per_module={'backbone.blocks.0.*': {lr_scale: 0.1}}"
    old = tiny("method={name: mae}", "optim.ema=0", patterns)
    config, remarks = resumed_config(old, make_config({"data": {"source": "digits"}}))
    assert (config, remarks) == (old, [])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.lr=true", "optim.lr=True: True is not a number."),
        ("schedule.epochs=true", "schedule.epochs=True: True is not a number."),
        ("data.augment.flip=true", "flip: True is not a number."),
        ("optim.per_module={a: {lr_scale: true}}", "lr_scale: True is not a number."),
        ("optim.lr=inf", "optim.lr=inf: it must be finite."),
        ("optim.eps=.inf", "optim.eps=inf: it must be finite."),
        ("data.augment.ratio=[1,.inf]", "ratio: it must be finite."),
        ("data.augment.ratio=[3,2]", "ratio=(3.0, 2.0) is no range"),
        ("data.augment.ratio=[0,1]", "ratio=(0.0, 1.0) is no range"),
        ("optim.betas=[0.9,1.0]", "optim.betas.1=1.0: Input should be less than 1."),
        ("optim.betas=[0.9,true]", "True is not a number."),
        ("optim.betas=[0.9]", "optim.betas has too few entries: it has 1."),
        ("train.seed=100000000000000000000000", "train.seed=1"),
        ("schedule={warmup_steps: 3, warmup_epochs: 2}", "are both given: leave one out."),
        ("method.mask_ratio=0.5", "method.mask_ratio is a setting of method '"),
        ("optim.name=sgd", "no setting 'optim.name'. Here it is called 'optim.optimizer'."),
        ("schedule.name=linear", "no setting 'schedule.name'. Here it is called 'schedule.shape'."),
        ("model.options={image_size:32}", "put a space after its colon, as 'image_size: 32'."),
        (f"optim.lr=1{'0' * 400}", "optim.lr=<int>: Input should be a valid number."),
        (f"method.label_smoothing=1{'0' * 400}", "method.label_smoothing=<int>: not a number"),
        ("train.epochs=5", "no setting 'train.epochs'. Did you mean 'schedule.epochs'?"),
        ("data.augment.jitter=5", "jitter=5.0 is not within 0 to 1."),
    ],
)
def test_odd_values_are_one_line(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config({}, [setting])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        (RunConfig, {"optim": {"lr": "fast"}}, "optim.lr='fast': Input should be a valid number"),
        (RunConfig, {"optim": {"rl": 1}}, "no setting 'optim.rl'. Did you mean 'optim.lr'?"),
        (RunConfig, {"optm": {}}, "no setting 'optm'. Did you mean 'optim'?"),
        (RunConfig, {"optim": 3}, "optim=3 is no dictionary of settings."),
        (RunConfig, {"method": {"name": "maa"}}, "no method 'maa'. Did you mean 'mae'?"),
        (OptimConfig, {"lr": True}, "lr=True: True is not a number."),
        (OptimConfig, {"clipp": 1}, "no setting 'clipp'. Did you mean 'clip'?"),
        (DataConfig, {"augment": {"flip": 7}}, "augment.flip=7.0 is no probability"),
        (method_section("mae"), {"mask_ratio": "x"}, "mask_ratio='x': not a number of at least 0"),
        (method_section("distill"), {}, "teacher is not given: `vitrail config` says"),
        (ScheduleConfig, {"warmup_steps": 1, "warmup_epochs": 2}, "warmup_steps and warmup_epochs"),
    ],
)
def test_settings_that_are_constructed_are_refused_in_one_line(
    section: type[Section], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        section(**settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_values_that_only_look_odd() -> None:
    config = make_config({}, ["optim.clip=null", "train.compile=true", "model.options={a: true}"])
    assert (config.optim.clip, config.train.compile) == (None, True)
    assert make_config({}, ["train.seed=1795900674000000000"]).train.seed == 1795900674000000000


def test_the_warm_up_in_steps_and_epochs() -> None:
    def fraction(*settings: str) -> float:
        return make_config({}, settings).schedule.warmup_fraction(epoch_steps=20)

    assert fraction("schedule.warmup=0.3") == 0.3
    assert fraction("schedule.warmup_steps=50") == 0.25
    assert fraction("schedule.warmup_epochs=2.5") == 0.25
    assert fraction("schedule.warmup_steps=900") == 1.0
