"""The probe measures what the recorder sees, of every model, and leaves nothing behind."""

import math
from typing import Any

import pytest
import torch

import vitrail
from tests.models.small import CASES, IDS, images_for, small
from vitrail.lens.health import Measures
from vitrail.train.monitor.measures import attention_entropy, self_attention_share
from vitrail.train.monitor.probe import Probe


def numbers(measures: Measures) -> list[float]:
    values = [value for parts in measures.values() for value in parts.values()]
    return [x for value in values for x in (value if isinstance(value, list) else [value])]


def hooks_of(model: torch.nn.Module) -> list[Any]:
    return [
        (dict(m._forward_hooks), dict(m._forward_pre_hooks), getattr(m, "recorder", None))
        for m in model.modules()
    ]


@pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)
def test_every_model_can_be_probed(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more).eval()
    images = images_for(model)
    before, hooks = {k: v.clone() for k, v in model.state_dict().items()}, hooks_of(model)
    measures = Probe(model)(images)
    assert all(map(math.isfinite, numbers(measures)))
    assert measures["activation_std"]
    assert len(measures["feature_rank"]) == len(model.blocks)
    assert hooks_of(model) == hooks
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_probe_measures_what_the_recorder_sees() -> None:
    model = vitrail.ViT(
        16, 4, num_classes=3, dim=16, depth=2, heads=2, mlp_dim=32, registers=1
    ).eval()
    images = torch.rand(4, 3, 16, 16)
    measures = Probe(model)(images)
    with vitrail.record(model) as maps, torch.no_grad():
        features = model.intermediates(images)
    assert measures["attention_entropy"]["block 1"] == attention_entropy(maps[1]).tolist()
    shares = self_attention_share(maps[0])
    assert shares is not None
    assert measures["attention_to_self"]["block 0"] == shares.tolist()
    last = features[-1]
    assert measures["patch_norm"]["block 1"] == last.patches.norm(dim=-1).mean().item()
    assert measures["prefix_norm"]["block 1"] == last.prefix.norm(dim=-1).mean().item()
    assert measures["activation_std"]["block 1"] == last.patches.std().item()


def test_the_outputs_of_heads_add_up_to_that_of_the_layer() -> None:
    """Of a single head it is the layer's output itself, less the bias."""
    model = vitrail.ViT(16, 4, num_classes=3, dim=8, depth=1, heads=1, mlp_dim=8).eval()
    outputs = []
    model.blocks[0].mixer.register_forward_hook(lambda _m, _i, out: outputs.append(out))
    measures = Probe(model)(torch.rand(2, 3, 16, 16))
    rest = outputs[0] - model.blocks[0].mixer.proj.bias
    expected = rest.norm(dim=-1).square().mean().sqrt().item()
    (size,) = measures["head_output"]["block 0"]  # type: ignore[misc]
    assert size == pytest.approx(expected, rel=1e-4)


def test_a_zeroed_head_and_dead_units_show() -> None:
    model = vitrail.ViT(16, 4, num_classes=3, dim=16, depth=2, heads=4, mlp_dim=32).eval()
    with torch.no_grad():
        model.blocks[1].mixer.proj.weight[:, 4:8] = 0
        model.blocks[0].mlp.fc1.bias[:8] = -10
    probe = Probe(model)
    measures = probe(torch.rand(2, 3, 16, 16))
    sizes = measures["head_output"]["block 1"]
    assert isinstance(sizes, list)
    assert [size == 0 for size in sizes] == [False, True, False, False]
    assert measures["dead_units"] == {"block 0": 0.25, "block 1": 0.0}
    model(torch.rand(2, 3, 16, 16)).sum().backward()
    gradient = model.blocks[1].mixer.proj.weight.grad
    parts = probe.gradients()["head_gradient"]["block 1"]
    assert isinstance(parts, list)
    assert parts[2] == pytest.approx(gradient[:, 8:12].norm().item(), rel=1e-5)


def test_scans_have_no_heads_and_pyramids_have_stages() -> None:
    vim = Probe(small("VisionMamba").eval())
    assert not vim.layers
    swin = Probe(small("Swin").eval())
    measures = swin(images_for(swin.model))
    assert next(iter(measures["activation_std"])) == "stage 0"
    assert next(iter(measures["attention_entropy"])) == "block 0"
