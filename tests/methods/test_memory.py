"""Learnable memory: equal to vit-pytorch's adapter, and the frozen model stays what it is."""

import pytest
import torch

from parity.from_vit_pytorch import fill_mlp, fill_plain
from parity.oracle import close, randomise
from tests.models.small import small
from vitrail.errors import ConfigError, TierError
from vitrail.methods.base import Batch
from vitrail.methods.memory import LearnableMemory

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_equals_the_original() -> None:
    """Where their memory, which enters after the norm, is ours after it."""
    from vit_pytorch import learnable_memory_vit

    method = LearnableMemory(small("ViT", norm_eps=1e-5), memories=3, num_classes=4)
    randomise(method)
    model, adapter, dim = method.backbone, method.adapter, method.backbone.dim
    names = ("image_size", "patch_size", "num_classes", "dim", "depth", "heads", "mlp_dim")
    vit = learnable_memory_vit.ViT(**{k: model.config[k] for k in names}, dim_head=dim // 2)
    with torch.no_grad():
        fill_plain(vit, model)
        for mine, (attention, mlp) in zip(model.blocks, vit.transformer.layers, strict=True):
            attention.norm.load_state_dict(mine.norm1.state_dict())
            q, kv = mine.mixer.qkv.weight.split((dim, 2 * dim))
            attention.to_q.weight.copy_(q)
            attention.to_kv.weight.copy_(kv)
            mine.mixer.qkv.bias.zero_()
            attention.to_out[0].load_state_dict(mine.mixer.proj.state_dict())
            fill_mlp(mlp, mine.norm2, mine.mlp)
        theirs = learnable_memory_vit.Adapter(vit=vit, num_classes=4, num_memories_per_layer=3)
        theirs.memory_cls_token.copy_(adapter.class_token.weight[0, 0])
        theirs.mlp_head[0].load_state_dict(adapter.norm.state_dict())
        theirs.mlp_head[1].load_state_dict(adapter.head.state_dict())
        method, theirs = method.double(), theirs.double()
        for i, (block, memory) in enumerate(zip(model.blocks, adapter.memories, strict=True)):
            theirs.memories_per_layer[i] = block.norm1(memory.weight)[0]
        close(method.classifier(model)(IMAGES.double()), theirs(IMAGES.double()), 1e-9)


@pytest.mark.parametrize(
    "more", [{}, {"position": "rope", "registers": 2}, {"residual_rope": True}]
)
def test_the_frozen_tokens_are_what_they_are_without_the_task(more: dict[str, object]) -> None:
    model = small("ViT", **more).double()
    images, before = IMAGES.double(), {k: v.clone() for k, v in model.state_dict().items()}
    logits, outputs = model(images), model.intermediates(images, [-1])[0]
    methods = [LearnableMemory(model, memories=2, num_classes=n).double() for n in (3, 4)]
    tokens: list[torch.Tensor] = []
    handle = model.blocks[-1].register_forward_hook(lambda *call: tokens.append(call[-1]))
    for method in methods:
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
        method.train()(Batch(images=images, labels=torch.tensor([0, 1, 2]))).loss.backward()
        assert [n for n, p in method.adapter.named_parameters() if not p.grad.any()] == []
        optimizer.step()
    handle.remove()
    for own in tokens:
        close(own[:, 3:], torch.cat([outputs.prefix, outputs.patches], 1), 1e-12)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(model(images), logits) and not model.training
    assert [m.classifier(model)(images).shape[1] for m in methods] == [3, 4]


def test_without_classes_of_its_own_the_task_takes_those_of_the_model() -> None:
    model = small("ViT")
    method = LearnableMemory(model)
    assert method.classifier(model)(IMAGES).shape == (3, 5) and model.num_classes == 0
    with pytest.raises(ConfigError, match="needs classes: give num_classes"):
        LearnableMemory(model)
    with pytest.raises(TierError, match="needs a ViT model, and DeiT is none"):
        LearnableMemory(small("DeiT"))
