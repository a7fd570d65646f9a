"""Two processes: what they know together is what one process knows of all."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from tests.models.small import small
from vitrail.methods import distributed
from vitrail.methods.base import Batch
from vitrail.methods.dino import DINO

PROCESSES, BATCH = 2, 3


def contrast(one: Tensor, other: Tensor) -> Tensor:
    """A loss of all rows, as CLIP's: each one's match is the row of the same number."""
    logits = one @ other.T
    return nn.functional.cross_entropy(logits, torch.arange(len(logits)))


def dino() -> DINO:
    torch.manual_seed(5)
    return DINO(small("ViT"), 16, (24, 8), freeze_last=0.2).double().train()


def crops() -> list[Tensor]:
    """Of both processes' images, one after the other."""
    draw = torch.Generator().manual_seed(1)
    sides = (32, 32, 16, 24)
    return [torch.randn(PROCESSES * BATCH, 3, s, s, generator=draw).double() for s in sides]


def steps(method: DINO, wrapped: nn.Module, images: list[Tensor]) -> None:
    """Two, of which the first leaves the prototypes as they are."""
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    for progress in (0.0, 0.5):
        method.before_step(progress)
        optimizer.zero_grad()
        wrapped(Batch(crops=tuple(images))).loss.backward()
        optimizer.step()
        method.after_step()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES
    )
    mine = slice(rank * BATCH, (rank + 1) * BATCH)
    rows = torch.load(f"{folder}/rows.pt").requires_grad_()
    gathered = distributed.gather(rows[:, mine].transpose(0, 1)).transpose(0, 1)
    loss = contrast(*gathered)
    (gradient,) = torch.autograd.grad(loss, rows)
    method = dino()
    wrapped = nn.parallel.DistributedDataParallel(method)
    steps(method, wrapped, [crop[mine] for crop in crops()])
    results = {
        "gathered": gathered.detach(),
        "loss": loss.detach(),
        "gradient": gradient[:, mine],
        "mean": distributed.mean(rows[0, mine].mean(0)),
        "state": method.state_dict(),
    }
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensor, list[dict]]:
    folder: Path = tmp_path_factory.mktemp("across")
    rows = torch.randn(2, PROCESSES * BATCH, 4, dtype=torch.float64)
    torch.save(rows, folder / "rows.pt")
    # Forking spares each of them the imports; gradients on a GPU, once computed, forbid it.
    method = "spawn" if torch.accelerator.is_available() else "fork"
    mp.start_processes(work, (str(folder),), nprocs=PROCESSES, start_method=method)
    return rows, [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


def test_rows_come_together_in_order(results: tuple[Tensor, list[dict]]) -> None:
    rows, each = results
    for one in each:
        assert torch.equal(one["gathered"], rows)
        torch.testing.assert_close(one["mean"], rows[0].mean(0))


def test_the_mean_of_the_gradients_is_that_of_the_whole_loss(
    results: tuple[Tensor, list[dict]],
) -> None:
    rows, each = results
    rows = rows.clone().requires_grad_()
    loss = contrast(*rows)
    (whole,) = torch.autograd.grad(loss, rows)
    for rank, one in enumerate(each):
        mine = whole[:, rank * BATCH : (rank + 1) * BATCH]
        torch.testing.assert_close(one["loss"], loss.detach())
        # Data-parallel training divides the sum over processes by their number.
        torch.testing.assert_close(one["gradient"] / PROCESSES, mine)


def test_two_processes_train_dino_as_one(results: tuple[Tensor, list[dict]]) -> None:
    method = dino()
    before = method.head.last.weight.detach().clone()
    steps(method, method, crops())
    assert not torch.equal(before, method.head.last.weight)
    for one in results[1]:
        for name, tensor in method.state_dict().items():
            torch.testing.assert_close(one["state"][name], tensor, rtol=0, atol=1e-10)


def test_alone_nothing_changes() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert distributed.gather(x) is x
    assert torch.equal(distributed.mean(x), x)
    assert not distributed.mean(x).requires_grad
