"""Recording changes no bit: in bfloat16, in parallel, compiled; and nothing of it is left."""

import contextlib
import copy
import io
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

import vitrail
from tests.models.small import images_for, small
from vitrail.errors import ConfigError
from vitrail.layers.recording import RecordedMixer
from vitrail.lens.record import record
from vitrail.models.registry import model_classes


def recorders(model: nn.Module) -> list[object]:
    mixers = [m for m in model.modules() if isinstance(m, RecordedMixer)]
    return [m.recorder for m in mixers] + [m.gradient_recorders or None for m in mixers]


@pytest.mark.parametrize("name", model_classes())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_equal_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    model = small(name).eval().to(dtype)
    if not recorders(model):
        pytest.skip("no attention")
    images = images_for(model).to(dtype)
    with torch.no_grad():
        expected = model(images)
        with record(model) as outer, record(model) as inner:
            logits = model(images)
        assert torch.equal(logits, expected) and torch.equal(model(images), expected)
    assert outer.keys() == inner.keys()
    assert not any(recorders(model))


def test_so_they_are_in_autocast_and_with_dropout() -> None:
    model = small("ViT", dropout=0.3, drop_path=0.2).train()
    images = images_for(model)

    def run() -> torch.Tensor:
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            return model(images)

    expected = run()
    with record(model):
        assert torch.equal(run(), expected)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_in_distributed_data_parallel(group: None) -> None:
    model = small("ViT")
    wrapped = nn.parallel.DistributedDataParallel(model)
    images = images_for(model)
    expected = wrapped(images)
    with record(wrapped) as maps:
        logits = wrapped(images)
    assert torch.equal(logits, expected) and list(maps) == [0, 1, 2]
    logits.sum().backward()
    plain = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    wrapped(images).sum().backward()
    assert all(torch.equal(p.grad, plain[n]) for n, p in model.named_parameters() if n in plain)
    assert not any(recorders(model))


@pytest.mark.parametrize("how", ["function", "method", "block"])
def test_a_compiled_model_says_that_it_runs_eagerly(how: str) -> None:
    model = small("ViT", depth=1).eval()
    images = images_for(model)
    with torch.no_grad():
        eager = model(images)
        compiled: nn.Module = model
        if how == "function":
            compiled = torch.compile(model, backend="eager")
        else:
            (model if how == "method" else model.blocks[0]).compile(backend="eager")
        before = compiled(images)
        with (
            pytest.warns(UserWarning, match="is compiled, and runs eagerly while it is recorded"),
            record(compiled) as maps,
        ):
            assert torch.equal(compiled(images), eager)
        assert list(maps) == [0] and maps[0].shape[1] == 2
        assert torch.equal(compiled(images), before)
        maps.clear()
        compiled(images)
    assert not maps and not any(recorders(model))
    with warnings.catch_warnings(), record(small("ViT")):
        warnings.simplefilter("error")


@pytest.mark.filterwarnings("ignore:Dynamo detected a call")  # of the check of arguments
def test_a_compiled_function_around_the_model_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small("ViT").eval()
    images = images_for(model)
    compiled = torch.compile(lambda x: model(x) + 0, backend="eager")
    compiled(images)
    with record(model) as maps:
        compiled(images)
    assert len(maps) == len(model.blocks)

    outputs = []
    with contextlib.suppress(ConfigError):  # where PyTorch does not leave the whole to Python
        outputs = torch.compile(vitrail.Recorder(model), backend="eager")(images)
    assert all(map(torch.equal, outputs, vitrail.Recorder(model)(images)))

    def refuse(_stance: str) -> None:  # as PyTorch does within what it compiles
        raise RuntimeError("cannot be called in a torch.compile region")

    monkeypatch.setattr(torch.compiler, "set_stance", refuse)
    with pytest.raises(ConfigError, match="within what torch.compile compiles"), record(model):
        pass
    torch.compiler.reset()


def test_a_copy_has_no_recorder() -> None:
    model = small("ViT")
    images = images_for(model)
    with record(model, gradients=True) as maps:
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        copies = [
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(buffer, weights_only=False),
        ]
        expected = model(images)
        kept = dict(maps)
        for each in copies:
            assert not any(recorders(each))
            assert torch.equal(each(images), expected)
        assert all(maps[key] is kept[key] for key in kept), "a copy has recorded"
        assert all(recorders(model))


def test_nothing_is_left_after_an_error_in_the_middle_of_a_forward() -> None:
    model = small("ViT")
    images = images_for(model)
    expected = model(images)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    handle = model.blocks[1].register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError), record(model, gradients=True), record(model):
        model(images)
    handle.remove()
    assert not any(recorders(model))
    assert torch.equal(model(images), expected)


def test_nothing_without_values_is_recorded() -> None:
    model = small("ViT")
    with record(model) as maps:
        torch.export.export(model, (images_for(model),))
        with pytest.raises(ConfigError, match="nothing can be recorded within torch.func.vmap"):
            torch.func.vmap(lambda image: model(image[None]))(images_for(model))
    assert not maps and not any(recorders(model))
