"""What the contract asks of every method. The tests of Vitrail's methods run the same checks."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrail.contract.checks import (
    BrokenContractError,
    Check,
    checked_by,
    describe_problem,
    require,
    require_none,
    require_same,
    require_shape,
)
from vitrail.contract.model_case import ModelCase, awake
from vitrail.data.text import Tokenizer
from vitrail.errors import ConfigError, TierError
from vitrail.hub.method_folder import load_method, save_method
from vitrail.hub.model_folder import save
from vitrail.messages import _
from vitrail.methods.base import Batch, Method
from vitrail.methods.registry import METHODS, create_method, get_method, settings_of
from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class

BATCH = 4
METHOD_CHECKS: list[Check] = []

# Settings that make methods small.
SETTINGS: dict[str, dict[str, Any]] = {
    "mae": {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2},
    "mpp": {"bits": 2},
    "dino": {"out_dim": 64, "head_dims": (24, 12)},
    "clip": {"embed_dim": 16, "text_dim": 16, "text_depth": 1, "text_heads": 2},
}
# One small model of each tier.
EXAMPLES: dict[str, dict[str, Any]] = {
    "ViT": {
        "image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 32, "depth": 2, "heads": 2,
        "mlp_dim": 48,
    },
    "Swin": {
        "image_size": 32, "patch_size": 2, "num_classes": 5, "dim": (16, 32), "depth": (2, 1),
        "heads": (2, 4), "window": 4,
    },
    "CaiT": {
        "image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 32, "depth": 2,
        "class_depth": 1, "heads": 2, "mlp_dim": 48, "layer_scale": 0.5,
    },
}  # fmt: skip


class ColorTeacher:
    """Logits from the colors of images alone, in the stead of a distillation teacher.

    Args:
        model: model to train.

    Example:
        >>> ColorTeacher(vitrail.ViT(8, 4, 5, 8, 1, 2, 8))(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 5])
    """

    def __init__(self, model: Backbone) -> None:
        self.num_classes = model.num_classes

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(2).mean(2).repeat(1, self.num_classes)[:, : self.num_classes]


class RandomCodes:
    """Codes of the patches of a model's grid, in the stead of an image tokenizer.

    Args:
        model: model to train.

    Example:
        >>> RandomCodes(vitrail.ViT(8, 4, 5, 8, 1, 2, 8))(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 4])
    """

    vocabulary = 16

    def __init__(self, model: Backbone) -> None:
        with torch.no_grad():
            image = torch.zeros(1, model.channels, *model.image_size)
            self.patches = model.eval().features(image).patches.shape[1]

    def __call__(self, images: Tensor) -> Tensor:
        return torch.randint(self.vocabulary, (len(images), self.patches))


def _word_tokenizer(_model: Backbone) -> Tokenizer:
    return Tokenizer.train(["a photo of a cat", "a photo of a dog"], 64)


STAND_INS: Mapping[str, Callable[[Backbone], Any]] = {
    "teacher": ColorTeacher, "image_tokenizer": RandomCodes, "text_tokenizer": _word_tokenizer,
}  # fmt: skip


class MethodCase(NamedTuple):
    """A method to check.

    Args:
        name: name of the method.

    Example:
        >>> type(MethodCase("mae").on("ViT")).__name__
        'MAE'
    """

    name: str

    def models(self) -> list[str]:
        """The names in `EXAMPLES` of a model of each tier that the method can train."""
        tier = get_method(self.name).tier
        return [name for name in EXAMPLES if issubclass(get_model_class(name), tier)]

    def on(self, name: str) -> Method:
        """The method, small, on a small model.

        Args:
            name: name of the model in `EXAMPLES`.

        Returns:
            The method, in training mode.
        """
        torch.manual_seed(0)
        model = awake(get_model_class(name)(**EXAMPLES[name]))
        model.labels = [f"class {i}" for i in range(model.num_classes)]
        return small_method(self.name, model).train()


def small_method(name: str, model: Backbone) -> Method:
    """A small method, with stand-ins for the objects that it needs.

    Args:
        name: name of the method.
        model: model to train.

    Returns:
        The method.

    Raises:
        BrokenContractError: a setting has no default, and is no object of a known kind.

    Example:
        >>> small_method("distill", vitrail.ViT(8, 4, 5, 8, 1, 2, 8)).settings["teacher"]
        <vitrail.contract.methods.ColorTeacher object at 0x...>
    """
    method, settings = get_method(name), dict(SETTINGS.get(name, {}))
    for key, parameter in settings_of(name).items():
        if parameter.default is not parameter.empty or key in settings:
            continue
        if method.named.get(key) not in STAND_INS:
            raise BrokenContractError(f"the setting {key} has no default")
        settings[key] = STAND_INS[method.named[key]](model)
    return create_method(name, model, **settings)


def batch_for(method: Method, batch: int = BATCH) -> Batch:
    """A random batch with the fields that `method.inputs` names.

    Args:
        method: the method.
        batch: number of samples.

    Returns:
        The batch.

    Raises:
        BrokenContractError: no dataset of Vitrail holds such a field.

    Example:
        >>> batch_for(MethodCase("supervised").on("ViT")).names()
        ('images', 'labels')
    """
    backbone = method.backbone
    images = torch.randn(batch, backbone.channels, *backbone.image_size)
    fields: dict[str, Any] = {
        "images": images,
        "crops": (images, images.flip(-1), images.roll(1, -1)),
        "labels": torch.arange(batch) % max(backbone.num_classes, 1)
        if method.target == "class"
        else torch.arange(batch * backbone.num_classes).reshape(batch, -1) % 2.0,
        "features": torch.randn(batch, backbone.pooled_dim),
    }
    if "captions" in method.inputs:
        fields["captions"] = method.tokenizer(["a cat", "a dog", "a photo", "cat"][:batch])
    if missing := [name for name in method.inputs if name not in fields]:
        raise BrokenContractError(f"inputs has {missing[0]}, which no dataset holds")
    return Batch(**{name: fields[name] for name in method.inputs})


def make_step(method: Method) -> None:
    """Makes a step of a method as the trainer does, without the optimizer.

    Args:
        method: the method, in training mode.

    Raises:
        BrokenContractError: the loss or a metric is no finite number, or a gradient is missing.

    Example:
        >>> make_step(MethodCase("supervised").on("ViT"))
    """
    method.before_step(0.5)
    result = method(batch_for(method))
    good = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
    require(good, f"forward returns {type(result).__name__}, not Loss(loss, metrics)")
    loss, metrics = result
    require_shape("the loss is", loss, ())
    require(bool(loss.isfinite()), "the loss is not finite")
    for name, value in metrics.items():
        good = isinstance(value, Tensor) and bool(value.isfinite().all())
        require(
            good and not value.requires_grad,
            f"the metric {name} is no finite tensor without a gradient",
        )
    loss.backward()
    method.after_step()
    learning = {n: p for n, p in method.named_parameters() if p.requires_grad}
    missing = [n for n, p in learning.items() if p.grad is None]
    require_none(missing, "no gradient reaches {}")
    bad = [n for n, p in learning.items() if p.grad is not None and not p.grad.isfinite().all()]
    require_none(bad, "not finite is the gradient of {}")


def trains_with_every_method(case: ModelCase) -> None:
    """Makes a step of every method of Vitrail whose tier a model is of.

    Args:
        case: the model.

    Raises:
        BrokenContractError: a method fails, other than by saying that it needs another model.

    Example:
        >>> trains_with_every_method(ModelCase(lambda: vitrail.ViT(32, 8, 5, 32, 1, 2, 48)))
    """
    for name in METHODS:
        try:
            make_step(small_method(name, case.small()).train())
        except (TierError, ConfigError):  # it says that it needs another model
            continue
        except Exception as problem:  # whatever the model raises
            raise BrokenContractError(f"method {name}: {describe_problem(problem)}") from None


@checked_by(
    METHOD_CHECKS,
    _("a step on a model of every tier"),
    _("touch only embed, encode, pool, head and Features of the backbone, and freeze what the loss "
      "cannot reach, as Pretraining does; or narrow the class attribute tier"),
)  # fmt: skip
def _step(case: MethodCase) -> None:
    for name in case.models():
        try:
            make_step(case.on(name))
        except Exception as problem:  # whatever the method raises
            raise BrokenContractError(f"on {name}: {describe_problem(problem)}") from None


@checked_by(
    METHOD_CHECKS,
    _("models of other tiers are refused"),
    _("call super().__init__(backbone) first"),
)
def _refused(case: MethodCase) -> None:
    for name in EXAMPLES.keys() - case.models():
        try:
            case.on(name)
        except TierError:
            continue
        require(False, f"{name} is of another tier, and is accepted")


@checked_by(
    METHOD_CHECKS,
    _("the constructor is the settings"),
    _("take plain values (numbers, strings, tuples), one keyword each; list what are objects in "
      "the class attribute named"),
)  # fmt: skip
def _settings(case: MethodCase) -> None:
    method = case.on(case.models()[0])
    missing = [key for key in settings_of(case.name) if key not in method.settings]
    require_none(missing, "not in settings: {}")
    plain = {k: v for k, v in method.resolved_settings().items() if k not in method.named}
    try:
        json.dumps(plain)
    except TypeError as problem:
        raise BrokenContractError(f"settings cannot be saved: {problem}") from None


@checked_by(
    METHOD_CHECKS,
    _("the same random numbers give the same loss"),
    _("draw from torch's generator, and only inside forward and before_step"),
)
def _deterministic(case: MethodCase) -> None:
    losses = []
    for _repeat in range(2):
        method = case.on(case.models()[0])
        torch.manual_seed(1)
        method.before_step(0.5)
        losses.append(method(batch_for(method)).loss)
    require_same(f"the losses are {losses[0]:.6f} and {losses[1]:.6f}", *losses)


@checked_by(
    METHOD_CHECKS,
    _("what is kept is a backbone, and what classifies gives logits"),
    _("return a Backbone from result, and a module from images to logits or None from classifier"),
)
def _results(case: MethodCase) -> None:
    method = case.on(case.models()[0])
    backbone = method.result().eval()
    require(isinstance(backbone, Backbone), f"result returns {type(backbone).__name__}")
    method.eval()
    classifier = method.classifier(backbone)
    if classifier is None:
        return
    require(isinstance(classifier, nn.Module), f"classifier gives {type(classifier).__name__}")
    logits = classifier(torch.zeros(2, backbone.channels, *backbone.image_size))
    good = isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == 2
    require(good, "classifier does not give logits (B, classes)")


@checked_by(
    METHOD_CHECKS,
    _("saved and loaded"),
    _("keep in parameters and buffers what evaluation needs, and name in training_only what it "
      "does not"),
)  # fmt: skip
def _saved(case: MethodCase) -> None:
    method = case.on(case.models()[0]).eval()
    with tempfile.TemporaryDirectory() as folder:
        save(method.backbone, Path(folder) / "model")
        save_method(method, case.name, Path(folder) / "method")
        if not (Path(folder) / "method").is_dir():  # there is nothing beside the backbone
            return
        loaded = load_method(folder)
    for name, module in loaded.named_children():
        if name not in method.training_only:
            state = getattr(method, name).state_dict()
            for key, tensor in module.state_dict().items():
                require_same(f"{name}.{key} is another after loading", tensor, state[key])
