"""Every check fails on a part that breaks what it asks, and names what is wrong."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import vitrail
from vitrail.contract.checks import Check, count_calls, describe_problem, run_checks
from vitrail.contract.methods import METHOD_CHECKS
from vitrail.contract.model_case import case_of
from vitrail.contract.suite import MODEL_CHECKS, check_part, parts_of
from vitrail.data.dataset import Dataset
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.own_transforms import register_transform
from vitrail.data.registry import register_dataset
from vitrail.errors import ConfigError
from vitrail.lens.explanations import register_explanation
from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.registry import register_method
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.registry import register_model
from vitrail.models.tiers import SequenceBackbone
from vitrail.train.optim import register_optimizer


class Plain(SequenceBackbone):
    """A linear embedding, blocks of one MLP, the mean. It keeps the contract."""

    def __init__(
        self,
        image_size: int = 32,
        patch_size: int = 8,
        num_classes: int = 5,
        dim: int = 16,
        depth: int = 2,
    ) -> None:
        super().__init__(image_size, 3, num_classes)
        self.dim = dim
        self.patch_embed = vitrail.layers.PatchEmbed((patch_size, patch_size), 3, dim)
        self.grid = (image_size // patch_size,) * 2
        self.blocks = nn.ModuleList(vitrail.layers.Mlp(dim, 2 * dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        patches, grid = self.patch_embed(images)
        return Features(patches, patches[:, :0], grid)

    def pool(self, features: Features) -> Tensor:
        return features.patches.mean(1)


def problems(kind: str, name: str) -> dict[str, str]:
    """What fails, by the name of the check."""
    return {o.check.name: o.problem for o in check_part(kind, name) if o.problem}


def test_a_model_that_keeps_the_contract_passes() -> None:
    register_model(Plain)
    assert problems("model", "Plain") == {}


# Changes of `Plain`, each of which breaks one thing.


def wrong_grid(self: Plain, images: Tensor) -> Features:
    return Plain.embed(self, images)._replace(grid=(3, 3))


def forward(self: Plain, images: Tensor) -> Tensor:
    return 2 * Plain.forward(self, images)


def mean_of_batch(self: Plain, features: Features) -> Tensor:
    return features.patches.mean(1) - features.patches.mean((0, 1))


def detached(self: Plain, features: Features) -> Tensor:
    return features.patches.mean(1).detach()


def noisy(self: Plain, features: Features) -> Tensor:
    return features.patches.mean(1) + torch.rand(1)


def fixed_size(self: Plain, images: Tensor) -> Features:
    features = Plain.embed(self, images)
    return features._replace(patches=features.patches + torch.zeros(16, 1))


def whole_grid(self: Plain, features: Features) -> Features:
    self.require_whole_grid(features)
    return Plain.encode(self, features)


def one_more(self: Plain, features: Features) -> Features:
    encoded = Plain.encode(self, features)
    if features.keep_indices is None:
        return encoded
    return encoded._replace(patches=encoded.patches.repeat(1, 2, 1))


def without_norm(self: Plain, features: Features) -> Features:
    return features._replace(patches=self.run_blocks(features.patches))


def own_loop(self: Plain, features: Features) -> Features:
    x = features.patches
    for block in self.blocks:
        x = block(x)
    return features._replace(patches=self.norm(x))


def fixed_head(self: Plain, num_classes: int) -> None:
    Backbone.reset_head(self, 7)


def unordered(self: Plain) -> dict[str, int]:
    return dict.fromkeys((n for n, _ in self.named_parameters()), 0)


def no_config(self: Plain) -> None:
    Backbone.init_weights(self)
    self.config.pop("depth")


def no_weights(self: Plain) -> None:
    """Draws nothing."""


def not_on_meta(self: Plain) -> None:
    Backbone.init_weights(self)
    assert self.norm.weight.sum() > 0  # type: ignore[operator]


def skipped(self: Plain, features: Features) -> Features:
    """The norm's weights are read; the norm is not called."""
    x = self.run_blocks(features.patches)
    return features._replace(
        patches=torch.layer_norm(x, (self.dim,), self.norm.weight, self.norm.bias)  # type: ignore
    )


def plain_attribute(self: Plain) -> None:
    """A number that is drawn, and is in no parameter or buffer."""
    Backbone.init_weights(self)
    self.offset = random.random()


def with_offset(self: Plain, features: Features) -> Tensor:
    return features.patches.mean(1) + self.offset


def own_parameter(self: Plain) -> None:
    self.scale = nn.Parameter(torch.ones(1))
    Backbone.init_weights(self)


def branching(self: Plain, features: Features) -> Tensor:
    pooled = features.patches.mean(1)
    return pooled if pooled.sum() > 1000 else pooled + 1


def float32(self: Plain, features: Features) -> Tensor:
    return features.patches.mean(1) + torch.linspace(0, 1, 16, dtype=torch.float32)


BREAKS: list[tuple[str, dict[str, Any], str]] = [
    ("shapes of the four stages", {"embed": wrong_grid}, "16 patches on a grid of"),
    ("forward is embed, encode, pool, head", {"forward": forward}, "forward differs"),
    ("batches of none and of one", {"pool": mean_of_batch}, "alone, and in a batch differ by"),
    ("a gradient reaches every parameter", {"pool": detached}, "no gradient reaches blocks"),
    ("init_weights sets every parameter", {"init_weights": no_weights}, "init_weights leaves "),
    ("samples of a batch are independent", {"pool": mean_of_batch}, "another one changes, differ"),
    ("the same image gives the same logits", {"pool": noisy}, "differ in evaluation mode"),
    ("another image size", {"embed": fixed_size}, "RuntimeError: The size of tensor"),
    ("patches are dropped as the tier says", {"encode": whole_grid}, "needs every patch"),
    ("patches are dropped as the tier says", {"encode": one_more}, "all taken, are "),
    ("features after each block", {"encode": without_norm}, "normalized, and encode differ"),
    ("gradient checkpointing changes nothing", {"encode": own_loop}, "block 0 is not computed"),
    ("reset_head gives other classes", {"reset_head": fixed_head}, r"are \(2, 7\), and should be"),
    ("layers for learning rates and freezing", {"layer_ids": unordered}, "have no parameter"),
    ("the constructor is the config", {"init_weights": no_config}, "not in model.config: depth"),
    (
        "saved and loaded",
        {"init_weights": plain_attribute, "pool": with_offset},
        "a loaded model computes something else",
    ),
    ("built on the meta device and loaded", {"init_weights": not_on_meta}, "RuntimeError"),
    ("a hook on every module fires", {"encode": skipped}, r"not called \(training, .*: norm"),
    (
        "every parameter is in a module that is called",
        {"init_weights": own_parameter},
        "held by the model itself, .*: scale",
    ),
    (
        "a deep copy is equal and independent",
        {"__deepcopy__": lambda self, memo: self},
        "changing a deep copy changes the model",
    ),
    ("torch.export, for any batch size", {"pool": branching}, "GuardOnDataDependent"),
    ("float64 and bfloat16", {"pool": float32}, "mat1 and mat2 must have the same dtype|are torch"),
    ("every method of its tier trains it", {"pool": detached}, "method "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "message"), BREAKS)
def test_a_model_that_breaks_the_contract(name: str, changes: dict[str, Any], message: str) -> None:
    broken = register_model(type("Broken", (Plain,), changes))
    check = next(check for check in MODEL_CHECKS if check.name == name)
    (outcome,) = run_checks([check], case_of(broken.__name__))
    assert outcome.problem
    assert re.search(message, outcome.problem), outcome.problem


def test_every_check_of_models_is_broken_above() -> None:
    names = {check.name for check in MODEL_CHECKS}
    recorded = "recording attention changes nothing"  # `test_record.py` breaks it
    assert names - {recorded} == {name for name, _, _ in BREAKS}


def test_a_model_that_cannot_be_small_is_checked_as_it_is() -> None:
    class Stiff(Plain):
        variants: ClassVar = {"stiff_24": {"image_size": 24, "num_classes": 2}}

        def __init__(self, image_size: int = 24, num_classes: int = 2) -> None:
            super().__init__(image_size, num_classes=num_classes)
            if image_size != 24:
                raise ConfigError(f"image_size={image_size} is not 24.")

    register_model(Stiff)
    assert case_of("Stiff").small().image_size == case_of("stiff_24").small().image_size == (24, 24)

    @register_model
    class Never(Plain):
        def embed(self, images: Tensor) -> Features:
            raise RuntimeError("out of order")

    (outcome,) = check_part("model", "Never")
    line = r"RuntimeError: out of order \(tests/contract/test_suite.py, line \d+\)"
    assert re.fullmatch(line, outcome.problem)
    assert "keywords of a small one" in outcome.check.cure


class Mean(Method):
    """Brings the mean of the logits to 1."""

    inputs = ("images",)

    def __init__(self, backbone: Backbone, weight: float = 1.0) -> None:
        super().__init__(backbone)
        self.weight = weight
        self.scale = nn.Linear(1, 1)

    def forward(self, batch: Batch) -> Loss:
        mean = self.scale(self.backbone(batch["images"]).mean()[None])
        return Loss(self.weight * (mean - 1).square().sum(), {"mean": mean.detach().sum()})


def test_a_method_that_keeps_the_contract_passes() -> None:
    register_method("mean")(Mean)
    assert problems("method", "mean") == {}


def plain_loss(self: Mean, batch: Batch) -> Any:
    return self.backbone(batch["images"]).mean()


def many_losses(self: Mean, batch: Batch) -> Loss:
    return Loss(self.backbone(batch["images"]).mean(1), {})


def not_finite(self: Mean, batch: Batch) -> Loss:
    return Loss(Mean.forward(self, batch).loss / 0, {})


def with_gradient(self: Mean, batch: Batch) -> Loss:
    loss = Mean.forward(self, batch).loss
    return Loss(loss, {"loss": loss})


def head_only(self: Mean, batch: Batch) -> Loss:
    return Loss(self.backbone.head(torch.zeros(1, self.backbone.pooled_dim)).sum(), {})


def python_random(self: Mean, batch: Batch) -> Loss:
    return Loss(Mean.forward(self, batch).loss * random.random(), {})


def no_super(self: Mean, backbone: Backbone) -> None:
    nn.Module.__init__(self)
    self.backbone, self.settings, self.scale, self.weight = backbone, {}, nn.Linear(1, 1), 1.0


def an_object(self: Mean, backbone: Backbone, norm: Any = nn.Identity()) -> None:  # noqa: B008
    Mean.__init__(self, backbone)


def required(self: Mean, backbone: Backbone, norm: Any) -> None:
    Mean.__init__(self, backbone)


def fresh_state(self: Mean) -> Any:
    return {key: torch.rand(value.shape) for key, value in nn.Module.state_dict(self).items()}


METHOD_BREAKS: list[tuple[str, dict[str, Any], str]] = [
    ("a step on a model of every tier", {"forward": plain_loss}, "on ViT: forward returns Tensor"),
    ("a step on a model of every tier", {"forward": many_losses}, r"the loss is \(4,\), and shou"),
    ("a step on a model of every tier", {"forward": not_finite}, "the loss is not finite"),
    ("a step on a model of every tier", {"forward": with_gradient}, "the metric loss is no finite"),
    ("a step on a model of every tier", {"forward": head_only}, "no gradient reaches .* more"),
    ("a step on a model of every tier", {"inputs": ("boxes",)}, "inputs has boxes, which no datas"),
    (
        "models of other tiers are refused",
        {"__init__": no_super, "tier": (SequenceBackbone,)},
        "Swin is of another tier|CaiT is of another tier",
    ),
    ("the constructor is the settings", {"__init__": an_object}, "settings cannot be saved: Obj"),
    (
        "the same random numbers give the same loss",
        {"forward": python_random},
        r"the losses are \d+.\d+ and \d+.\d+",
    ),
    (
        "what is kept is a backbone, and what classifies gives logits",
        {"result": lambda self: self},
        "result returns Broken",
    ),
    (
        "what is kept is a backbone, and what classifies gives logits",
        {"classifier": lambda self, backbone: nn.Flatten(0)},
        r"classifier does not give logits \(B, classes\)",
    ),
    ("saved and loaded", {"training_only": ("scal",), "state_dict": fresh_state}, "Error|another"),
    ("it can be built", {"__init__": required}, "the setting norm has no default"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "message"), METHOD_BREAKS)
def test_a_method_that_breaks_the_contract(
    name: str, changes: dict[str, Any], message: str
) -> None:
    register_method("broken")(type("Broken", (Mean,), changes))
    failures = problems("method", "broken")
    assert re.search(message, failures[name]), failures


def test_every_check_of_methods_is_broken_above() -> None:
    assert {check.name for check in METHOD_CHECKS} <= {name for name, _, _ in METHOD_BREAKS}


def images(count: int = 6) -> Tensor:
    return torch.arange(count * 48, dtype=torch.uint8).view(count, 3, 4, 4)


class Broken(InMemoryDataset):
    """Two classes in memory, to be broken."""

    def __init__(self, split: str = "train") -> None:
        super().__init__(images(), torch.arange(6) % 2, ["a", "b"], name=split)


class FewTargets(Broken):
    def targets(self) -> list[int]:
        return [0, 1]


class UnknownTargets(Broken):
    def targets(self) -> list[int]:
        return [7] * 6


class Floats(Broken):
    def read(self, index: int) -> Tensor:
        return super().read(index).float()


class Gray(Broken):
    def read(self, index: int) -> Tensor:
        return super().read(index)[:1]


class Noise(Broken):
    def read(self, index: int) -> Tensor:
        return torch.randint(0, 256, (3, 4, 4), dtype=torch.uint8)


class Shuffled(Broken):
    def subset(self, indices: Any) -> Dataset:
        return super().subset(sorted(indices))


class SameName(Broken):
    def name(self, index: int) -> str:
        return "image"


class Unpicklable(Broken):
    def __init__(self, split: str) -> None:
        super().__init__(split)
        self.function = lambda image: image


class OtherLabels(Broken):
    def __init__(self, split: str) -> None:
        super().__init__(split)
        self.labels = [f"{split} a", f"{split} b"]


DATASET_BREAKS = [
    (Broken, "", ""),
    (OtherLabels, "labels and targets", "the splits have different labels"),
    (FewTargets, "labels and targets", "6 samples, 2 targets"),
    (UnknownTargets, "labels and targets", r"a target is \[7\], and there are 2 labels"),
    (Floats, "samples", r"a sample is \(3, 4, 4\) of torch.float32, not uint8"),
    (Gray, "samples", "a sample has 1 channels, and statistics 3"),
    (Noise, "samples", "sample 0 is another when it is read again"),
    (Shuffled, "subsets", "a subset has other targets|other samples"),
    (SameName, "names and keys", "name is the same for two samples"),
    (Unpicklable, "goes to other processes", "Error: "),
]


@pytest.mark.parametrize(("broken", "name", "message"), DATASET_BREAKS)
def test_a_dataset_that_breaks_the_contract(
    broken: Callable[[str], Dataset], name: str, message: str
) -> None:
    register_dataset("broken")(lambda path, split: broken(split))
    failures = problems("dataset", "broken:anywhere")
    assert re.search(message, failures[name]) if name else not failures, failures


def good_transform(images: Tensor, generator: torch.Generator) -> Tensor:
    return images + torch.rand(images.shape, generator=generator)


def other_shape(images: Tensor, generator: torch.Generator) -> Tensor:
    return images[..., :8]


def three_channels(images: Tensor, generator: torch.Generator) -> Tensor:
    return images * torch.ones(3, 1, 1)


def double(images: Tensor, generator: torch.Generator) -> Tensor:
    return images.double()


def global_generator(images: Tensor, generator: torch.Generator) -> Tensor:
    return images + torch.rand(images.shape)


def random_module(images: Tensor, generator: torch.Generator) -> Tensor:
    return images * random.random()


@pytest.mark.parametrize(
    ("transform", "name", "message"),
    [
        (good_transform, "", ""),
        (other_shape, "images of the same shape", r"makes \(4, 3, 16, 8\) of images \(4, 3, 16"),
        (three_channels, "images of the same shape", r"makes \(2, 3, 16, 16\) of images \(2, 1,"),
        (double, "images of the same shape", "float32 images become torch.float64"),
        (global_generator, "draws from the generator alone", "from torch's global generator"),
        (random_module, "draws from the generator alone", "the same generator gives different"),
    ],
)
def test_a_transform_that_breaks_the_contract(
    transform: Callable[..., Tensor], name: str, message: str
) -> None:
    register_transform("broken")(transform)
    failures = problems("transform", "broken")
    assert re.search(message, failures[name]) if name else not failures, failures


class Signs(torch.optim.Optimizer):
    """Steps along the sign of the gradient; how it is broken is an attribute of the class."""

    ignores_lr = counts = forgets = False

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {})
        self.steps = 0

    def step(self) -> None:  # type: ignore[override]
        self.steps += 1
        for group in self.param_groups:
            for p in [p for p in group["params"] if p.grad is not None]:
                state = self.state[p]
                state["steps"] = state.get("steps", torch.zeros(())) + 1
                if self.counts:
                    state["count"] = self.steps
                lr = 0.05 if self.ignores_lr else group["lr"]
                p.data -= lr * p.grad.sign() * (1 / self.steps if self.forgets else 1)


@pytest.mark.parametrize(
    ("flaw", "name", "message"),
    [
        ("", "", ""),
        ("ignores_lr", "obeys the learning rate", "a learning rate of 0 moves weights"),
        ("counts", "goes on after a checkpoint", "Broken keeps count=2, which is no tensor"),
        ("forgets", "goes on after a checkpoint", "a resumed run ends with other weights"),
    ],
)
def test_an_optimizer_that_breaks_the_contract(flaw: str, name: str, message: str) -> None:
    register_optimizer("broken")(type("Broken", (Signs,), {flaw: True} if flaw else {}))
    failures = {key[: len(name)]: text for key, text in problems("optimizer", "broken").items()}
    assert re.search(message, failures[name]) if name else not failures, failures


def peaks(model: Backbone, images: Tensor) -> Tensor:
    features = model.features(images)
    return features.patches.amax(dim=-1).unflatten(1, features.grid)


def flat(model: Backbone, images: Tensor) -> Tensor:
    return peaks(model, images).flatten(1)


def of_batch(model: Backbone, images: Tensor) -> Tensor:
    return peaks(model, images) - peaks(model, images).mean()


def random_maps(model: Backbone, images: Tensor) -> Tensor:
    return torch.rand(len(images), 4, 4)


def leaves_gradients(model: Backbone, images: Tensor) -> Tensor:
    model(images).sum().backward()
    return peaks(model, images)


def leaves_training(model: Backbone, images: Tensor) -> Tensor:
    return peaks(model.train(), images)


def leaves_frozen(model: Backbone, images: Tensor) -> Tensor:
    return peaks(model.requires_grad_(False), images)


def leaves_hooks(model: Backbone, images: Tensor) -> Tensor:
    model.head.register_forward_hook(lambda *_: None)
    return peaks(model, images)


def changes_weights(model: Backbone, images: Tensor) -> Tensor:
    model.norm.bias.data += 1  # type: ignore[union-attr, operator]
    return peaks(model, images)


LEFT = "leaves the model as it was"


@pytest.mark.parametrize(
    ("explanation", "name", "message"),
    [
        (peaks, "", ""),
        (flat, "one map per image", r"returns \(1, 16\): return a tensor of 1 maps with 2 axes"),
        (of_batch, "maps of a batch are independent", "the map of an image changes with another"),
        (random_maps, "maps of a batch are independent", "the maps differ from call to call"),
        (leaves_gradients, LEFT, "gradients are left in .* more"),
        (leaves_training, LEFT, "the model is in training mode"),
        (leaves_frozen, LEFT, "requires_grad of parameters has changed"),
        (leaves_hooks, LEFT, "hooks are left on head"),
        (changes_weights, LEFT, "other values than before: norm.bias"),
    ],
)
def test_an_explanation_that_breaks_the_contract(
    explanation: Callable[..., Tensor], name: str, message: str
) -> None:
    register_explanation("broken")(explanation)
    failures = {key[: len(name)]: text for key, text in problems("explanation", "broken").items()}
    assert re.search(message, failures[name]) if name else not failures, failures


def test_a_mixer_is_checked_in_a_model() -> None:
    from vitrail.layers.mixers import register_mixer

    @register_mixer("shift")
    class Shift(nn.Linear):
        def __init__(self, dim: int) -> None:
            super().__init__(dim, dim)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) - x.mean(0)

    assert "samples of a batch are independent" in problems("mixer", "shift")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "Swin", "pvt_v2_b0"])
def test_models_of_vitrail_pass_by_name(name: str) -> None:
    ((kind, part),) = parts_of(name)
    assert (kind, part) == ("model", name)
    assert case_of(name).small()(torch.zeros(1, 3, *case_of(name).small().image_size)).ndim == 2


def test_names_and_files_are_parts(tmp_path: Path) -> None:
    assert parts_of("mae") == [("method", "mae")]
    assert parts_of("folder:photos") == [("dataset", "folder:photos")]
    assert parts_of("rollout") == [("explanation", "rollout")]
    with pytest.raises(ConfigError, match="nothing is called 'mea'. Did you mean"):
        parts_of("mea")
    file = tmp_path / "nothing_here.py"
    file.write_text("x = 1\n")
    with pytest.raises(
        ConfigError, match="nothing_here.py registers nothing: put @vitrail.registe"
    ):
        parts_of(str(file))


def test_a_problem_names_the_line_of_the_users_code() -> None:
    def fail(subject: object) -> None:
        raise KeyError("x")

    (outcome,) = run_checks([Check("never fails", "", fail)], None)
    assert re.fullmatch(
        r"KeyError: 'x' \(tests/contract/test_suite.py, line \d+\)", outcome.problem
    )
    assert describe_problem(ConfigError("one line.")) == "one line"
    (of_json,) = run_checks([Check("is JSON", "", lambda text: json.loads(text))], "{")
    assert "(tests/contract/test_suite.py, line" in of_json.problem  # not a line of json itself


def test_hooks_are_gone_after_counting() -> None:
    layer = nn.Identity()
    with pytest.raises(ZeroDivisionError), count_calls([layer]):
        1 / 0
    assert not layer._forward_hooks
