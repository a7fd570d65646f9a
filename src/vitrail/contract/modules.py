"""What the contract asks of a model as a module: its config, its weights, its submodules."""

import contextlib
import copy
import inspect
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from vitrail.contract.checks import (
    Check,
    checked_by,
    count_calls,
    require,
    require_close,
    require_none,
    require_same,
)
from vitrail.contract.model_case import ModelCase, images_for
from vitrail.hub.load import load
from vitrail.hub.model_folder import save
from vitrail.messages import _

CONTAINERS = nn.ModuleList | nn.ModuleDict
MODULE_CHECKS: list[Check] = []


@checked_by(
    MODULE_CHECKS,
    _("the constructor is the config"),
    _("take plain values (numbers, strings, tuples), one keyword each, without *args"),
)
def _config(case: ModelCase) -> None:
    model = case.shared()
    images = images_for(model)
    parameters = inspect.signature(type(model).__init__).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD][1:]
    missing = [name for name in names if name not in model.config]
    require_none(missing, "not in model.config: {}")
    twin = type(model)(**json.loads(json.dumps(model.config)))
    twin.load_state_dict(model.state_dict())
    require_same(
        "a model built from model.config computes something else",
        twin.eval()(images),
        model(images),
    )
    require(twin.config == model.config, "config changes when it is written as JSON and read again")


@checked_by(
    MODULE_CHECKS,
    _("saved and loaded"),
    _("keep in parameters and buffers what the forward pass needs, and register the class"),
)
def _saved(case: ModelCase) -> None:
    model = case.shared()
    images = images_for(model)
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(save(model, Path(folder) / "model"))
    require_same("a loaded model computes something else", loaded(images), model(images))
    require(loaded.config == model.config, "a loaded model has another config")


@checked_by(
    MODULE_CHECKS,
    _("built on the meta device and loaded"),
    _("make tensors in the constructor without reading their values, and persistent ones by "
      "register_buffer"),
)  # fmt: skip
def _meta(case: ModelCase) -> None:
    model = case.shared()
    with torch.device("meta"):
        twin = type(model)(**model.config)
    real = [n for n, p in twin.named_parameters() if p.device.type != "meta"]
    require_none(real, "not on the meta device when built there: {}")
    twin.load_state_dict(model.state_dict(), assign=True)
    tensors = [*twin.named_parameters(), *twin.named_buffers()]
    empty = [n for n, t in tensors if t.device.type == "meta"]
    require_none(empty, "still on the meta device after load_state_dict: {}")
    images = images_for(model)
    require_same("the loaded model computes something else", twin.eval()(images), model(images))


@checked_by(
    MODULE_CHECKS,
    _("a hook on every module fires"),
    _("call every submodule, in training and evaluation, with gradients and without; do not read "
      "its weights instead"),
)  # fmt: skip
def _hooks(case: ModelCase) -> None:
    model = case.small()
    modules = {n: m for n, m in model.named_modules() if not isinstance(m, CONTAINERS)}
    for training in (True, False):
        for grad in (True, False):
            model.train(training)
            with count_calls(modules.values()) as calls, torch.set_grad_enabled(grad):
                model(images_for(model))
            silent = [n for n, m in modules.items() if not calls[m]]
            mode = (
                f"{'training' if training else 'evaluation'}, {'with' if grad else 'no'} gradients"
            )
            require_none(silent, f"not called ({mode}): {{}}")


@checked_by(
    MODULE_CHECKS,
    _("every parameter is in a module that is called"),
    _("put the model's own parameters into small modules, as layers.tokens.Token is"),
)
def _owned(case: ModelCase) -> None:
    own = [n for n, _p in case.shared().named_parameters(recurse=False)]
    require_none(own, "held by the model itself, where no hook sees it: {}")


@checked_by(
    MODULE_CHECKS,
    _("a deep copy is equal and independent"),
    _("keep no tensors or modules in class attributes or global variables"),
)
def _copied(case: ModelCase) -> None:
    model = case.small()
    images = images_for(model)
    twin, before, classes = copy.deepcopy(model), model(images), model.config["num_classes"]
    require_same("a deep copy computes something else", twin(images), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.fill_(0.5)
    twin.config["num_classes"] = -1
    require_same("changing a deep copy changes the model", model(images), before)
    require(model.config["num_classes"] == classes, "a deep copy shares its config")


@checked_by(
    MODULE_CHECKS,
    _("torch.export, for any batch size"),
    _("branch on nothing that an image contains, and read the batch size off the tensors"),
)
def _exported(case: ModelCase) -> None:
    model = case.small()
    batch = torch.export.Dim("batch", min=1, max=64)
    with warnings.catch_warnings(), _without_logs():
        warnings.simplefilter("ignore")  # of torch about itself
        exported = torch.export.export(model, (images_for(model),), dynamic_shapes=({0: batch},))
    images = images_for(model, 5)
    require_close(
        "the exported model and the model", exported.module()(images), model(images), 1e-6
    )


@checked_by(
    MODULE_CHECKS,
    _("float64 and bfloat16"),
    _("make new tensors by x.new_zeros(...), or with dtype=x.dtype and device=x.device"),
)
def _dtypes(case: ModelCase) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        model = case.small().to(dtype)
        logits = model(images_for(model).to(dtype))
        require(logits.dtype == dtype, f"logits of a {dtype} model are {logits.dtype}")
        require(bool(logits.isfinite().all()), f"logits of a {dtype} model are not finite")


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """torch logs pages of code where an export fails."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)
