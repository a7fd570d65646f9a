"""CLIP: both losses by the papers' formulas, the text tower, zero-shot classifiers."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.small import small
from vitrail.data.text import Tokenizer
from vitrail.errors import ConfigError, DataError
from vitrail.methods.base import Batch
from vitrail.methods.clip import CLIP, TextTower
from vitrail.models.vit import ViT

NAMES = ["cat", "dog", "car", "house", "tree"]
TOKENIZER = Tokenizer.train([f"a photo of a {name}" for name in NAMES], 280, context=16)
TOWER: dict[str, Any] = {"embed_dim": 16, "text_dim": 24, "text_depth": 2, "text_heads": 2}


def made(**settings: Any) -> CLIP:
    return CLIP(small("ViT", num_classes=0), TOKENIZER, **{**TOWER, **settings}).double()


def batch(count: int = 5) -> tuple[Tensor, Tensor]:
    texts = [f"a photo of a {NAMES[i % 5]} {i}" for i in range(count)]
    return torch.randn(count, 3, 32, 32).double(), TOKENIZER(texts)


def features(method: CLIP, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors, as the papers' pseudo-code has them."""
    backbone = method.backbone
    image = backbone.pool(backbone.features(images)) @ method.image_proj.weight.T
    text = method.text(ids)
    return image / image.norm(dim=1, keepdim=True), text / text.norm(dim=1, keepdim=True)


def test_the_softmax_loss_is_the_papers() -> None:
    method, (images, ids) = made(), batch()
    image, text = features(method, images, ids)
    scores = image @ text.T * method.log_scale.exp()
    right = torch.arange(5)
    wanted = (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
    loss, metrics = method(Batch(images=images, captions=ids))
    assert abs(loss - wanted) <= 1e-9
    assert metrics["scale"] == pytest.approx(1 / 0.07)
    assert metrics["top1"].item() == pytest.approx(
        (scores.argmax(1) == right).float().mean().item()
    )


@pytest.mark.parametrize("share", [True, False])
def test_the_sigmoid_loss_is_the_papers(share: bool) -> None:
    method, (images, ids) = made(share=share, loss="sigmoid"), batch()
    image, text = features(method, images, ids)
    signs = 2 * torch.eye(5).double() - 1
    scores = method.log_scale.exp() * image @ text.T - 10
    wanted = torch.log(1 + torch.exp(-signs * scores)).sum() / 5
    assert method.log_scale.exp().item() == pytest.approx(10)
    assert abs(method(Batch(images=images, captions=ids)).loss - wanted) <= 1e-9


def test_captions_that_are_equal_share_their_images() -> None:
    images, ids = batch()
    ids[3] = ids[1]
    right = torch.eye(5).double()
    right[1, 3] = right[3, 1] = 1
    shared, alone = (made(loss="sigmoid", share=share) for share in (True, False))
    alone.load_state_dict(shared.state_dict())
    logits = shared.logits(images, ids)
    wanted = -(right * F.logsigmoid(logits) + (1 - right) * F.logsigmoid(-logits)).sum() / 5
    assert abs(shared(Batch(images=images, captions=ids)).loss - wanted) <= 1e-9
    assert abs(alone(Batch(images=images, captions=ids)).loss - wanted) > 0.1
    # The softmax is the same as one that wants equal parts for all that are right.
    method = made()
    per_image, per_text = method.pair_logits(images, ids)
    assert torch.equal(per_image, method.logits(images, ids)) and torch.equal(per_text, per_image.T)
    logits, parts = method.logits(images, ids), right / right.sum(1, keepdim=True)
    wanted = -(parts * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum() / 10
    assert abs(method(Batch(images=images, captions=ids)).loss - wanted) <= 1e-9


def test_the_text_tower_looks_back_only_and_reads_the_end() -> None:
    tower, ids = made().text, TOKENIZER([f"a photo of a cat {i}" for i in range(3)])
    before = tower(ids)
    end = (ids == TOKENIZER.end).int().argmax(1)
    assert len(set(end.tolist())) == 1 and end[0] < 14
    behind = ids.clone()
    behind[:, end[0] + 1 :] = 5
    assert torch.equal(tower(behind), before), "what stands behind the end is read"
    assert torch.equal(tower(ids[:, : end[0] + 1]), before)
    padded = ids.clone()
    padded[:, end[0] :] = TOKENIZER.end  # padding that looks like the end, as transformers has it
    assert torch.equal(tower(padded), before)
    for place in range(end[0]):
        changed = ids.clone()
        changed[:, place] = 7
        assert (tower(changed) - before).abs().max() > 1e-6, place
    longer = torch.cat([ids, TOKENIZER(["a photo of a cat in a tree"])])  # and so is the batch
    torch.testing.assert_close(tower(longer)[:3], before)


def test_the_other_tower_looks_both_ways_and_reads_the_last() -> None:
    tower, (_, ids) = made(text_pool="last").text, batch(3)
    before = tower(ids)
    for place in range(16):
        changed = ids.clone()
        changed[:, place] = 7
        assert (tower(changed) - before).abs().max() > 1e-6, place
    assert tower.proj.bias is not None and made().text.proj.bias is None
    with pytest.raises(ConfigError, match="captions of 17 tokens are longer than the context, 16"):
        tower(ids.new_zeros(1, 17))


def test_the_temperature_stays_below_100() -> None:
    for loss, highest in (("softmax", math.log(100)), ("sigmoid", 9.0)):
        method = made(loss=loss)
        with torch.no_grad():
            method.log_scale.fill_(9.0)
        method.after_step()
        assert method.log_scale.item() == pytest.approx(highest)


def work(rank: int, folder: str, states: dict[str, Any]) -> None:
    """One of two processes: gradients of a step, as data-parallel training averages them."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    images, ids = torch.load(f"{folder}/batch.pt")
    for loss, state in states.items():
        method = made(loss=loss)
        method.load_state_dict(state)
        wrapped = nn.parallel.DistributedDataParallel(method)
        mine = slice(3 * rank, 3 * rank + 3)
        wrapped(Batch(images=images[mine], captions=ids[mine])).loss.backward()
        slopes = {n: p.grad for n, p in method.named_parameters()}
        torch.save(slopes, f"{folder}/{loss}{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_learn_as_one(tmp_path: Path) -> None:
    images, ids = batch(6)
    ids[4] = ids[1]  # twins in two processes
    torch.save((images, ids), tmp_path / "batch.pt")
    methods = {loss: made(loss=loss) for loss in ("softmax", "sigmoid")}
    states = {loss: method.state_dict() for loss, method in methods.items()}
    start = "spawn" if torch.accelerator.is_available() else "fork"
    mp.start_processes(work, (str(tmp_path), states), nprocs=2, start_method=start)
    for loss, method in methods.items():
        method(Batch(images=images, captions=ids)).loss.backward()
        slopes = torch.load(tmp_path / f"{loss}1.pt")
        for name, parameter in method.named_parameters():
            torch.testing.assert_close(slopes[name], parameter.grad, rtol=0, atol=1e-9)


def test_half_precision_leaves_the_logits_exact() -> None:
    method, (images, ids) = made().float(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        assert method.encode_image(images.float()).dtype == torch.float32
        logits = method.logits(images.float(), ids)
        loss = method(Batch(images=images.float(), captions=ids)).loss
    assert (logits.dtype, loss.dtype) == (torch.float32, torch.float32)
    assert logits.bfloat16().float().ne(logits).any()


def test_zero_shot_is_the_mean_of_prompts() -> None:
    method = made(templates=("a photo of a {}.", "one {}"))
    images = batch(2)[0]
    text = torch.stack(
        [
            method.encode_text([f"a photo of a {n}.", f"one {n}"]).mean(0)
            for n in ("tree house", "dog")
        ]
    )
    text = text / text.norm(dim=1, keepdim=True)
    wanted = method.encode_image(images) @ text.T / 0.07
    classifier = method.zero_shot(["tree_house", "dog"])
    torch.testing.assert_close(classifier(images), wanted)
    assert not torch.allclose(method.zero_shot(["tree_house", "dog"], ["{}"])(images), wanted)
    assert method.classifier(method.backbone) is None
    other = small("ViT", num_classes=0).double()
    other.labels = ["tree_house", "dog"]
    mine = method.classifier(other)
    assert mine.backbone is other and mine(images).shape == (2, 2)
    assert not torch.allclose(mine(images), wanted)
    cosines = method.similarity(images, ["a dog", "a cat", "a tree"])
    assert cosines.shape == (2, 3) and cosines.abs().max() <= 1


def test_a_string_is_one_text() -> None:
    """And never its letters."""
    method, images = made().float(), torch.randn(2, 3, 32, 32)
    assert torch.equal(method.encode_text("a cat"), method.encode_text(["a cat"]))
    assert torch.equal(method.similarity(images, "a cat"), method.similarity(images, ["a cat"]))
    one = method.zero_shot("cat", "a photo of a {}")
    assert torch.equal(one.directions, method.zero_shot(["cat"], ["a photo of a {}"]).directions)
    two = method.zero_shot(["cat", "dog"], templates="a photo of a {}")
    assert two.directions.shape == (2, 16) and not torch.equal(*two.directions)
    with pytest.raises(ConfigError, match="templates='a photo of a {}' is not a tuple"):
        made(templates="a photo of a {}")


def test_texts_that_say_nothing() -> None:
    method = made()
    for call, message in (
        (lambda: method.zero_shot([]), r"labels=\[\] are no strings: give some, such as \['cat'"),
        (lambda: method.zero_shot({0: "cat"}), r"labels={0: 'cat'} are no strings"),
        (lambda: method.zero_shot(["cat"], []), r"templates=\[\] are no strings"),
        (lambda: method.zero_shot(["cat"], ["a photo"]), "template 'a photo' has no {}"),
        (lambda: method.encode_text([]), r"texts=\[\] are no strings: give some"),
        (lambda: method.encode_text(["cat", None]), r"texts=\['cat', None\] are no strings"),
        (lambda: method.encode_text(None), "texts=None are no strings"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2], r"captions of shape \(2,\) and torch.int64 are no ids: give int64"),
        ([[0.5]], r"captions of shape \(1, 1\) and torch.float32 are no ids"),
        ([[999]], "captions hold id 999, and the vocabulary has"),
        ([[-1]], "captions hold id -1"),
        ([[1, 1]], "a caption has no end, id .*: cut captions before it"),
    ],
)
def test_ids_that_are_none_are_one_line(ids: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        made().encode_text(torch.tensor(ids))


def test_no_ids_have_no_embeddings() -> None:
    assert made().encode_text(batch()[1][:0]).shape == (0, 16)


def test_without_a_projection_the_features_are_the_embedding() -> None:
    method, (images, ids) = made(embed_dim=0), batch()
    backbone = method.backbone
    pooled = F.normalize(backbone.pool(backbone.features(images)), dim=1)
    torch.testing.assert_close(method.encode_image(images), pooled)
    assert method.encode_text(ids).shape == (5, backbone.pooled_dim)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_it_learns_what_goes_with_what(loss: str) -> None:
    backbone = ViT(8, 4, 0, dim=32, depth=1, heads=2, mlp_dim=32, channels=1, pool="mean")
    method = CLIP(backbone, TOKENIZER, loss=loss, **{**TOWER, "text_depth": 1})
    greys = torch.tensor([-2.0, 0.0, 2.0])[:, None, None, None].expand(3, 1, 8, 8)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        labels = torch.arange(12) % 3
        images = greys[labels] + 0.1 * torch.randn(12, 1, 8, 8)
        optimizer.zero_grad()
        captions = [f"a photo of a {NAMES[i]}" for i in labels]
        losses.append(method(Batch(images=images, captions=TOKENIZER(captions))).loss)
        losses[-1].backward()
        optimizer.step()
        method.after_step()
    assert losses[-1] < 0.7 * losses[0]
    assert method.zero_shot(NAMES[:3], ["one {}"])(greys).argmax(1).tolist() == [0, 1, 2]


def test_what_does_not_fit_is_told() -> None:
    for wrong, told in (
        ({"loss": "hinge"}, "loss='hinge' is not one of"),
        ({"text_pool": "first"}, "text_pool='first' is not one of"),
        ({"text_activation": "relu"}, "text_activation='relu' is not one of"),
        ({"text_heads": 5}, "dim=24 does not divide into heads=5"),
        ({"text_depth": 0}, "text_depth=0 is not a whole number of at least 1"),
        ({"templates": ("a dog",)}, "template 'a dog' has no {} for the label"),
        ({"templates": ()}, "templates are empty"),
        ({"tokenizer": "openai"}, "'openai' is not a function. Give the function itself: names"),
        ({"tokenizer": len}, "has no vocabulary: give a vitrail.data.text.Tokenizer"),
    ):
        settings = {"tokenizer": TOKENIZER, **TOWER, **wrong}
        with pytest.raises(ConfigError, match=told):
            CLIP(small("ViT"), **settings)
    TextTower(9, 4, None, 8, 1, 2, 8, 8, nn.GELU)  # needs no end
