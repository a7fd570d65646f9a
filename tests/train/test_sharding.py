"""FSDP: shares of everything, and the same numbers as one process."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tests.methods.test_clip import TOKENIZER, TOWER
from tests.models.small import images_for, small
from tests.train.processes import in_processes
from vitrail.errors import ConfigError
from vitrail.methods import distributed
from vitrail.methods.base import Batch, Method
from vitrail.methods.clip import CLIP
from vitrail.methods.dino import DINO
from vitrail.methods.simmim import SimMIM
from vitrail.methods.supervised import Supervised
from vitrail.models.registry import model_classes
from vitrail.run_folder import RunFolder
from vitrail.train.callbacks import Checkpointing
from vitrail.train.optim import make_ema, parameter_groups
from vitrail.train.pieces import slice_of
from vitrail.train.schedule import Schedule
from vitrail.train.sharding import Sharding
from vitrail.train.streams import Stream
from vitrail.train.trainer import Trainer

STEPS, MANY_STEPS, CLIP_NORM = 4, 20, 0.02
BATCH = {STEPS: 6, MANY_STEPS: 12}  # which 2, 3 and 4 processes divide
TRAINERS = ("supervised", "dino", "clip", "simmim")
QUICK = TRAINERS[:3]


class Rows(Stream):
    """The same batches for any number of processes, each of which has its part of them."""

    def __init__(self, name: str, steps: int = STEPS) -> None:
        self.name, self.steps, self.batch_size = name, steps, BATCH[steps]

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start: int, device: torch.device | str) -> Iterator[Batch]:
        for number in range(start, self.steps):
            draw = torch.Generator().manual_seed(number)
            images = torch.randn(self.batch_size, 3, 32, 32, generator=draw, dtype=torch.float64)
            labels = torch.randint(0, 3, (self.batch_size,), generator=draw)
            mask = torch.rand(self.batch_size, 16, generator=draw).argsort(1) < 8
            captions = TOKENIZER([f"a photo of a {label}" for label in labels.tolist()])
            batch = {
                "supervised": Batch(images=images, labels=labels),
                "simmim": Batch(images=images, patch_mask=mask),
                "dino": Batch(crops=(images, images.flip(2), images[..., :16, :16])),
                "clip": Batch(images=images, captions=captions),
            }[self.name]
            rows = slice(distributed.rank(), None, distributed.world_size())
            yield slice_of(batch, rows).to(device)


def method_of(name: str, **options: Any) -> Method:
    torch.manual_seed(3)
    if name == "clip":
        return CLIP(small("ViT", num_classes=0), TOKENIZER, **TOWER).double()
    model = small("ViT", **options)
    if name == "dino":
        return DINO(model, 16, (24, 8), freeze_last=0.2).double()
    return (SimMIM(model) if name == "simmim" else Supervised(model)).double()


def trainer_of(
    name: str, folder: Path, *, steps: int = STEPS, ema: float = 0.9, **options: Any
) -> Trainer:
    method = method_of(name, **options)
    groups = parameter_groups(method, lr=1e-3, weight_decay=0.05)
    return Trainer(
        method,
        Rows(name, steps),
        torch.optim.AdamW(groups, fused=True),
        schedule=Schedule(steps, warmup=0.1),
        run_folder=RunFolder(folder / name),
        ema=make_ema(method, ema) if ema and name != "dino" else None,
        clip=CLIP_NORM,
        callbacks=[Checkpointing(steps // 2)],
        sharding="fsdp",
    )


def weights(trainer: Trainer) -> dict[str, Tensor]:
    """Those of the method and of its EMA."""
    sharding, method = trainer.sharding, trainer.method
    whole = method if sharding is None else sharding.whole(method)
    averages = trainer.result_method.state_dict()
    return whole.state_dict() | {f"ema.{name}": tensor for name, tensor in averages.items()}


def train(
    folder: Path, names: tuple[str, ...], steps: int = STEPS, resume: bool = False
) -> dict[str, Any]:
    results = {}
    for name in names:
        trainer = trainer_of(name, folder, steps=steps)
        trainer.fit(resume=resume)
        results[name] = weights(trainer), {k: float(v) for k, v in trainer.last_values.items()}
        if distributed.world_size() > 1:
            check_shares(trainer)
    return results


def check_shares(trainer: Trainer) -> None:
    """No process has more than its share, of parameters, optimizer state and EMA."""
    processes, matrices = distributed.world_size(), 0
    averages = dict(trainer.ema.module.named_parameters()) if trainer.ema is not None else {}
    for name, parameter in trainer.method.named_parameters():
        if parameter.ndim == 0:
            continue
        assert isinstance(parameter, DTensor), name
        own = [parameter, *trainer.optimizer.state[parameter].values(), averages.get(name)]
        for tensor in own:
            if tensor is not None and tensor.ndim:
                assert isinstance(tensor, DTensor), name
                most = -(-tensor.shape[0] // processes)
                assert tensor.to_local().shape[0] <= most, name
        matrices += parameter.ndim == 2
    assert matrices


def same(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        (state, values), (other_state, other_values) = one[name], two[name]
        assert state.keys() == other_state.keys()
        for key in state:
            torch.testing.assert_close(state[key], other_state[key], rtol=1e-9, atol=1e-11)
        for key in ("loss", "lr", "grad_norm"):
            assert values[key] == pytest.approx(other_values[key], rel=1e-9), (name, key)
        assert values["grad_norm"] > CLIP_NORM, "then clipping changes something"


def from_half(folder: Path, tmp_path: Path) -> Path:
    """A copy of the runs as they were half-way."""
    copied = tmp_path / "half"
    shutil.copytree(folder, copied, dirs_exist_ok=True)
    for path in copied.iterdir():
        shutil.rmtree(RunFolder(path).checkpoints[-1])
    return copied


def everything(folder: Path) -> dict[str, Any]:
    """What the tests ask of two processes, which are started once."""
    return {
        "train": train(folder / "train", QUICK),
        "kept": drop(folder, checkpointing=False),
        "recomputed": drop(folder, checkpointing=True),
        "half": half_precision(folder),
        "refused": refused(folder),
        "statistics": batch_statistics(folder),
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("alone")
    return folder, train(folder, QUICK)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("two")
    return folder / "train", in_processes(2, everything, folder)


def test_two_processes_train_as_one(alone: Any, two: Any) -> None:
    for result in two[1]:
        same(result["train"], alone[1])


def test_one_process_goes_on_from_the_shards_of_two(alone: Any, two: Any, tmp_path: Path) -> None:
    same(train(from_half(two[0], tmp_path), QUICK, STEPS, True), alone[1])


def test_two_processes_go_on_from_the_checkpoint_of_one(alone: Any, tmp_path: Path) -> None:
    folder = from_half(alone[0], tmp_path)
    for result in in_processes(2, train, folder, QUICK[:1], STEPS, True):
        same(result, {name: alone[1][name] for name in QUICK[:1]})


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "names"), [(2, TRAINERS), (4, QUICK)], ids=["2", "4"])
def test_twenty_steps_of_several_processes_are_those_of_one(
    tmp_path: Path, processes: int, names: tuple[str, ...]
) -> None:
    alone = train(tmp_path / "alone", names, MANY_STEPS)
    folder = tmp_path / "several"
    for result in in_processes(processes, train, folder, names, MANY_STEPS):
        same(result, alone)
    for number in (1, 2):
        half = from_half(folder, tmp_path / str(number))
        for result in in_processes(number, train, half, names, MANY_STEPS, True):
            same(result, alone)


def drop(folder: Path, checkpointing: bool) -> tuple[dict[str, Any], Tensor]:
    """Weights after training with dropout, and what the first dropout lets through."""
    trainer = trainer_of("supervised", folder, ema=0, emb_dropout=0.3, dropout=0.3, drop_path=0.3)
    trainer.method.backbone.set_gradient_checkpointing(checkpointing)
    trainer.total, trainer.callbacks = 3, ()
    masks: list[Tensor] = []
    for module in trainer.method.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda _module, _input, y: masks.append(y.detach() != 0))
            break
    trainer.fit()
    return weights(trainer), masks[0]


def test_recomputed_activations_have_the_same_dropout(two: Any) -> None:
    for result in two[1]:
        (state, _), (other, _) = result["kept"], result["recomputed"]
        for key in state:
            torch.testing.assert_close(state[key], other[key], rtol=1e-12, atol=1e-14)
    mask, other_mask = (result["kept"][1] for result in two[1])
    assert mask.any() and not mask.all()
    assert not torch.equal(mask, other_mask), "each process drops other features"


def batch_statistics(folder: Path) -> list[Tensor]:
    """Those of batch norms, after a step of which each process has other images."""
    method, rows = with_batch_norms(), Rows("supervised")
    trainer = Trainer(
        method, rows, torch.optim.SGD(method.parameters(), lr=0.1),
        schedule=Schedule(STEPS), run_folder=RunFolder(folder), sharding="fsdp",
    )  # fmt: skip
    trainer.train_step(rows.epoch(0, 0, "cpu"))
    return running_means(method)


def with_batch_norms() -> Method:
    torch.manual_seed(3)
    return Supervised(small("LeViT")).double()


def running_means(method: Method) -> list[Tensor]:
    return [buffer for name, buffer in method.named_buffers() if name.endswith("running_mean")]


def test_batch_statistics_are_those_of_the_first_process(two: Any) -> None:
    method = with_batch_norms().train()
    method(slice_of(next(Rows("supervised").epoch(0, 0, "cpu")), slice(0, None, 2)))
    for result in two[1]:
        torch.testing.assert_close(result["statistics"], running_means(method))


def half_precision(folder: Path) -> dict[str, Any]:
    method = method_of("supervised").float()
    other = Trainer(
        method,
        Rows("supervised"),
        torch.optim.AdamW(method.parameters(), lr=1e-3),
        schedule=Schedule(STEPS),
        run_folder=RunFolder(folder),
        precision="bf16",
        sharding="fsdp",
    )
    dtypes: dict[str, set[torch.dtype]] = {"weight": set()}
    block: Any = method.backbone.blocks[0]

    def note(module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        dtypes["weight"] |= {p.dtype for p in module.parameters()}

    block.register_forward_pre_hook(note)
    batches = (
        Batch(images=batch["images"].float(), labels=batch["labels"])
        for batch in Rows("supervised").epoch(0, 0, "cpu")
    )
    values = other.train_step(batches)
    dtypes["state"] = {
        s.dtype for p in method.parameters() for s in other.optimizer.state[p].values()
    }
    dtypes["parameter"] = {p.dtype for p in method.parameters()}
    return {"loss": float(values["loss"]), **dtypes}


def test_half_precision_gathers_in_bf16_and_keeps_float32(two: Any) -> None:
    method = method_of("supervised").float()
    batch = next(Rows("supervised").epoch(0, 0, "cpu"))
    exact = method.train()(Batch(images=batch["images"].float(), labels=batch["labels"])).loss
    for result in two[1]:
        half = result["half"]
        assert half["weight"] == {torch.bfloat16}
        assert half["parameter"] == half["state"] == {torch.float32}
        assert half["loss"] == pytest.approx(exact.item(), rel=0.02)


def test_what_needs_whole_parameters_is_refused(two: Any) -> None:
    for result in two[1]:
        assert result["refused"] == [
            "train.sharding='fsdp' shares out parameters, and Adafactor needs whole ones: set "
            "optim.optimizer to adamw or sgd, or leave sharding out.",
            "train.precision='fp16' scales gradients, which sharding does not support: use bf16.",
        ]


def refused(folder: Path) -> list[str]:
    lines = []
    for optimizer, precision in ((torch.optim.Adafactor, "fp32"), (torch.optim.SGD, "fp16")):
        method = method_of("supervised")
        with pytest.raises(ConfigError) as caught:
            Trainer(
                method, Rows("supervised"), optimizer(method.parameters(), lr=0.1),
                schedule=Schedule(STEPS), run_folder=RunFolder(folder), sharding="fsdp",
                precision=precision,
            )  # fmt: skip
        lines.append(str(caught.value))
    return lines


@pytest.mark.slow
def test_every_model_can_be_shared_out() -> None:
    [problems] = in_processes(1, every_model)
    assert problems == {}


def every_model() -> dict[str, str]:
    """A step of each class of models, shared out over one process, compared with a plain step."""
    problems = {}
    for name in model_classes():
        states = []
        for shared in (False, True):
            torch.manual_seed(0)
            method = Supervised(small(name)).double().train()
            images = images_for(method.backbone).double()
            optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
            sharding = Sharding(method) if shared else None
            if sharding is not None:
                sharding.apply(method, optimizer)
            try:
                torch.manual_seed(1)
                batch = Batch(images=images, labels=torch.zeros(len(images), dtype=torch.long))
                method(batch).loss.backward()
                optimizer.step()
                whole = method if sharding is None else sharding.whole(method)
            except Exception as problem:
                problems[name] = f"{type(problem).__name__}: {str(problem)[:200]}"
                break
            states.append(whole.state_dict())
        if len(states) == 2 and not all(
            torch.allclose(states[0][key], states[1][key], rtol=1e-9) for key in states[0]
        ):
            problems[name] = "other weights"
    return problems
