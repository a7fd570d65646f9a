"""Checkpoints: all that a run needs to go on as if it had never stopped. No pickles."""

import base64
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.distributed.checkpoint import CheckpointException
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from vitrail.errors import DamagedError, TrainingError
from vitrail.files import describe_fault
from vitrail.manifest import check_manifest, hashed_folder
from vitrail.messages import _
from vitrail.methods import distributed
from vitrail.methods.base import Method
from vitrail.run_folder import RunFolder
from vitrail.train.sharding import Sharding, share
from vitrail.train.shards import (
    described,
    fill_from_shards,
    has_shards,
    read_shards,
    write_shards,
)

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
        "generators": _generators(),
        "scaler": state.scaler.state_dict() if state.scaler is not None else None,
        "ema_updates": int(state.ema.n_averaged) if state.ema is not None else 0,
    }
    try:
        if state.sharding is not None:
            write_shards(path, _shared_out(state), values)
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
    saved, problems = None, list[str]()
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
    """The newest checkpoint that is whole, and what newer ones have."""
    problems = []
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
    except (RuntimeError, LookupError, SafetensorError, CheckpointException) as problem:
        reason = " ".join(line.strip() for line in str(problem).splitlines()[:2])
        raise TrainingError(f"{path} does not fit this run: {reason}") from None
    if state.scaler is not None and values["scaler"]:
        state.scaler.load_state_dict(values["scaler"])
    _set_generators(values["generators"])
    rollbacks = values.get("rollbacks", 0)  # which older checkpoints lack
    return Progress(values["step"], values["epoch_steps"], values["callbacks"], rollbacks)


def _restore_shares(saved: "_Saved", state: TrainState) -> None:
    """Restores weights that are shared out, from shards or from whole tensors."""
    targets = {f"model/{name}": tensor for name, tensor in state.method.state_dict().items()}
    if state.ema is not None:
        targets |= {f"ema/{name}": t for name, t in state.ema.module.state_dict().items()}
    parameters = _learning(state)
    shapes = (
        {
            name: (tuple(entry.size), entry.properties.dtype)
            for name, entry in described(saved.path).items()
        }
        if saved.tensors is None
        else {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in saved.tensors.items()}
    )
    optimizer: dict[str, Tensor] = {}
    for name, (shape, dtype) in shapes.items():
        if not name.startswith("optimizer/"):
            if name not in targets and (state.ema is not None or not name.startswith("ema/")):
                raise LookupError(f"{name} is no part of the method")
            continue
        key = name.removeprefix("optimizer/")
        parameter = parameters.get(key.rpartition("/")[0])
        if parameter is not None and tuple(parameter.shape) == shape:
            optimizer[key] = torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
        else:
            optimizer[key] = torch.zeros(shape, dtype=dtype)
    targets |= {f"optimizer/{key}": tensor for key, tensor in optimizer.items()}
    for name, target in targets.items():
        if name not in shapes or shapes[name][0] != tuple(target.shape):
            saved_shape = shapes.get(name, ("nothing",))[0]
            raise LookupError(f"{name} is {tuple(target.shape)} here and {saved_shape} there")
    with torch.no_grad():
        if saved.tensors is None:
            fill_from_shards(saved.path, {name: t.detach() for name, t in targets.items()})
        else:
            for name, target in targets.items():
                target.copy_(share(saved.tensors[name], target))
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


def _to_bytes(tensors: dict[str, Tensor]) -> bytes:
    # Through bytes, because safetensors' own writer reports a full disk as no OSError.
    return safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()})


def _write_whole(path: Path, state: TrainState, values: dict[str, Any]) -> None:
    """Writes a checkpoint in the first process, which has all weights."""
    if distributed.rank() > 0:
        return
    with hashed_folder(path) as writer:
        writer.write("model.safetensors", _to_bytes(state.method.state_dict()))
        writer.write("optimizer.safetensors", _to_bytes(_optimizer_state(state)))
        if state.ema is not None:
            writer.write("ema.safetensors", _to_bytes(state.ema.module.state_dict()))
        writer.write("state.json", json.dumps(values))


def _shared_out(state: TrainState) -> dict[str, Tensor]:
    """All tensors of a state by name, of which this process has shares."""
    tensors = {f"model/{name}": t for name, t in state.method.state_dict().items()}
    tensors |= {f"optimizer/{name}": t for name, t in _optimizer_state(state).items()}
    if state.ema is not None:
        tensors |= {f"ema/{name}": t for name, t in state.ema.module.state_dict().items()}
    return tensors


def _beneath(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


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


def _generators() -> dict[str, Any]:
    """The state of every generator: Python's, NumPy's, torch's on each device."""
    import numpy as np

    kind, keys, *rest = np.random.get_state(legacy=True)
    version, numbers, gauss = random.getstate()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "torch": _to_text(torch.get_rng_state()),
        "cuda": [_to_text(s) for s in torch.cuda.get_rng_state_all()],
    }


def _set_generators(states: dict[str, Any]) -> None:
    import numpy as np

    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(_from_text(states["torch"]))
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_from_text(s) for s in states["cuda"]])


def _to_text(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _from_text(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
