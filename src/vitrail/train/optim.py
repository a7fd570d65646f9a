"""The optimizer, which parameters learn how fast, and the exponential moving average (EMA)."""

import contextlib
import dataclasses
import fnmatch
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from vitrail.arguments import Unchecked, check_fields, checked, checked_names
from vitrail.errors import ConfigError, VitrailError, check_range, suggest
from vitrail.methods.base import Method
from vitrail.methods.ema_teacher import require_same_shapes
from vitrail.models.parameters import undecayed
from vitrail.registry import Registry
from vitrail.values import NonNegativeFloat, Range, Rate

OptimizerFactory = TypeVar("OptimizerFactory", bound=Callable[..., Optimizer])

OPTIMIZERS: Registry[Callable[..., Optimizer]] = Registry(
    "optimizer",
    {
        "adamw": "torch.optim:AdamW",
        "sgd": "vitrail.train.optimizers:sgd",
        "adafactor": "vitrail.train.optimizers:adafactor",
        "muon": "vitrail.train.optimizers:Muon",
        "lamb": "vitrail.train.optimizers:lamb",
    },
    arguments=("groups",),
    decorator="vitrail.train.register_optimizer",
)
BETAS, EPS = (0.9, 0.999), 1e-8  # of AdamW


@checked
def register_optimizer(
    name: Annotated[str, Unchecked()],
) -> Callable[[OptimizerFactory], OptimizerFactory]:
    """Adds an optimizer of your own, which the setting `optim.optimizer` names.

    Args:
        name: its name.

    Returns:
        A decorator of an optimizer class, or of a function that returns an optimizer, of parameter
        groups, and keywords of its own, which `optim.optimizer_options` sets. Each group has
        "params", "lr" and "weight_decay". What its state holds per parameter must be tensors, so
        that checkpoints can hold it.

    Raises:
        ConfigError: another optimizer has that name, or the class takes other arguments.

    Example:
        >>> @register_optimizer("rmsprop")
        ... def rmsprop(groups: list[dict[str, Any]], alpha: float = 0.9) -> Optimizer:
        ...     return torch.optim.RMSprop(groups, alpha=alpha)
        >>> group = {"params": [nn.Parameter(torch.ones(1))], "lr": 0.1, "weight_decay": 0.0}
        >>> build_optimizer("rmsprop", [group], options={"alpha": 0.5}).defaults["alpha"]
        0.5
    """
    return OPTIMIZERS.register(name)


def build_optimizer(
    name: str,
    groups: list[dict[str, Any]],
    *,
    options: Mapping[str, Any] | None = None,
    betas: tuple[float, float] = BETAS,
    eps: float = EPS,
) -> Optimizer:
    """The optimizer that settings name.

    Args:
        name: "adamw", "sgd", "adafactor", "muon", "lamb", or a registered one.
        groups: as `parameter_groups` returns them.
        options: keywords of the optimizer.
        betas: decay rates of AdamW's averages.
        eps: what AdamW adds to its denominator.

    Returns:
        The optimizer of all parameters of the groups.

    Raises:
        ConfigError: there is no such optimizer or keyword, or it is no optimizer of all parameters.

    Example:
        >>> group = {"params": [nn.Parameter(torch.ones(1))], "lr": 0.1, "weight_decay": 0.0}
        >>> type(build_optimizer("adamw", [group])).__name__
        'AdamW'
    """
    factory = OPTIMIZERS.partial(name, options or {})
    if name == "adamw":
        with _one_line(name):
            return factory(groups, betas=betas, eps=eps, fused=True)
    for setting, value, default in (("betas", betas, BETAS), ("eps", eps, EPS)):
        if value != default:
            raise ConfigError(f"{setting}={value} is of AdamW: {name!r} takes optimizer_options.")
    count = len({id(p) for group in groups for p in group["params"]})
    with _one_line(name):
        optimizer = factory(groups)
    if not isinstance(optimizer, Optimizer):
        raise ConfigError(
            f"the optimizer {name!r} is {type(optimizer).__name__}: derive it from "
            "torch.optim.Optimizer."
        )
    missing = count - len({id(p) for group in optimizer.param_groups for p in group["params"]})
    if missing:
        raise ConfigError(
            f"the optimizer {name!r} leaves out {missing} of {count} parameters: pass all groups "
            "to torch.optim.Optimizer."
        )
    return optimizer


@contextlib.contextmanager
def _one_line(name: str) -> Iterator[None]:
    """A context in which what an optimizer refuses of its settings is one line."""
    try:
        yield
    except VitrailError:
        raise
    except (TypeError, ValueError) as problem:
        text = str(problem).partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"the optimizer {name!r} refuses its settings ({text}): change optimizer_options, or "
            "betas and eps of adamw."
        ) from problem


@checked_names
@dataclasses.dataclass(frozen=True)
class ParameterOptim:
    """How some parameters are optimized differently.

    Args:
        lr_scale: factor on their learning rate; None leaves it.
        weight_decay_scale: factor on the weight decay, 0 for none; None leaves it, so that vectors,
            tokens and positions are not decayed and all else is.

    Raises:
        ConfigError: a factor is negative.

    Example:
        >>> ParameterOptim(lr_scale=0.1).weight_decay_scale is None
        True
    """

    lr_scale: float | None = None
    weight_decay_scale: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("lr_scale", "weight_decay_scale"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 0)


@checked
def parameter_groups(
    method: Method,
    *,
    lr: NonNegativeFloat,
    weight_decay: NonNegativeFloat,
    layer_decay: Annotated[float, Range(0, 1, low_included=False)] = 1.0,
    per_module: Mapping[str, ParameterOptim] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer.

    Weight decay spares vectors, tokens and positions. With layer-wise decay the learning rate is
    multiplied by `layer_decay` to the power of a parameter's distance from the head, in blocks
    (BEiT, Bao et al. 2021, https://arxiv.org/abs/2106.08254). What the method adds to the backbone
    learns as fast as the head.

    Args:
        method: method whose parameters are optimized; frozen ones are left out.
        lr: learning rate of the head.
        weight_decay: weight decay of what is decayed.
        layer_decay: factor on the learning rate per block.
        per_module: what differs, by patterns over parameter names such as "backbone.embed.*". The
            last pattern that matches a parameter wins.

    Returns:
        Groups with "params", "lr", "weight_decay", "weight_decay_scale", the factor in the last,
        and "hidden", whether these are matrices of blocks, which Muon treats differently.

    Raises:
        ConfigError: a pattern matches no parameter, or nothing learns.

    Example:
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> groups = parameter_groups(Supervised(model), lr=0.1, weight_decay=0.05)
        >>> sorted((group["weight_decay"], group["hidden"]) for group in groups)
        [(0.0, False), (0.05, False), (0.05, True)]
    """
    backbone, no_decay = method.backbone, undecayed(method)
    top, layers = backbone.depth + 1, backbone.layer_ids()
    layer_of = {id(p): layers[name] for name, p in backbone.named_parameters()}
    parameters = {name: p for name, p in method.named_parameters() if p.requires_grad}
    if not parameters:
        raise ConfigError(
            f"no weight of this {type(method).__name__} learns: call requires_grad_() of what "
            "shall learn, such as method.backbone."
        )
    overrides = _matches(list(parameters), per_module or {})
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        override = overrides.get(name, ParameterOptim())
        layer = layer_of.get(id(parameter), top)
        lr_scale = layer_decay ** (top - layer)
        lr_scale *= 1.0 if override.lr_scale is None else override.lr_scale
        decay_scale = override.weight_decay_scale
        if decay_scale is None:
            decay_scale = float(name not in no_decay)
        hidden = 0 < layer < top and parameter.ndim == 2 and name not in no_decay
        group = groups.setdefault(
            (lr_scale, decay_scale, hidden),
            {
                "params": [],
                "lr": lr * lr_scale,
                "weight_decay": weight_decay * decay_scale,
                "weight_decay_scale": decay_scale,
                "hidden": hidden,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def _matches(
    names: list[str], per_module: Mapping[str, ParameterOptim]
) -> dict[str, ParameterOptim]:
    overrides: dict[str, ParameterOptim] = {}
    for pattern, override in per_module.items():
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise ConfigError(
                f"no parameter that learns is called {pattern!r}.{suggest(pattern, names)} There "
                f"are names such as {', '.join(names[:3])}."
            )
        overrides |= dict.fromkeys(matches, override)
    return overrides


class _EMA(AveragedModel):
    """An average that is never made of another method, of which it would take a part."""

    source: int = 0  # id of the method whose shapes were compared

    def update_parameters(self, model: nn.Module) -> None:
        if id(model) != self.source:
            require_same_shapes([*self.module.parameters()], [*model.parameters()])
            self.source = id(model)
        super().update_parameters(model)


@checked
def make_ema(method: Method, decay: Rate) -> AveragedModel:
    """The exponential moving average of a method's weights: the backbone's and its own.

    After u updates the decay is at most (1 + u) / (10 + u), so that the first weights fade soon.

    Args:
        method: method whose weights are averaged.
        decay: factor on the old average, 0 <= decay < 1.

    Returns:
        torch's averaged model; `update_parameters(method)` updates it, `module` holds it.

    Raises:
        ConfigError: the method keeps an average of its own.

    Example:
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> make_ema(Supervised(model), 0.9).module.backbone.depth
        1
    """
    if method.result() is not method.backbone:
        raise ConfigError(
            f"optim.ema={decay:g}: {type(method).__name__} keeps an EMA of its own, its teacher, "
            "and that is what comes out: set optim.ema=0."
        )

    def update(averages: Any, weights: Any, updates: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(updates)) / (10 + int(updates)))
        with torch.no_grad():
            for old, new in zip(averages, weights, strict=True):
                old.lerp_(new, weight)

    return _EMA(method, multi_avg_fn=update)
