"""Checkpoints: all that a run needs to go on as if it had never stopped. No pickles."""

import base64
import json
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from vitrail.errors import TrainingError
from vitrail.files import atomic_folder
from vitrail.methods.base import Method
from vitrail.run_folder import RunFolder

NEWEST = 2  # checkpoints that are not deleted
GROUP = "group/"  # before the number of a group of the optimizer; no parameter is called so


class TrainState(NamedTuple):
    """What changes during training.

    Args:
        method: the method with its backbone.
        optimizer: the optimizer.
        ema: the EMA of the method's weights, or None.
        scaler: the scaler of half-precision gradients, or None.

    Example:
        >>> TrainState._fields
        ('method', 'optimizer', 'ema', 'scaler')
    """

    method: Method
    optimizer: Optimizer
    ema: AveragedModel | None
    scaler: GradScaler | None


class Progress(NamedTuple):
    """How far a run has come.

    Args:
        step: number of steps done.
        epoch_steps: number of steps of an epoch.
        callbacks: state of each callback, plain values for JSON.

    Example:
        >>> Progress(7, 5, {}).step
        7
    """

    step: int
    epoch_steps: int
    callbacks: dict[str, dict[str, Any]]


def save_checkpoint(run: RunFolder, progress: Progress, state: TrainState) -> Path:
    """Writes a checkpoint atomically, and deletes all but the newest.

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
        with atomic_folder(path) as folder:
            _write(folder / "model.safetensors", state.method.state_dict())
            _write(folder / "optimizer.safetensors", _optimizer_state(state))
            if state.ema is not None:
                _write(folder / "ema.safetensors", state.ema.module.state_dict())
            (folder / "state.json").write_text(json.dumps(values))
    except OSError as problem:
        raise TrainingError(
            f"step {progress.step} cannot be saved ({problem.strerror}); {last_checkpoint(run)} "
            "Make room, then go on by resume=True."
        ) from None
    for old in run.checkpoints[:-NEWEST]:
        shutil.rmtree(old)
    return path


def load_checkpoint(run: RunFolder, state: TrainState) -> Progress:
    """Restores the newest checkpoint.

    Args:
        run: folder of the run.
        state: what is restored in place.

    Returns:
        How far the run had come.

    Raises:
        TrainingError: there is no checkpoint, or it does not fit.

    Example:
        >>> import tempfile
        >>> load_checkpoint(RunFolder(tempfile.gettempdir()), None)
        Traceback (most recent call last):
        vitrail.errors.TrainingError: ... has no checkpoint to resume from: start it anew.
    """
    if not run.checkpoints:
        raise TrainingError(f"{run} has no checkpoint to resume from: start it anew.")
    path = run.checkpoints[-1]
    values = json.loads((path / "state.json").read_text())
    try:
        state.method.load_state_dict(_read(path / "model.safetensors"))
        if state.ema is not None:
            state.ema.module.load_state_dict(_read(path / "ema.safetensors"))
            state.ema.n_averaged.fill_(values["ema_updates"])
    except (RuntimeError, OSError) as problem:
        reason = str(problem).splitlines()[0]
        raise TrainingError(f"{path} does not fit this run: {reason}") from None
    parameters = _learning(state)
    fused = bool(state.optimizer.defaults.get("fused"))
    for key, tensor in _read(path / "optimizer.safetensors").items():
        name, _, entry = key.rpartition("/")
        if name.startswith(GROUP):
            index = int(name.removeprefix(GROUP))
            state.optimizer.param_groups[index][entry] = tensor.clone()
            continue
        parameter = parameters[name]
        device = "cpu" if entry == "step" and not fused else parameter.device
        state.optimizer.state[parameter][entry] = tensor.to(device, copy=True)
    if state.scaler is not None and values["scaler"]:
        state.scaler.load_state_dict(values["scaler"])
    _set_generators(values["generators"])
    return Progress(values["step"], values["epoch_steps"], values["callbacks"])


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


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    # Through bytes, because safetensors' own writer reports a full disk as no OSError.
    path.write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}))


def _read(path: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(path)


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
