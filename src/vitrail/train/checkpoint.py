"""All that a run needs to go on as if it had never stopped. No pickles."""

import base64
import json
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from vitrail.errors import TrainingError
from vitrail.files import atomic_folder
from vitrail.methods.base import Method

KEEP = 2  # checkpoints


class TrainState(NamedTuple):
    """What changes during training."""

    method: Method
    optimizer: Optimizer
    average: AveragedModel | None
    scaler: Any  # torch's GradScaler, or None


def folders(run: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first. A folder gets its name only when it is whole."""
    return sorted(p for p in (run / "checkpoints").glob("step-*") if p.name[5:].isdigit())


def save(run: Path, step: int, learner: TrainState, metrics_bytes: int) -> Path:
    """Writes checkpoints/step-N, atomically, and deletes all but the newest."""
    path = run / "checkpoints" / f"step-{step:08d}"
    state = {
        "step": step,
        "metrics_bytes": metrics_bytes,  # of metrics.jsonl; what was written later is redone
        "generators": _generators(),
        "scaler": learner.scaler.state_dict() if learner.scaler is not None else None,
        "averaged": int(learner.average.n_averaged) if learner.average is not None else 0,
    }
    try:
        with atomic_folder(path) as folder:
            _write(folder / "model.safetensors", learner.method.state_dict())
            _write(folder / "optimizer.safetensors", _optimizer_state(learner))
            if learner.average is not None:
                _write(folder / "ema.safetensors", learner.average.module.state_dict())
            (folder / "state.json").write_text(json.dumps(state))
    except OSError as problem:
        raise TrainingError(
            f"step {step} cannot be saved ({problem.strerror}); {kept(run)} "
            "Make room, then add --resume."
        ) from None
    for old in folders(run)[:-KEEP]:
        shutil.rmtree(old)
    return path


def load(run: Path, learner: TrainState) -> tuple[int, int]:
    """Puts the newest checkpoint back → its step and the length of metrics.jsonl then.

    Raises `TrainingError` if there is none, or it does not fit.
    """
    found = folders(run)
    if not found:
        raise TrainingError(f"{run} has no checkpoint to resume from: start it without --resume.")
    path = found[-1]
    state = json.loads((path / "state.json").read_text())
    try:
        learner.method.load_state_dict(_read(path / "model.safetensors"))
        if learner.average is not None:
            learner.average.module.load_state_dict(_read(path / "ema.safetensors"))
            learner.average.n_averaged.fill_(state["averaged"])
    except (RuntimeError, OSError) as problem:
        reason = str(problem).splitlines()[0]
        raise TrainingError(f"{path} does not fit this run: {reason}") from None
    parameters = _names(learner)
    for key, tensor in _read(path / "optimizer.safetensors").items():
        name, _, entry = key.rpartition("/")
        parameter = parameters[name]
        place = "cpu" if entry == "step" and not _fused(learner.optimizer) else parameter.device
        learner.optimizer.state[parameter][entry] = tensor.to(place, copy=True)
    if learner.scaler is not None and state["scaler"]:
        learner.scaler.load_state_dict(state["scaler"])
    _set_generators(state["generators"])
    return state["step"], state["metrics_bytes"]


def kept(run: Path) -> str:
    """A sentence for errors: which checkpoint is safe."""
    found = folders(run)
    return f"the last good checkpoint is {found[-1]}." if found else "there is no checkpoint yet."


def _names(learner: TrainState) -> dict[str, Tensor]:
    return {n: p for n, p in learner.method.named_parameters() if p.requires_grad}


def _optimizer_state(learner: TrainState) -> dict[str, Tensor]:
    return {
        f"{name}/{entry}": tensor
        for name, parameter in _names(learner).items()
        for entry, tensor in learner.optimizer.state[parameter].items()
    }


def _fused(optimizer: Optimizer) -> bool:
    return bool(optimizer.defaults.get("fused"))


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    # Through bytes, because safetensors' own writer reports a full disk as no OSError.
    path.write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}))


def _read(path: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(path)


def _generators() -> dict[str, Any]:
    """The state of every generator there is: Python's, NumPy's, torch's on each device."""
    import numpy as np

    kind, keys, *rest = np.random.get_state(legacy=True)
    version, numbers, gauss = random.getstate()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "torch": _text(torch.get_rng_state()),
        "cuda": [_text(s) for s in torch.cuda.get_rng_state_all()],
    }


def _set_generators(states: dict[str, Any]) -> None:
    import numpy as np

    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(_bytes(states["torch"]))
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_bytes(s) for s in states["cuda"]])


def _text(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
