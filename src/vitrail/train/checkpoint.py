"""Checkpoints: all that a run needs to go on as if it had never stopped. No pickles."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from vitrail.errors import ConfigError, DamagedError, TrainingError
from vitrail.files import describe_fault
from vitrail.manifest import check_manifest, hashed_folder
from vitrail.messages import _
from vitrail.methods import distributed
from vitrail.methods.base import Method
from vitrail.run_folder import RunFolder
from vitrail.tensor_bytes import tensor_bytes
from vitrail.train.seeds import generator_states, set_generators
from vitrail.train.sharding import Sharding, share
from vitrail.train.shards import (
    fill_from_shards,
    has_shards,
    read_shards,
    shapes_in,
    shapes_of,
    write_shards,
)

Value = TypeVar("Value")
NEWEST = 2  # checkpoints that are not deleted
TOP_KEYS = {"step", "epoch_steps", "callbacks", "generators", "scaler", "ema_updates"}  # of a state
GROUP = "group/"  # before the number of a group of the optimizer; no parameter is called so


class TrainState(NamedTuple):
    """What changes during training.

    Args:
        method: the method with its backbone.
        optimizer: the optimizer.
        ema: the EMA of the method's weights, or None.
        scaler: the scaler of half-precision gradients, or None.
        sharding: what shares out the weights over several processes, or None.

    Example:
        >>> TrainState._fields
        ('method', 'optimizer', 'ema', 'scaler', 'sharding')
    """

    method: Method
    optimizer: Optimizer
    ema: AveragedModel | None
    scaler: GradScaler | None
    sharding: Sharding | None = None


class Progress(NamedTuple):
    """How far a run has come.

    Args:
        step: number of steps done.
        epoch_steps: number of steps of an epoch.
        callbacks: state of each callback, plain values for JSON.
        rollbacks: how often the run went back because something was not finite.

    Example:
        >>> Progress(7, 5, {}).step
        7
    """

    step: int
    epoch_steps: int
    callbacks: dict[str, dict[str, Any]]
    rollbacks: int = 0

    def steps_of(self, epoch_steps: int, batch_size: int, run: RunFolder) -> int:
        """The number of steps done, where an epoch now has another number of steps.

        Args:
            epoch_steps: number of steps of an epoch now.
            batch_size: samples per step now.
            run: folder of the run.

        Returns:
            A number of steps.

        Raises:
            ConfigError: it would be smaller, so that checkpoints are no longer in order.
        """
        steps = round(self.step / self.epoch_steps * epoch_steps)
        if steps < self.step:
            raise ConfigError(
                f"a batch of {batch_size} is larger than before, and those of a run may only get "
                f"smaller: leave it, or start a new run from the weights of {run}."
            )
        return steps


def save_checkpoint(run: RunFolder, progress: Progress, state: TrainState) -> Path:
    """Writes a checkpoint atomically, and deletes all but the newest. Every process calls it.

    Args:
        run: folder of the run.
        progress: how far the run has come.
        state: what changes during training.

    Returns:
        The checkpoint's folder.

    Raises:
        TrainingError: it cannot be written, for example because the disk is full.

    Example:
        >>> import tempfile
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> state = TrainState(Supervised(model), optimizer, None, None)
        >>> save_checkpoint(RunFolder(tempfile.mkdtemp()), Progress(7, 5, {}), state).name
        'step-00000007'
    """
    path = run.checkpoint(progress.step)
    values = {
        **progress._asdict(),
        "generators": generator_states(),
        "scaler": state.scaler.state_dict() if state.scaler is not None else None,
        "ema_updates": int(state.ema.n_averaged) if state.ema is not None else 0,
    }
    try:
        if state.sharding is not None:
            tensors = {f"optimizer/{key}": t for key, t in _optimizer_state(state).items()}
            write_shards(path, _weights(state) | tensors, values)
        else:
            distributed.together(lambda: _write_whole(path, state, values))
        if distributed.rank() == 0:
            later = [other for other in run.checkpoints if other.name > path.name]  # damaged ones
            for old in later + run.checkpoints[: -NEWEST - len(later)]:
                shutil.rmtree(old, ignore_errors=True)
    except OSError as problem:
        reason, cure = describe_fault(problem)
        cure = f"{cure} Then go on by resume=True." if cure else "Go on by resume=True."
        raise TrainingError(
            f"step {progress.step} cannot be saved ({reason}); {last_checkpoint(run)} {cure}"
        ) from None
    return path


def load_checkpoint(
    run: RunFolder,
    state: TrainState,
    *,
    path: Path | None = None,
    trust: bool = False,
    tell: Callable[[str], None] = print,
) -> Progress:
    """Restores a checkpoint, of any number of processes. Every process calls it.

    Args:
        run: folder of the run.
        state: what is restored in place.
        path: the checkpoint; None for the newest that is whole.
        trust: whether to read files that are not as they were written.
        tell: is called with a line for each newer checkpoint that is damaged.

    Returns:
        How far the run had come.

    Raises:
        TrainingError: there is no checkpoint, none is whole, or it does not fit.

    Example:
        >>> import tempfile
        >>> load_checkpoint(RunFolder(tempfile.gettempdir()), None)
        Traceback (most recent call last):
        vitrail.errors.TrainingError: ... has no checkpoint to resume from: start it anew.
    """
    saved: _Saved | None = None
    problems: list[str] = []
    if distributed.rank() == 0:  # all go on from the checkpoint that it finds whole
        saved, problems = _newest(run.checkpoints if path is None else [path], trust)
    path, problems = distributed.gather_objects((saved and saved.path, problems))[0]
    if path is None:
        if not problems:
            raise TrainingError(f"{run} has no checkpoint to resume from: start it anew.")
        raise TrainingError(f"{run} has no whole checkpoint: {problems[0]}")
    for text in problems:
        tell(_("{problem} Going on from {path}.").format(problem=text, path=path))
    return _restore(saved or _read(path, trust=True), state)


def _newest(paths: Sequence[Path], trust: bool) -> "tuple[_Saved | None, list[str]]":
    """The newest checkpoint that is whole, and what is wrong with the newer ones."""
    problems: list[str] = []
    for path in reversed(paths):
        try:
            return _read(path, trust), problems
        except DamagedError as problem:
            problems.append(str(problem))
    return None, problems


def _restore(saved: "_Saved", state: TrainState) -> Progress:
    path, values = saved.path, saved.values
    try:
        if state.sharding is not None:
            _restore_shares(saved, state)
        else:
            tensors = read_shards(path) if saved.tensors is None else saved.tensors
            state.method.load_state_dict(_beneath("model/", tensors))
            if state.ema is not None:
                state.ema.module.load_state_dict(_beneath("ema/", tensors))
            _restore_optimizer(_beneath("optimizer/", tensors), state)
        if state.ema is not None:
            state.ema.n_averaged.fill_(values["ema_updates"])
    except (RuntimeError, LookupError, SafetensorError) as problem:
        reason = " ".join(line.strip() for line in str(problem).splitlines()[:2])
        raise TrainingError(f"{path} does not fit this run: {reason}") from None
    if state.scaler is not None and values["scaler"]:
        state.scaler.load_state_dict(values["scaler"])
    set_generators(values["generators"])
    rollbacks = values.get("rollbacks", 0)  # which older checkpoints lack
    return Progress(values["step"], values["epoch_steps"], values["callbacks"], rollbacks)


def _restore_shares(saved: "_Saved", state: TrainState) -> None:
    """Restores weights that are shared out, from shards or from whole tensors."""
    shapes = shapes_of(saved.path) if saved.tensors is None else shapes_in(saved.tensors)
    optimizer: dict[str, Tensor] = {}
    parameters = _learning(state)
    for key, (shape, dtype) in _beneath("optimizer/", shapes).items():
        parameter = parameters.get(key.rpartition("/")[0])
        if parameter is not None and tuple(parameter.shape) == shape:
            optimizer[key] = torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
        else:
            optimizer[key] = torch.zeros(shape, dtype=dtype)
    targets = {f"optimizer/{key}": tensor for key, tensor in optimizer.items()} | _weights(state)
    for key, target in targets.items():
        other = shapes[key][0] if key in shapes else "nothing"
        if other != tuple(target.shape):
            raise LookupError(f"{key} is {tuple(target.shape)} here and {other} there")
    own = {"model/", "ema/"} if state.ema is not None else {"model/"}
    if more := sum(len(_beneath(prefix, shapes)) for prefix in own) - len(_weights(state)):
        raise LookupError(f"it has {more} more weights")
    with torch.no_grad():
        if saved.tensors is None:
            fill_from_shards(saved.path, {key: t.detach() for key, t in targets.items()})
        else:
            for key, target in targets.items():
                target.copy_(share(saved.tensors[key], target))
    _restore_optimizer(optimizer, state)


def _restore_optimizer(tensors: dict[str, Tensor], state: TrainState) -> None:
    state.optimizer.state.clear()
    parameters = _learning(state)
    fused = bool(state.optimizer.defaults.get("fused"))
    for key, tensor in tensors.items():
        name, _separator, entry = key.rpartition("/")
        if name.startswith(GROUP):
            index = int(name.removeprefix(GROUP))
            state.optimizer.param_groups[index][entry] = tensor.clone()
            continue
        parameter = parameters[name]
        device = "cpu" if entry == "step" and not fused else parameter.device
        state.optimizer.state[parameter][entry] = tensor.to(device, copy=True)


def drop_checkpoint(run: RunFolder, step: int) -> None:
    """Deletes a checkpoint that turned out to be bad, if there is one.

    Args:
        run: folder of the run.
        step: number of steps done.

    Example:
        >>> drop_checkpoint(RunFolder("nowhere"), 7)
    """
    if run.checkpoint(step) in run.checkpoints:
        shutil.rmtree(run.checkpoint(step))


def last_checkpoint(run: RunFolder) -> str:
    """Names the newest checkpoint in an error message.

    Args:
        run: folder of the run.

    Returns:
        A sentence.

    Example:
        >>> last_checkpoint(RunFolder("nowhere"))
        'there is no checkpoint yet.'
    """
    if not run.checkpoints:
        return "there is no checkpoint yet."
    return f"the last good checkpoint is {run.checkpoints[-1]}."


def _learning(state: TrainState) -> dict[str, Tensor]:
    return {name: p for name, p in state.method.named_parameters() if p.requires_grad}


def _optimizer_state(state: TrainState) -> dict[str, Tensor]:
    tensors = {
        f"{GROUP}{index}/{entry}": value
        for index, group in enumerate(state.optimizer.param_groups)
        for entry, value in group.items()
        if isinstance(value, Tensor)
    }
    for name, parameter in _learning(state).items():
        for entry, value in state.optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{entry}"] = value
            elif value is not None:
                raise TrainingError(
                    f"{type(state.optimizer).__name__} keeps {entry}={value!r}, which is no tensor "
                    "and goes into no checkpoint: keep torch.tensor(...) in its state."
                )
    return tensors


def _write_whole(path: Path, state: TrainState, values: dict[str, Any]) -> None:
    """Writes a checkpoint in the first process, which has all weights."""
    if distributed.rank() > 0:
        return
    with hashed_folder(path) as writer:
        writer.write("model.safetensors", tensor_bytes(state.method.state_dict()))
        writer.write("optimizer.safetensors", tensor_bytes(_optimizer_state(state)))
        if state.ema is not None:
            writer.write("ema.safetensors", tensor_bytes(state.ema.module.state_dict()))
        writer.write("state.json", json.dumps(values))


def _weights(state: TrainState) -> dict[str, Tensor]:
    """The weights of the method and of its EMA, by the names that shards have."""
    tensors = {f"model/{key}": t for key, t in state.method.state_dict().items()}
    if state.ema is not None:
        tensors |= {f"ema/{key}": t for key, t in state.ema.module.state_dict().items()}
    return tensors


def _beneath(prefix: str, values: dict[str, Value]) -> dict[str, Value]:
    """The entries whose keys begin with a prefix, by the rest of their keys."""
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


class _Saved(NamedTuple):
    """The content of a checkpoint: None for tensors that are in shards."""

    path: Path
    values: dict[str, Any]
    tensors: dict[str, Tensor] | None


def _read(path: Path, trust: bool) -> _Saved:
    """Reads a checkpoint as a whole, so that a damaged one changes nothing."""
    if not trust:
        check_manifest(path)
    try:
        values = json.loads((path / "state.json").read_bytes())
        if not values.keys() >= TOP_KEYS:
            raise ValueError("state.json lacks an entry")
        if has_shards(path):
            return _Saved(path, values, None)
        files = ("model", "optimizer", *["ema"] * (path / "ema.safetensors").exists())
        tensors = {
            f"{file}/{name}": tensor
            for file in files
            for name, tensor in safetensors.torch.load_file(path / f"{file}.safetensors").items()
        }
    except (OSError, ValueError, AttributeError, RecursionError, SafetensorError) as problem:
        raise DamagedError(f"{path} is damaged: {problem}.") from None
    return _Saved(path, values, tensors)
