"""What overwrites its input: with the same bits, and never what a hook or a gradient reads."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.models.small import images_for, small
from vitrail.layers.conv import ConvNorm
from vitrail.layers.inplace import may_overwrite
from vitrail.layers.mlp import Mlp
from vitrail.layers.norm import BatchNorm2d


def mlp() -> tuple[nn.Module, nn.Module, nn.Module, Tensor]:
    module = Mlp(8, 16)
    return module, module.fc1, module.activation, torch.randn(2, 3, 8)


def conv_norm() -> tuple[nn.Module, nn.Module, nn.Module, Tensor]:
    module = ConvNorm(3, 8, activation=nn.ReLU()).eval()
    with torch.no_grad():
        for tensor in (module.norm.weight, module.norm.bias, module.norm.running_mean):
            tensor.normal_()
        module.norm.running_var.uniform_(0.5, 2)
    return module, module.conv, module.norm, torch.randn(2, 3, 6, 6)


Build = Callable[[], tuple[nn.Module, nn.Module, nn.Module, Tensor]]
every_pair = pytest.mark.parametrize("build", [mlp, conv_norm])


@every_pair
def test_the_output_has_the_same_bits_with_and_without_gradients(build: Build) -> None:
    module, producer, consumer, x = build()
    before = x.clone()
    expected = module(x)
    with torch.no_grad():
        hidden = producer(x)
        assert consumer(hidden, overwrite=True) is hidden
        assert torch.equal(module(x), expected)
    assert torch.equal(x, before)


@every_pair
def test_it_happens_without_gradients_and_hooks(build: Build) -> None:
    _, producer, consumer, _ = build()
    assert not may_overwrite(producer, consumer)
    with torch.no_grad():
        assert may_overwrite(producer, consumer)
        assert not may_overwrite(nn.Sequential(producer), consumer)
    with torch.inference_mode():
        assert may_overwrite(producer, consumer)


@every_pair
@pytest.mark.parametrize("place", ["after the producer", "before", "after", "global"])
@torch.no_grad()
def test_what_a_hook_stored_is_not_overwritten(build: Build, place: str) -> None:
    module, producer, consumer, x = build()
    expected = producer(x).clone()
    stored: list[Tensor] = []
    if place == "after the producer":
        handle = producer.register_forward_hook(lambda *call: stored.append(call[2]))
    elif place == "before":
        handle = consumer.register_forward_pre_hook(lambda *call: stored.append(call[1][0]))
    elif place == "after":
        handle = consumer.register_forward_hook(lambda *call: stored.append(call[1][0]))
    else:
        handle = nn.modules.module.register_module_forward_hook(
            lambda *call: stored.append(call[2]) if call[0] is producer else None
        )
    try:
        module(x)
    finally:
        handle.remove()
    assert len(stored) == 1
    assert torch.equal(stored[0], expected)


def test_a_batch_norm_in_training_or_in_mixed_precision_leaves_its_input_alone() -> None:
    x, norm = torch.randn(2, 4, 3, 3), BatchNorm2d(4)
    with torch.no_grad():
        assert norm(x, overwrite=True) is not x
        half = x.to(torch.bfloat16)
        before = half.clone()
        assert norm.eval()(half, overwrite=True) is not half
    assert torch.equal(half, before)


@pytest.mark.filterwarnings("ignore")  # jit is deprecated, and a trace warns of each size
@pytest.mark.parametrize("name", ["ViT", "DeepViT", "PVTv2", "LeViT", "EfficientViT", "CrossViT"])
@pytest.mark.parametrize("grad", [True, False])
def test_a_trace_passes_its_own_check_and_equals_the_model(name: str, grad: bool) -> None:
    model = small(name).eval()
    images = images_for(model)
    with torch.set_grad_enabled(grad):  # the check runs without, and compares the graphs
        traced = torch.jit.trace(model, images)
        assert torch.equal(traced(images), model(images))
