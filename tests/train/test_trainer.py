"""The trainer by itself: no settings, only parts."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.small import small
from vitrail.errors import ConfigError, TrainingError
from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.supervised import Supervised
from vitrail.models.base import Backbone
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback
from vitrail.train.callbacks import Checkpointing
from vitrail.train.optim import make_ema, parameter_groups
from vitrail.train.schedule import Schedule
from vitrail.train.streams import Stream
from vitrail.train.trainer import Trainer


class Fixed(Stream):
    """The same samples in every epoch, in order."""

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int) -> None:
        self.images, self.labels, self.batch_size = images, labels, batch_size

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def epoch(self, epoch: int, start: int, device: torch.device | str) -> Iterator[Batch]:
        for position in range(start, len(self)):
            part = slice(position * self.batch_size, (position + 1) * self.batch_size)
            yield Batch(images=self.images[part], labels=self.labels[part]).to(device)


def stream(batch_size: int, count: int = 16, seed: int = 0) -> Fixed:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 32, 32, generator=generator, dtype=torch.double)
    return Fixed(images, torch.arange(count) % 5, batch_size)


def supervised() -> Supervised:
    torch.manual_seed(0)
    model = small("ViT", num_classes=5, dropout=0.0, drop_path=0.0).double()
    return Supervised(model)


def sgd(method: Method, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=lr)


def trained(method: Method, batches: Stream, steps: int, **keywords: Any) -> Trainer:
    optimizer = keywords.pop("optimizer", None) or sgd(method)
    schedule = keywords.pop("schedule", None) or Schedule(steps, warmup=0.0)
    trainer = Trainer(method, batches, optimizer, schedule=schedule, **keywords)
    trainer.fit()
    return trainer


def weights(method: Method) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in method.named_parameters()}


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_batches_are_one_larger_batch(accumulate: int) -> None:
    whole, parts = supervised(), supervised()
    large = trained(whole, stream(8), 6, clip=0.5)
    trained(parts, stream(8 // accumulate), 6, clip=0.5, accumulate=accumulate)
    assert large.step == 6
    before = weights(supervised())
    for name, weight in weights(whole).items():
        assert not torch.equal(weight, before[name])
        torch.testing.assert_close(weights(parts)[name], weight, rtol=0, atol=1e-12)


def test_logged_figures_are_means_over_the_accumulated_batches() -> None:
    class Log(Callback):
        def __init__(self) -> None:
            self.losses: list[float] = []

        def after_step(self, trainer: Trainer, values: Any) -> None:
            self.losses.append(float(values["loss"]))
            assert 0 <= float(values["top1"]) <= 1

    logs = [Log(), Log()]
    trained(supervised(), stream(8), 2, callbacks=[logs[0]])
    trained(supervised(), stream(4), 2, accumulate=2, callbacks=[logs[1]])
    assert logs[0].losses == pytest.approx(logs[1].losses)


def test_a_huge_gradient_is_clipped() -> None:
    class Huge(Supervised):
        def forward(self, batch: Batch) -> Loss:
            loss, metrics = super().forward(batch)
            return Loss(1e6 * loss, metrics)

    class Norms(Callback):
        def __init__(self) -> None:
            self.norms: list[float] = []

        def after_step(self, trainer: Trainer, values: Any) -> None:
            self.norms.append(float(values["grad_norm"]))

    torch.manual_seed(0)
    method = Huge(small("ViT", num_classes=5, dropout=0.0, drop_path=0.0).double())
    before, norms = weights(method), Norms()
    trained(method, stream(16), 1, clip=0.25, callbacks=[norms])
    change = torch.cat([(weights(method)[n] - w).flatten() for n, w in before.items()]).norm()
    assert norms.norms[0] > 1e4  # the norm before clipping is what is logged
    assert change.item() == pytest.approx(0.1 * 0.25, rel=1e-4)  # lr times the clipped norm


def test_each_parameter_s_gradient_may_be_clipped_by_itself() -> None:
    """As DINO's code does; what is logged is the norm of all before."""
    method = supervised()
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    trained(method, stream(16), 1, clip=1e-3, clip_by="parameter")
    changes = {n: (p - before[n]).norm().item() / 0.1 for n, p in method.named_parameters()}
    moved = [change for change in changes.values() if change > 1e-6]
    assert len(moved) > 5 and max(moved) == pytest.approx(1e-3, rel=1e-2)
    assert sum(change > 0.9e-3 for change in moved) > 5  # not one norm for all


def test_a_small_gradient_is_not_clipped() -> None:
    free, clipped = supervised(), supervised()
    trained(free, stream(16), 1, clip=1e9)
    trained(clipped, stream(16), 1, clip=1e3)
    for name, weight in weights(free).items():
        assert torch.equal(weights(clipped)[name], weight)


def test_a_schedule_reaches_the_optimizer() -> None:
    class Rates(Callback):
        def __init__(self) -> None:
            self.rates: list[float] = []
            self.decays: list[list[float]] = []

        def after_step(self, trainer: Trainer, values: Any) -> None:
            self.rates.append(float(values["lr"]))
            groups = trainer.optimizer.param_groups
            self.decays.append(sorted({group["weight_decay"] for group in groups}))

    method, rates = supervised(), Rates()
    groups = parameter_groups(method, lr=0.1, weight_decay=0.04)
    trained(
        method,
        stream(8),
        10,
        optimizer=torch.optim.AdamW(groups),
        schedule=Schedule(10, warmup=0.2, min_lr=0.1, weight_decay=0.04, weight_decay_end=0.4),
        callbacks=[rates],
    )
    assert rates.rates[:3] == pytest.approx([0.05, 0.1, 0.1])
    assert rates.rates[6] == pytest.approx(0.1 * (0.1 + 0.9 * 0.5))  # half of the cosine
    decays = [decay for _, decay in rates.decays]
    assert decays[0] == pytest.approx(0.04)
    assert decays[5] == pytest.approx(0.22)
    assert decays == sorted(decays) and decays[-1] > 0.35
    assert all(none == 0 for none, _ in rates.decays)  # vectors and tokens


def test_the_ema_follows_with_its_warm_up() -> None:
    class Averages(Callback):
        """Computes the EMA of one weight by its formula."""

        def __init__(self) -> None:
            self.average: Tensor | None = None
            self.updates = 0

        def after_step(self, trainer: Trainer, values: Any) -> None:
            weight = trainer.method.backbone.head.weight.detach().clone()
            decay = min(0.6, (1 + self.updates) / (10 + self.updates))
            first = self.average is None
            self.average = weight if first else decay * self.average + (1 - decay) * weight
            self.updates += 1

    method, averages = supervised(), Averages()
    trainer = trained(method, stream(8), 20, ema=make_ema(method, 0.6), callbacks=[averages])
    assert averages.updates == 20
    assert trainer.backbone is not method.backbone
    torch.testing.assert_close(trainer.backbone.head.weight, averages.average)


class Overflowing(Supervised):
    """A loss that overflows half precision in one step only."""

    count = 0

    def forward(self, batch: Batch) -> Loss:
        loss, metrics = super().forward(batch)
        if self.training:
            type(self).count += 1
        return Loss(loss * (1e38 if self.count == 3 else 1.0), metrics)


def test_a_scaler_skips_steps_that_overflow() -> None:
    """fp16 as on a GPU: gradients are scaled, unscaled before clipping, and skipped if infinite."""

    class Log(Callback):
        def __init__(self) -> None:
            self.changed: list[bool] = []
            self.scales: list[float] = []

        def before_step(self, trainer: Trainer) -> None:
            self.before = weights(trainer.method)

        def after_step(self, trainer: Trainer, values: Any) -> None:
            after = weights(trainer.method)
            self.changed.append(any(not torch.equal(after[n], w) for n, w in self.before.items()))
            assert trainer.scaler is not None
            self.scales.append(trainer.scaler.get_scale())

    torch.manual_seed(0)
    Overflowing.count = 0
    method = Overflowing(small("ViT", num_classes=5, dropout=0.0, drop_path=0.0))
    batches = stream(8)
    batches.images = batches.images.float()
    log = Log()
    trained(method, batches, 6, precision="fp16", callbacks=[log])
    assert log.changed == [True, True, False, True, True, True]
    assert log.scales[2] == log.scales[1] / 2
    assert all(p.isfinite().all() for p in method.parameters())


def test_scaled_gradients_are_clipped_at_their_own_size() -> None:
    """A scale of 65536 must not make `clip` cut every gradient."""

    def change(precision: Any) -> Tensor:
        torch.manual_seed(0)
        method = Supervised(small("ViT", num_classes=5, dropout=0.0, drop_path=0.0))
        batches = stream(16)
        batches.images = batches.images.float()
        before = weights(method)
        trained(method, batches, 1, precision=precision, clip=100.0)
        return torch.cat([(weights(method)[n] - w).flatten() for n, w in before.items()])

    plain, half = change("fp32"), change("fp16")
    assert plain.norm() > 0
    assert torch.cosine_similarity(plain, half, dim=0) > 0.99
    assert half.norm() == pytest.approx(plain.norm().item(), rel=0.05)


def test_without_a_scaler_infinite_gradients_stop_the_run(tmp_path: Path) -> None:
    Overflowing.count = 0
    torch.manual_seed(0)
    method = Overflowing(small("ViT", num_classes=5, dropout=0.0, drop_path=0.0))
    batches = stream(8)
    batches.images = batches.images.float()
    with pytest.raises(TrainingError, match=r"not finite at step 3; there is no checkpoint yet"):
        trained(method, batches, 6, run_folder=RunFolder(tmp_path))
    assert all(p.isfinite().all() for p in method.parameters())


def test_several_trainers_of_other_precisions_in_one_program() -> None:
    """accelerate keeps global state; the trainer must not depend on it."""
    for precision in ("fp32", "bf16", "fp32", "fp16"):
        torch.manual_seed(0)
        method = Supervised(small("ViT", num_classes=5, dropout=0.0, drop_path=0.0))
        batches = stream(8)
        batches.images = batches.images.float()
        trainer = trained(method, batches, 2, precision=precision)
        assert trainer.step == 2


def test_remarks_on_accumulation() -> None:
    class BatchWide(Supervised):
        batch_wide = True

    def remarks(method: Method, accumulate: int) -> list[str]:
        batches = stream(4)
        schedule = Schedule(1)
        return Trainer(
            method, batches, sgd(method), schedule=schedule, accumulate=accumulate
        ).remarks()

    assert remarks(supervised(), 2) == []
    wide = BatchWide(supervised().backbone)
    assert remarks(wide, 1) == []
    assert remarks(wide, 2) == [
        "accumulate=2 is not the same as a batch of 8: the loss compares the samples of a batch."
    ]
    backbone: Backbone = supervised().backbone
    backbone.extra = nn.BatchNorm2d(3).double()
    assert "batch norms use the statistics of each batch" in remarks(Supervised(backbone), 2)[0]


def test_too_few_batches_for_a_step() -> None:
    method = supervised()
    with pytest.raises(ConfigError, match="accumulate=3 is more than the 2 batches of an epoch"):
        Trainer(method, stream(8), sgd(method), schedule=Schedule(1), accumulate=3)


def test_dropout_differs_between_steps_and_seeds_but_repeats() -> None:
    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        method = Supervised(small("ViT", num_classes=5, dropout=0.5).double())
        trained(method, stream(8), 3, seed=seed)
        return weights(method)

    one, again, other = run(0), run(0), run(1)
    name = "backbone.head.weight"
    assert torch.equal(one[name], again[name])
    assert not torch.equal(one[name], other[name])


def test_hooks_of_a_method_come_in_their_order() -> None:
    calls: list[Any] = []

    class Hooks(Supervised):
        def before_step(self, progress: float) -> None:
            calls.append(progress)

        def forward(self, batch: Batch) -> Loss:
            calls.append("forward")
            return super().forward(batch)

        def after_step(self) -> None:
            calls.append("after")

    trained(Hooks(supervised().backbone), stream(4), 2, accumulate=2)
    assert calls == [0.0, "forward", "forward", "after", 0.5, "forward", "forward", "after"]


def test_a_trainer_without_settings_writes_checkpoints_and_resumes(tmp_path: Path) -> None:
    def make(method: Method, folder: str, *callbacks: Callback) -> Trainer:
        return Trainer(
            method,
            stream(4),
            torch.optim.AdamW(parameter_groups(method, lr=0.01, weight_decay=0.1)),
            schedule=Schedule(12),
            run_folder=RunFolder(tmp_path / folder),
            callbacks=(*callbacks, Checkpointing(every=3)),
        )

    class Stop(Callback):
        def before_step(self, trainer: Trainer) -> None:
            if trainer.step == 7:
                raise KeyboardInterrupt

    whole, cut, resumed = supervised(), supervised(), supervised()
    make(whole, "whole").fit()
    with pytest.raises(
        TrainingError, match=r"stopped; the last good checkpoint is .*step-00000006"
    ):
        make(cut, "cut", Stop()).fit()
    trainer = make(resumed, "cut")
    trainer.fit(resume=True)
    assert trainer.step == 12
    for name, weight in weights(whole).items():
        assert torch.equal(weights(resumed)[name], weight)


def test_the_parts_are_not_copied() -> None:
    method = supervised()
    before = copy.deepcopy(method.state_dict())
    trainer = trained(method, stream(8), 1)
    assert trainer.method is method
    assert any(not torch.equal(method.state_dict()[k], v) for k, v in before.items())


class Drawing(Supervised):
    """Keeps one random number per step."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.numbers: list[float] = []

    def forward(self, batch: Batch) -> Loss:
        self.numbers.append(torch.rand(()).item())
        return super().forward(batch)


def test_each_step_draws_anew_and_repeats_with_its_seed() -> None:
    def numbers(seed: int) -> list[float]:
        method = Drawing(supervised().backbone)
        trained(method, stream(8), 4, seed=seed)
        return method.numbers

    assert len(set(numbers(0))) == 4
    assert numbers(0) == numbers(0) != numbers(1)


def test_each_process_and_each_step_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    method, seeds = supervised(), []
    for process, step in ((0, 0), (1, 0), (0, 1)):
        trainer = Trainer(method, stream(8), sgd(method), schedule=Schedule(2))
        trainer.step = step
        index = property(lambda _, process=process: process)
        monkeypatch.setattr(type(trainer.accelerator), "process_index", index)
        trainer.train_step(stream(8).epoch(0, 0, "cpu"))
        seeds.append(torch.initial_seed())
    assert len(set(seeds)) == 3
