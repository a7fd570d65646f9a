"""Parameter groups, and the EMA of the weights."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.errors import ConfigError
from vitrail.layers.patch import PatchEmbed
from vitrail.methods.base import Method
from vitrail.methods.dino import DINO
from vitrail.methods.distill import Distill
from vitrail.methods.supervised import Supervised
from vitrail.run_folder import RunFolder
from vitrail.train.factory import build_trainer, open_datasets
from vitrail.train.optim import (
    ParameterOptim,
    build_optimizer,
    make_ema,
    parameter_groups,
    register_optimizer,
)


def settings_of(method: Method, key: str, **keywords: Any) -> dict[str, float]:
    """The value of `key` of each parameter's group."""
    groups = parameter_groups(method, **{"lr": 1.0, "weight_decay": 0.05, **keywords})
    names = {id(p): n for n, p in method.named_parameters()}
    return {names[id(p)]: group[key] for group in groups for p in group["params"]}


def test_vectors_tokens_and_positions_do_not_decay() -> None:
    method = Supervised(small("ViT", registers=2, layer_scale=0.1))
    decays = settings_of(method, "weight_decay")
    assert decays.keys() == {name for name, _ in method.named_parameters()}
    linear = {
        f"{name}.weight"
        for name, module in method.named_modules()
        if isinstance(module, nn.Linear | PatchEmbed)
    }
    assert {name for name, decay in decays.items() if decay} == linear
    assert {decays[name] for name in linear} == {0.05}


def test_lower_layers_learn_slower() -> None:
    method = Supervised(small("ViT"))
    layers = method.backbone.layer_ids()
    rates = settings_of(method, "lr", layer_decay=0.5)
    for name, layer in layers.items():
        assert rates[f"backbone.{name}"] == 0.5 ** (method.backbone.depth + 1 - layer)
    method.backbone.freeze()
    assert settings_of(method, "lr").keys() == {"backbone.head.weight", "backbone.head.bias"}


def test_each_block_of_a_pyramid_is_a_layer() -> None:
    """As in SimMIM's code: a layer per block over all stages."""
    method = Supervised(small("Swin"))
    depth = sum(len(stage.blocks) for stage in method.backbone.blocks)
    rates = set(settings_of(method, "lr", layer_decay=0.5).values())
    assert rates == {0.5**distance for distance in range(depth + 2)}


def test_what_a_method_adds_learns_as_the_head_does() -> None:
    method = Supervised(small("ViT"))
    method.decoder = nn.Linear(3, 4)
    assert settings_of(method, "lr", layer_decay=0.5)["decoder.weight"] == 1.0


def test_patterns_change_rates_and_decays() -> None:
    method = Supervised(small("ViT"))
    per_module = {
        "backbone.blocks.*": ParameterOptim(lr_scale=0.5),
        "backbone.blocks.1.*": ParameterOptim(lr_scale=0.1, weight_decay_scale=2.0),
        "*.head.bias": ParameterOptim(weight_decay_scale=1.0),
        "*.head.weight": ParameterOptim(weight_decay_scale=0.0),
    }
    rates = settings_of(method, "lr", per_module=per_module)
    decays = settings_of(method, "weight_decay", per_module=per_module)
    scales = settings_of(method, "weight_decay_scale", per_module=per_module)
    for name, rate in rates.items():
        inside = name.startswith("backbone.blocks.")
        assert rate == (0.1 if name.startswith("backbone.blocks.1.") else 0.5 if inside else 1.0)
    assert decays["backbone.blocks.1.mlp.fc1.weight"] == 0.1
    assert decays["backbone.blocks.0.mlp.fc1.weight"] == 0.05
    assert decays["backbone.head.bias"] == 0.05 and decays["backbone.head.weight"] == 0.0
    assert scales["backbone.blocks.1.mlp.fc1.weight"] == 2.0
    decayed = settings_of(method, "lr", per_module=per_module, layer_decay=0.5)
    assert decayed["backbone.blocks.1.mlp.fc1.weight"] == 0.1 * 0.5 ** (
        method.backbone.depth + 1 - 2
    )
    with pytest.raises(ConfigError, match=r"no parameter that learns is called 'blocks\.9\.\*'"):
        parameter_groups(method, lr=1, weight_decay=0, per_module={"blocks.9.*": ParameterOptim()})
    with pytest.raises(ConfigError, match="lr_scale=-1 is not at least 0"):
        ParameterOptim(lr_scale=-1)


def test_the_ema_is_its_formula() -> None:
    method = Supervised(small("ViT"))
    ema = make_ema(method, 0.9)
    expected, weight = None, method.backbone.head.weight
    for update in range(30):
        with torch.no_grad():
            weight.add_(torch.randn_like(weight))
        ema.update_parameters(method)
        decay = min(0.9, (1 + update) / (10 + update))
        new = weight.detach().clone()
        expected = new if expected is None else decay * expected + (1 - decay) * new
    torch.testing.assert_close(ema.module.backbone.head.weight, expected)


def test_the_ema_is_of_the_whole_method() -> None:
    """What a method adds is averaged too; what it queries is not copied."""
    teacher = small("ViT")
    method = Distill(small("ViT"), teacher)
    method.extra = nn.Linear(2, 2)
    ema = make_ema(method, 0.5)
    assert ema.module.teacher.function is teacher and ema.module.extra is not method.extra
    before = method.extra.weight.detach().clone()
    ema.update_parameters(method)
    with torch.no_grad():
        method.extra.weight.add_(1)
    ema.update_parameters(method)
    torch.testing.assert_close(ema.module.extra.weight, before + 9 / 11)
    with pytest.raises(ConfigError, match=r"DINO keeps an EMA of its own.*set optim\.ema=0"):
        make_ema(DINO(small("ViT"), out_dim=8, head_dims=(8, 4)), 0.9)


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("optim.lr=0.007", lambda t: t.optimizer.param_groups[0]["lr"] == 0.007),
        ("optim.betas=[0.8, 0.95]", lambda t: t.optimizer.defaults["betas"] == (0.8, 0.95)),
        (
            "optim.betas=[0.8, 0.95]",
            lambda t: {g["betas"] for g in t.optimizer.param_groups} == {(0.8, 0.95)},
        ),
        (
            "optim.weight_decay=0.3",
            lambda t: {g["weight_decay"] for g in t.optimizer.param_groups} == {0.0, 0.3},
        ),
        ("optim.weight_decay=0.3", lambda t: t.schedule.weight_decay == 0.3),
        ("optim.weight_decay_end=0.4", lambda t: t.schedule.weight_decay_end == 0.4),
        ("optim.layer_decay=0.5", lambda t: len(t.optimizer.param_groups) > 4),
        (
            "optim.per_module={'*head*': {lr_scale: 3}}",
            lambda t: max(g["lr"] for g in t.optimizer.param_groups) == pytest.approx(0.009),
        ),
        ("optim.clip=0.7", lambda t: t.clip == 0.7),
        ("optim.clip_by=parameter", lambda t: t.clip_by == "parameter"),
        ("optim.eps=1e-6", lambda t: {g["eps"] for g in t.optimizer.param_groups} == {1e-6}),
        ("optim.accumulate=3", lambda t: (t.accumulate, t.epoch_steps, t.total) == (3, 4, 8)),
        ("optim.ema=0", lambda t: t.ema is None),
        ("optim.ema=0.5", lambda t: t.ema is not None),
        ("schedule.epochs=5", lambda t: t.total == t.schedule.total == 60),
        ("schedule.warmup=0.3", lambda t: t.schedule.warmup == 0.3),
        ("schedule.min_lr=0.2", lambda t: t.schedule.min_lr == 0.2),
        ("schedule.shape=full_cosine", lambda t: t.schedule.shape == "full_cosine"),
        ("schedule.drop_at=0.3", lambda t: t.schedule.drop_at == 0.3),
        ("train.seed=4", lambda t: t.seed == t.stream.seed == t.stream.loader.seed == 4),
        ("train.precision=bf16", lambda t: t.dtype == torch.bfloat16),
        ("train.gradient_checkpointing=true", lambda t: t.method.backbone.gradient_checkpointing),
        ("data.batch_size=16", lambda t: t.stream.batch_size == 16 and t.epoch_steps == 25),
        ("data.repeats=3", lambda t: t.stream.loader.repeats == 3),
        ("data.workers=1", lambda t: t.stream.loader.workers == 1),
        ("data.limit=100", lambda t: len(t.stream.loader.dataset) == 100),
    ],
)  # fmt: skip
def test_each_setting_reaches_its_part(setting: str, read: Any) -> None:
    config = tiny(setting)
    trainer, _ = build_trainer(config, RunFolder("unused"), open_datasets(config))
    assert read(trainer)


def test_the_callbacks_have_their_settings() -> None:
    config = tiny(
        "train.eval_every=3", "train.knn_images=70", "train.save_every=9",
        "train.early_stopping=4", "train.monitor=7",
    )  # fmt: skip
    trainer, evaluator = build_trainer(config, RunFolder("unused"), open_datasets(config))
    _spikes, log, monitor, validation, best, images, checkpoints = trainer.callbacks
    assert monitor.every == 7
    assert (log.every, validation.every, images.every, checkpoints.every) == (3, 3, 3, 9)
    assert (best.patience, best.keep) == (4, True)
    assert evaluator.knn_images == 70


def groups_of(*parameters: nn.Parameter) -> list[dict[str, Any]]:
    return [{"params": [p], "lr": 0.1, "weight_decay": 0.0} for p in parameters]


def test_an_optimizer_of_ones_own_takes_all_groups() -> None:
    first, second = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    register_optimizer("rmsprop")(torch.optim.RMSprop)
    optimizer = build_optimizer("rmsprop", groups_of(first, second), options={"momentum": 0.5})
    assert type(optimizer) is torch.optim.RMSprop
    assert [group["momentum"] for group in optimizer.param_groups] == [0.5, 0.5]
    assert build_optimizer("adamw", groups_of(first), betas=(0.8, 0.9)).defaults["fused"]
    with pytest.raises(
        ConfigError, match=r"betas=\(0.8, 0.9\) is of AdamW: 'rmsprop' takes optimizer_o"
    ):
        build_optimizer("rmsprop", groups_of(first), betas=(0.8, 0.9))
    with pytest.raises(ConfigError, match="'rmsprop' has no keyword 'momentm'. Did you"):
        build_optimizer("rmsprop", groups_of(first), options={"momentm": 0.5})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sgd", {"options": {"momentum": -1}}, r"'sgd' refuses its settings \(Invalid momentum va"),
        (
            "adamw",
            {"betas": (1.5, 0.9)},
            r"'adamw' refuses its settings .*1.5\): change optimizer_",
        ),
    ],
)
def test_settings_that_an_optimizer_refuses_are_one_line(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_optimizer(name, groups_of(nn.Parameter(torch.ones(1))), **settings)


def test_what_differs_of_parameters_is_of_its_class() -> None:
    per_module: Any = {"*": {"lr_scale": 2}}
    with pytest.raises(ConfigError, match="not a mapping with each value a ParameterOptim, or N"):
        parameter_groups(Supervised(small("ViT")), lr=1, weight_decay=0, per_module=per_module)


def test_what_is_no_optimizer_of_all_parameters_is_named() -> None:
    parameters = [nn.Parameter(torch.ones(1)) for _ in range(3)]
    register_optimizer("first")(lambda groups: torch.optim.SGD(groups[:1]))
    register_optimizer("none")(lambda groups: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match="'first' leaves out 2 of 3 parameters: pass all groups"):
        build_optimizer("first", groups_of(*parameters))
    with pytest.raises(ConfigError, match="'none' is NoneType: derive it from torch.optim.Optim"):
        build_optimizer("none", groups_of(*parameters))
