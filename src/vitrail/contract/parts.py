"""What the contract asks of datasets, transforms, optimizers and explanations."""

import pickle
import tempfile
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrail.contract.checks import (
    Check,
    checked_by,
    require,
    require_none,
    require_same,
    require_shape,
    shape_of,
)
from vitrail.contract.methods import MethodCase, make_step
from vitrail.contract.model_case import ModelCase, images_for
from vitrail.data.dataset import Dataset
from vitrail.data.own_transforms import own_transforms
from vitrail.lens.explanations import explain
from vitrail.messages import _
from vitrail.run_folder import RunFolder
from vitrail.train.checkpoint import Progress, TrainState, load_checkpoint, save_checkpoint
from vitrail.train.optim import build_optimizer, parameter_groups

DATASET_CHECKS: list[Check] = []
TRANSFORM_CHECKS: list[Check] = []
OPTIMIZER_CHECKS: list[Check] = []
EXPLANATION_CHECKS: list[Check] = []
FEW = 8  # samples that are read


class DatasetCase(NamedTuple):
    """A dataset to check.

    Args:
        train: training samples.
        test: test samples.

    Example:
        >>> digits = vitrail.data.open_dataset("digits", limit=20)
        >>> DatasetCase(digits, digits).few()
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    train: Dataset
    test: Dataset

    def few(self) -> list[int]:
        """Positions of a few training samples."""
        return list(range(min(FEW, len(self.train))))


@checked_by(
    DATASET_CHECKS,
    _("labels and targets"),
    _("let labels be the class names of both splits, and targets() one index into them per sample"),
)
def _targets(case: DatasetCase) -> None:
    require(case.train.labels == case.test.labels, "the splits have different labels")
    for dataset in case:
        require(len(dataset) > 0, "a split is empty")
        targets = [] if dataset.streamed else dataset.targets()
        if not dataset.streamed:
            require(len(targets) == len(dataset), f"{len(dataset)} samples, {len(targets)} targets")
        count = max(len(dataset.labels), 1)
        bad = [target for target in targets if not 0 <= int(target) < count]
        require(not bad, f"a target is {bad[:1]}, and there are {len(dataset.labels)} labels")
        require(all(isinstance(label, str) for label in dataset.labels), "labels are no strings")


@checked_by(
    DATASET_CHECKS,
    _("samples"),
    _("return uint8 tensors (C, *size) from read, with as many channels as statistics has"),
)
def _samples(case: DatasetCase) -> None:
    if case.train.streamed:
        sample, target, position = next(case.train.samples(0, 0, 0))
        require(position == 0 and target >= 0, "samples does not begin at position 0")
        _require_sample(case.train, sample)
        return
    for index in case.few():
        _require_sample(case.train, case.train.read(index))
        require_same(
            f"sample {index} is another when it is read again",
            case.train.read(index),
            case.train.read(index),
        )


@checked_by(
    DATASET_CHECKS,
    _("subsets"),
    _("return from subset a dataset of the samples in the order of the indices"),
)
def _subsets(case: DatasetCase) -> None:
    if case.train.streamed:
        return
    indices = case.few()[::-1]
    part = case.train.subset(indices)
    targets = case.train.targets()
    require(len(part) == len(indices), f"a subset of {len(indices)} has {len(part)} samples")
    require(part.labels == case.train.labels, "a subset has other labels")
    require(part.targets() == [targets[i] for i in indices], "a subset has other targets")
    require_same("a subset has other samples", part.read(0), case.train.read(indices[0]))


@checked_by(
    DATASET_CHECKS,
    _("names and keys"),
    _("return a text that is different for each sample from name, and from key where paths move"),
)
def _names(case: DatasetCase) -> None:
    indices = case.few()
    for what, names in (
        ("name", [case.train.name(i) for i in indices]),
        ("key", [case.train.key(i) for i in indices]),
    ):
        require(all(isinstance(name, str) for name in names), f"{what} returns no text")
        require(len(set(names)) == len(names), f"{what} is the same for two samples")


@checked_by(
    DATASET_CHECKS,
    _("goes to other processes"),
    _("keep no open files and no lambdas in the dataset"),
)
def _pickled(case: DatasetCase) -> None:
    again = pickle.loads(pickle.dumps(case.train))
    require(len(again) == len(case.train), "another process sees other samples")


def _require_sample(dataset: Dataset, sample: Any) -> None:
    good = isinstance(sample, Tensor) and sample.dtype == torch.uint8 and sample.ndim > 1
    kind = sample.dtype if isinstance(sample, Tensor) else type(sample).__name__
    require(good, f"a sample is {shape_of(sample)} of {kind}, not uint8 (C, *size)")
    require(
        len(sample) == dataset.channels,
        f"a sample has {len(sample)} channels, and statistics {dataset.channels}",
    )


@checked_by(
    TRANSFORM_CHECKS,
    _("images of the same shape"),
    _("return float images (B, C, *size), for one image or many, gray or color"),
)
def _same_shape(name: str) -> None:
    (transform,) = own_transforms({name: {}})
    for batch, channels in ((4, 3), (1, 3), (2, 1)):
        images = torch.rand(batch, channels, 16, 16)
        changed = transform(images.clone(), torch.Generator().manual_seed(0))
        require(changed.dtype == images.dtype, f"float32 images become {changed.dtype}")
        require(bool(changed.isfinite().all()), "pixels are not finite")


@checked_by(
    TRANSFORM_CHECKS,
    _("draws from the generator alone"),
    _("pass generator=generator to every torch.rand, torch.randn ..., and use no random module"),
)
def _generator_alone(name: str) -> None:
    (transform,) = own_transforms({name: {}})
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        images = torch.linspace(0, 1, 2 * 3 * 64).view(2, 3, 8, 8)
        results.append(transform(images, torch.Generator().manual_seed(0)))
        require_same("it draws from torch's global generator", torch.get_rng_state(), state)
    require_same("the same generator gives different images", *results)


def _optimize(name: str, steps: int, lr: float = 0.05) -> tuple[nn.Module, Any]:
    """A small method after some steps of an optimizer, and the optimizer."""
    method = MethodCase("supervised").on("ViT")
    optimizer = build_optimizer(name, parameter_groups(method, lr=lr, weight_decay=0.0))
    _steps(method, optimizer, steps)
    return method, optimizer


def _steps(method: Any, optimizer: Any, steps: int) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        make_step(method)
        optimizer.step()
        optimizer.zero_grad()


@checked_by(
    OPTIMIZER_CHECKS,
    _("obeys the learning rate"),
    _('read group["lr"] in every step, because the schedule changes it'),
)
def _obeys(name: str) -> None:
    start, _optimizer = _optimize(name, 0)
    for lr in (0.0, 0.05):
        method, optimizer = _optimize(name, 0)
        for group in optimizer.param_groups:
            group["lr"] = lr
        _steps(method, optimizer, 1)
        pairs = zip(method.parameters(), start.parameters(), strict=True)
        moved = any(not torch.equal(new, old) for new, old in pairs)
        require(
            moved == bool(lr), f"a learning rate of {lr:g} {'moves' if moved else 'keeps'} weights"
        )


@checked_by(
    OPTIMIZER_CHECKS,
    _("goes on after a checkpoint as if it had never stopped"),
    _("keep what it remembers as tensors in self.state[parameter]"),
)
def _resumes(name: str) -> None:
    whole, _optimizer = _optimize(name, 3)
    first, optimizer = _optimize(name, 2)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(folder)
        state = TrainState(first, optimizer, None, None)  # type: ignore[arg-type]
        save_checkpoint(run, Progress(2, 2, {}), state)
        second, optimizer = _optimize(name, 0)
        load_checkpoint(run, TrainState(second, optimizer, None, None))  # type: ignore[arg-type]
    torch.manual_seed(2)
    make_step(second)  # type: ignore[arg-type]
    optimizer.step()
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        require_same("a resumed run ends with other weights", one, other)


def _model() -> Any:
    return ModelCase(lambda: MethodCase("supervised").on("ViT").backbone).small()


@checked_by(
    EXPLANATION_CHECKS,
    _("one map per image"),
    _("return (B, *grid) or (B, *size)"),
)
def _maps(name: str) -> None:
    model = _model()
    for batch in (1, 3):
        maps = explain(model, images_for(model, batch), name)
        require(bool(maps.isfinite().all()), "the maps are not finite")
        require(maps.is_floating_point(), f"the maps are {maps.dtype}")


@checked_by(
    EXPLANATION_CHECKS,
    _("maps of a batch are independent, and the same each time"),
    _("do not mix along the first axis, and draw from a generator of your own"),
)
def _independent(name: str) -> None:
    model = _model()
    images = images_for(model, 3)
    changed = images.clone()
    changed[1] = 3.0
    before, again, after = (explain(model, x, name) for x in (images, images, changed))
    require_same("the maps differ from call to call", before, again)
    require_shape("the maps are", after, tuple(before.shape))
    close = torch.allclose(before[[0, 2]], after[[0, 2]], atol=1e-5)
    require(close, "the map of an image changes with another image of the batch")


@checked_by(
    EXPLANATION_CHECKS,
    _("leaves the model as it was"),
    _("remove hooks, put requires_grad and the mode back, and leave no gradients: compute them by "
      "torch.autograd.grad"),
)  # fmt: skip
def _unchanged(name: str) -> None:
    model = _model()
    images = images_for(model)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    learning = [n for n, p in model.named_parameters() if p.requires_grad]
    logits = model(images)
    explain(model, images, name)
    different = [key for key, tensor in model.state_dict().items() if not tensor.equal(state[key])]
    require_none(different, "other values than before: {}")
    require(not model.training, "the model is in training mode")
    after = [n for n, p in model.named_parameters() if p.requires_grad]
    require(after == learning, "requires_grad of parameters has changed")
    left = [n for n, p in model.named_parameters() if p.grad is not None]
    require_none(left, "gradients are left in {}")
    hooks = [n for n, m in model.named_modules() if _has_hooks(m)]
    require_none(hooks, "hooks are left on {}")
    require_same("the model computes something else", model(images), logits)


def _has_hooks(module: nn.Module) -> bool:
    # private: torch has no public list of a module's hooks
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
