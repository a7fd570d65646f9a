"""Checkpoints: all that a run needs to go on as if it had never stopped. No pickles."""

import base64
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from vitrail.errors import DamagedError, TrainingError
from vitrail.files import describe_fault
from vitrail.manifest import check_manifest, hashed_folder
from vitrail.messages import _
from vitrail.methods.base import Method
from vitrail.run_folder import RunFolder

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
        with hashed_folder(path) as writer:
            writer.write("model.safetensors", _to_bytes(state.method.state_dict()))
            writer.write("optimizer.safetensors", _to_bytes(_optimizer_state(state)))
            if state.ema is not None:
                writer.write("ema.safetensors", _to_bytes(state.ema.module.state_dict()))
            writer.write("state.json", json.dumps(values))
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
    run: RunFolder, state: TrainState, *, trust: bool = False, tell: Callable[[str], None] = print
) -> Progress:
    """Restores the newest checkpoint that is whole.

    Args:
        run: folder of the run.
        state: what is restored in place.
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
    if not run.checkpoints:
        raise TrainingError(f"{run} has no checkpoint to resume from: start it anew.")
    problems = []
    for path in reversed(run.checkpoints):
        try:
            saved = _read(path, trust)
        except DamagedError as problem:
            problems.append(str(problem))
            continue
        for text in problems:
            tell(_("{problem} Going on from {path}.").format(problem=text, path=path))
        return _restore(path, saved, state)
    raise TrainingError(f"{run} has no whole checkpoint: {problems[0]}")


def _restore(path: Path, saved: "_Saved", state: TrainState) -> Progress:
    values = saved.values
    try:
        state.method.load_state_dict(saved.model)
        if state.ema is not None:
            state.ema.module.load_state_dict(saved.ema)
            state.ema.n_averaged.fill_(values["ema_updates"])
        _restore_optimizer(saved.optimizer, state)
    except (RuntimeError, LookupError) as problem:
        reason = " ".join(line.strip() for line in str(problem).splitlines()[:2])
        raise TrainingError(f"{path} does not fit this run: {reason}") from None
    if state.scaler is not None and values["scaler"]:
        state.scaler.load_state_dict(values["scaler"])
    _set_generators(values["generators"])
    rollbacks = values.get("rollbacks", 0)  # which older checkpoints lack
    return Progress(values["step"], values["epoch_steps"], values["callbacks"], rollbacks)


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


class _Saved(NamedTuple):
    """The content of a checkpoint."""

    values: dict[str, Any]
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    ema: dict[str, Tensor]


def _read(path: Path, trust: bool) -> _Saved:
    """Reads a checkpoint as a whole, so that a damaged one changes nothing."""
    if not trust:
        check_manifest(path)
    try:
        values = json.loads((path / "state.json").read_bytes())
        if not values.keys() >= TOP_KEYS:
            raise ValueError("state.json lacks an entry")
        model, optimizer, ema = (
            safetensors.torch.load_file(path / f"{name}.safetensors")
            if name != "ema" or (path / "ema.safetensors").exists()
            else {}
            for name in ("model", "optimizer", "ema")
        )
    except (OSError, ValueError, AttributeError, RecursionError, SafetensorError) as problem:
        raise DamagedError(f"{path} is damaged: {problem}.") from None
    return _Saved(values, model, optimizer, ema)


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
