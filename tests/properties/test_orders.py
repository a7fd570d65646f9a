"""The order of captions, prompts and classes changes the order of results, and nothing else."""

import functools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

import vitrail
from tests.properties.strategies import drawn, relative_error, seeds
from vitrail.data import InMemoryDataset
from vitrail.methods import CLIP, Batch

ROUNDING = 1e-4  # of logits that a scale of up to 100 multiplies
CONTEXT, END = 6, 40


def tokenizer(texts: Sequence[str]) -> Tensor:
    """Letters, an end token and padding."""
    rows = [[ord(letter) % END for letter in text[: CONTEXT - 1]] + [END] for text in texts]
    return torch.tensor([row + [0] * (CONTEXT - len(row)) for row in rows])


tokenizer.vocabulary, tokenizer.context, tokenizer.end = END + 1, CONTEXT, END  # type: ignore[attr-defined]


@functools.cache
def clip(loss: str) -> CLIP:
    """A small CLIP or SigLIP."""
    torch.manual_seed(0)
    backbone = vitrail.ViT(8, 4, 0, dim=8, depth=2, heads=2, mlp_dim=16)
    pool = "end" if loss == "softmax" else "last"
    sizes = {"embed_dim": 8, "text_dim": 8, "text_depth": 2, "text_heads": 2}
    return CLIP(backbone, tokenizer, loss, text_pool=pool, templates=("{}", "a {}"), **sizes).eval()


captions = st.lists(st.text("abcdefgh", min_size=1, max_size=4), min_size=2, max_size=7)


def images_for(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@drawn(12, texts=captions, seed=seeds, data=st.data())
def test_pairs_may_come_in_any_order(
    loss: str, texts: list[str], seed: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    images, method = images_for(len(texts), seed), clip(loss)
    with torch.no_grad():
        here = method(Batch(images=images, captions=tokenizer(texts)))
        there = method(
            Batch(images=images[order], captions=tokenizer([texts[i] for i in order]))
        )  # fmt: skip
        logits = method.logits(images, texts)
        permuted = method.logits(images[order], [texts[i] for i in order])
    assert abs(here.loss - there.loss) < ROUNDING * (1 + abs(here.loss))
    assert relative_error(permuted, logits[order][:, order]) < ROUNDING
    distinct = logits.detach().sort().values.diff().abs().min() > 1e-3 or len(set(texts)) < len(
        texts
    )
    if distinct:  # else rounding may choose between two captions
        assert here.metrics["top1"] == pytest.approx(float(there.metrics["top1"]))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@drawn(12, labels=captions, seed=seeds, data=st.data())
def test_prompts_may_come_in_any_order(
    loss: str, labels: list[str], seed: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(labels))))
    images, method = images_for(3, seed), clip(loss)
    with torch.no_grad():
        logits = method.zero_shot(labels)(images)
        permuted = method.zero_shot([labels[i] for i in order])(images)
        alone = method.zero_shot(labels[:1])(images)
    assert relative_error(permuted, logits[:, order]) < ROUNDING
    assert relative_error(alone, logits[:, :1]) < ROUNDING  # a class knows nothing of the others


@functools.cache
def classifier() -> vitrail.ViT:
    """A classifier whose predictions differ between images."""
    torch.manual_seed(0)
    model = vitrail.ViT(8, 4, 5, dim=16, depth=2, heads=2, mlp_dim=16).eval()
    torch.nn.init.normal_(model.head.weight)
    model.labels = ["ape", "bee", "cat", "dog", "élan"]
    return model


@drawn(10, order=st.permutations(range(5)), seed=seeds, count=st.integers(5, 12))
def test_classes_are_matched_by_name(order: list[int], seed: int, count: int) -> None:
    """The dataset has the classes in another order, and its indices are of that order."""
    model, names = classifier(), classifier().labels or []
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    targets = torch.randint(0, 5, (count,), generator=generator)
    place = {name: index for index, name in enumerate(names[i] for i in order)}
    moved = torch.tensor([place[names[target]] for target in targets.tolist()])
    here = vitrail.evaluate(model, InMemoryDataset(images, targets, names), split="all")
    there = vitrail.evaluate(
        model, InMemoryDataset(images, moved, [names[i] for i in order]), split="all"
    )
    assert here.labels == there.labels == names
    assert torch.equal(here.confusion(), there.confusion())
    assert here.top1 == there.top1
    assert here.loss == pytest.approx(there.loss, rel=1e-6)
