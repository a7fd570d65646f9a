"""DINO: on every model, who sees what, what moves when, and that it does not collapse."""

import math
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from tests.models.small import CASES, IDS, small
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.registry import open_dataset
from vitrail.data.transforms import AugmentConfig, MultiCrop, MultiCropConfig
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.methods.base import Batch
from vitrail.methods.dino import DINO
from vitrail.methods.dino_losses import Center, region_cross_entropy
from vitrail.methods.ema_teacher import EMATeacher
from vitrail.methods.heads import Prototypes
from vitrail.models.base import Backbone
from vitrail.models.parameters import undecayed
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone
from vitrail.models.vit import ViT
from vitrail.preprocess import Preprocess
from vitrail.train.knn import knn

SMALL: dict[str, Any] = {"out_dim": 16, "head_dims": (24, 8)}


def crops(model: Backbone, batch: int = 3, local: int = 2) -> list[Tensor]:
    """Two of the model's size and others of about half of it, in whole patches and cells."""
    size = model.image_size
    with torch.no_grad():
        embedded = model.eval().embed(torch.zeros(1, model.channels, *size))
        grids = [g for g in (embedded.grid, model.encode(embedded).grid) if len(g) == len(size)]
    half = []
    for axis, side in enumerate(size):
        cell = math.lcm(*(side // g[axis] for g in grids if side % g[axis] == 0))
        half.append(max(side // 2 // cell, 1) * cell)
    return [torch.randn(batch, model.channels, *x) for x in [size] * 2 + [half] * local]


@pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)
def test_every_model_takes_a_step(name: str, more: dict[str, Any]) -> None:
    """With the loss on patches where the tier allows it; else it says that it does not."""
    model, settings = small(name, **more), {**SMALL, "patch_weight": 1.0, "shared_head": False}
    dropping = name == "NaViT" and more.get("token_dropout", model.config.get("token_dropout"))
    if not isinstance(model, SequenceBackbone | PyramidBackbone):
        with pytest.raises(TierError, match="set patch_weight=0"):
            DINO(model, **settings)
        settings["patch_weight"] = 0.0
    try:
        method = DINO(model, **settings).train()
    except ConfigError as problem:
        assert "pixels do not divide into" in str(problem)
        method = DINO(model, **SMALL).train()
    images = crops(model)
    method.train()
    if dropping and method.patch_weight:
        with pytest.raises(TierError, match="set its token_dropout=0"):
            method(Batch(crops=tuple(images)))
        method = DINO(model, **SMALL).train()
    loss, metrics = method(Batch(crops=tuple(images)))
    loss.backward()
    assert loss.isfinite() and all(value.isfinite() for value in metrics.values())
    assert [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(p.grad is None for p in method.teacher.parameters())


class TestWhoSeesWhat:
    def test_the_student_sees_all_crops_and_the_teacher_the_global_ones(self) -> None:
        method = DINO(small("ViT"), **SMALL).train()
        seen: dict[str, list[Any]] = {"student": [], "teacher": []}
        for who, model in (("student", method.backbone), ("teacher", method.result())):
            model.patch_embed.register_forward_pre_hook(
                lambda _, given, who=who: seen[who].append(given[0])
            )
        sides = (32, 32, 16, 16, 24, 16)
        images = [torch.randn(3, 3, side, side) for side in sides]
        method(Batch(crops=tuple(images)))
        together = [images[:2], images[2:4], images[4:5], images[5:]]
        assert [x.shape for x in seen["student"]] == [torch.cat(t).shape for t in together]
        assert all(map(torch.equal, seen["student"], map(torch.cat, together)))
        assert len(seen["teacher"]) == 1 and torch.equal(seen["teacher"][0], torch.cat(images[:2]))

    def test_a_view_is_not_compared_with_itself(self) -> None:
        method = DINO(small("ViT"), **SMALL).train()
        one, two = torch.randn(2, 3, 3, 32, 32)
        one.requires_grad_()
        with torch.no_grad():
            told = method.teacher.head(method.result()(torch.cat([one, two]))).div(0.04).softmax(-1)
        first, second = told.chunk(2)
        loss, _ = method(Batch(crops=(one, two)))
        logits = method.head(method.backbone(one)) / 0.1
        mine = -(second * logits.log_softmax(-1)).sum(-1).mean() / 2
        torch.testing.assert_close(*(torch.autograd.grad(x, one)[0] for x in (loss, mine)))
        assert not torch.allclose(first, second)

    @pytest.mark.parametrize("model", ["ViT", "Swin"])
    def test_hidden_pixels_do_not_leak(self, model: str) -> None:
        method = DINO(small(model), **SMALL, patch_weight=1.0, mask_ratio=0.5).train()
        images = [x.requires_grad_() for x in crops(method.backbone, local=0)]
        mask = method.sample_mask(6)
        method(Batch(crops=tuple(images), patch_mask=mask)).loss.backward()
        slopes = torch.cat([x.grad for x in images]).abs().sum(1)
        grid, cell = method.layout.grid, method.layout.cell
        places = slopes.unflatten(1, (grid[0], cell[0])).unflatten(3, (grid[1], cell[1]))
        by_place = places.sum((2, 4)).flatten(1)
        assert (by_place[mask] == 0).all() and (by_place[~mask] > 0).all()

    def test_what_is_no_list_of_crops_is_refused(self) -> None:
        method, images = DINO(small("ViT"), **SMALL), torch.randn(3, 3, 32, 32)
        for wrong in ((), (images,)):
            with pytest.raises(ConfigError, match="DINO compares crops"):
                method(Batch(crops=wrong))
        with pytest.raises(DataError, match="does not divide into patches"):
            method(Batch(crops=(images, images, torch.randn(3, 3, 15, 15))))

    def test_agreement_is_between_the_two_global_crops(self) -> None:
        """A student that equals its teacher agrees with it on a crop, not on another one."""
        torch.manual_seed(0)
        method = DINO(small("ViT"), out_dim=64, head_dims=(24, 8)).eval()
        images = [torch.randn(64, 3, 32, 32) for _ in range(2)]
        agreement = method(Batch(crops=tuple(images))).metrics["agreement"].item()
        features = [method.backbone.pool(method.backbone.features(x)) for x in images]
        first, second = (method.head(x).argmax(-1) for x in features)
        assert agreement == pytest.approx((first == second).double().mean().item())
        assert agreement < 1


class TestWhatMoves:
    def test_the_teacher_is_an_average_that_nothing_else_moves(self) -> None:
        method = DINO(small("ViT"), **SMALL, momentum=0.9).train()
        mine = [p.clone() for p in method.teacher.parameters()]
        students = [p for n in ("backbone", "head") for p in getattr(method, n).parameters()]
        for parameter in students:
            parameter.data.add_(torch.randn_like(parameter))
        method.before_step(0.5)  # 1 − (1 − 0.9) / 2
        method.after_step()
        now = list(method.teacher.parameters())
        for new, old, student in zip(now, mine, students, strict=True):
            torch.testing.assert_close(new, 0.95 * old + 0.05 * student)
        assert not any(p.requires_grad for p in now)

    def test_only_the_student_drops(self) -> None:
        method = DINO(small("ViT", dropout=0.5, drop_path=0.5), **SMALL).train()
        x = torch.randn(3, 3, 32, 32)
        teacher = method.result()
        assert torch.equal(teacher(x), teacher(x))
        assert not torch.equal(method.backbone(x), method.backbone(x))

    def test_batch_norms_of_the_teacher_count_for_themselves(self) -> None:
        norm = nn.BatchNorm1d(4)
        teacher = EMATeacher({"norm": norm})
        x = torch.randn(8, 4) * 3 + 1
        copy = teacher.get_submodule("norm")
        torch.testing.assert_close(copy(x), norm(x))
        torch.testing.assert_close(copy.running_mean, 0.1 * x.mean(0))
        teacher.eval()
        copy(x)
        torch.testing.assert_close(copy.running_mean, 0.1 * x.mean(0))
        assert teacher.train().training and copy.training

    def test_prototypes_rest_first(self) -> None:
        method = DINO(small("ViT"), **SMALL, freeze_last=0.2).train()
        optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad])
        weight = method.head.last.weight

        def turned(progress: float) -> float:
            before = nn.functional.normalize(weight.detach(), dim=1)
            method.before_step(progress)
            optimizer.zero_grad()
            method(Batch(crops=tuple(crops(method.backbone)))).loss.backward()
            optimizer.step()
            return float((before - nn.functional.normalize(weight.detach(), dim=1)).abs().max())

        assert turned(0.0) < 1e-6 and turned(0.19) < 1e-6
        assert not weight.grad.any()
        assert turned(0.2) > 1e-4

    def test_lengths_of_prototypes_change_nothing(self) -> None:
        layer = Prototypes(8, 5)
        layer.reset_parameters()
        x = nn.functional.normalize(torch.randn(6, 8), dim=1)
        out = layer(x)
        layer.weight.data.mul_(torch.rand(5, 1) + 0.5)
        torch.testing.assert_close(layer(x), out)
        assert out.abs().max() <= 1

    def test_temperature_rises_and_stays(self) -> None:
        method = DINO(small("ViT"), **SMALL)
        expected = {0.0: 0.04, 0.15: 0.055, 0.3: 0.07, 0.9: 0.07}
        for progress, temperature in expected.items():
            method.before_step(progress)
            assert method.temperature == pytest.approx(temperature)

    def test_the_centre_moves_in_training_and_after_its_use(self) -> None:
        method, images = DINO(small("ViT"), **SMALL).train(), crops(small("ViT"))
        with torch.no_grad():
            logits = method.teacher.head(method.result()(torch.cat(images[:2])))
            first = method(Batch(crops=tuple(images))).loss
            torch.testing.assert_close(method.center.value, 0.1 * logits.mean(0))
            second = method(Batch(crops=tuple(images))).loss
            assert first != second
            method.eval()
            held = method.center.value.clone()
            method(Batch(crops=tuple(images)))
            assert torch.equal(method.center.value, held)


def test_lengths_and_videos_are_crops_too() -> None:
    for more in ({"image_size": (64,), "channels": 2}, {"image_size": (4, 16, 16)}):
        patch = {"patch_size": (2, 8, 8)} if len(more["image_size"]) == 3 else {}
        model = small("ViT", **more, **patch)
        loss, _ = DINO(model, **SMALL, patch_weight=1.0).train()(Batch(crops=tuple(crops(model))))
        assert loss.isfinite()


@pytest.mark.parametrize("patch_weight", [0.0, 1.0])
def test_precision(patch_weight: float) -> None:
    method = DINO(small("ViT"), **SMALL, patch_weight=patch_weight).train()
    images = crops(method.backbone)
    mask = method.sample_mask(6) if patch_weight else None
    with torch.no_grad():
        exact = method(Batch(crops=tuple(images), patch_mask=mask)).loss
        method.center.value.zero_()
        if patch_weight:
            method.patch_center.value.zero_()
        with torch.autocast("cpu", torch.bfloat16):
            half = method(Batch(crops=tuple(images), patch_mask=mask)).loss
        assert half.dtype == exact.dtype == torch.float32
        torch.testing.assert_close(half, exact, rtol=0.05, atol=0)
        wide = method.double()(Batch(crops=tuple(x.double() for x in images), patch_mask=mask)).loss
    assert wide.dtype == torch.float64


def test_the_state_comes_back(tmp_path: Any) -> None:
    settings = {**SMALL, "patch_weight": 1.0}
    one, other = (DINO(small("ViT"), **settings).train() for _ in range(2))
    images, mask = crops(one.backbone), one.sample_mask(6)
    one(Batch(crops=tuple(images)))
    one.after_step()
    safetensors.torch.save_file(one.state_dict(), tmp_path / "x.safetensors")
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "x.safetensors"))
    with torch.no_grad():
        assert torch.equal(
            one(Batch(crops=tuple(images), patch_mask=mask)).loss,
            other(Batch(crops=tuple(images), patch_mask=mask)).loss,
        )
    kept = {name.partition(".")[0] for name in one.state_dict()}
    assert kept == {"backbone", *DINO.training_only} - {
        "patch_head",
        "region_head",
        "region_center",
    }
    assert one.result() is one.teacher.backbone and one.classifier(one.result()) is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"out_dim": 1}, "out_dim=1 is not a whole number of at least 2"),
        ({"student_temperature": 0.0}, "temperature=0.0 is not"),
        ({"teacher_temperature": (0.04, -1.0)}, "teacher_temperature=.* is not"),
        ({"momentum": 1.5}, "momentum=1.5 is not a number of at least 0 and at most 1"),
        ({"center_momentum": -0.1}, "center_momentum=-0.1 is not"),
        ({"freeze_last": 2}, "freeze_last=2 is not"),
        ({"warmup_temperature": -1}, "warmup_temperature=-1 is not"),
        ({"patch_weight": -1.0}, "patch_weight=-1.0 is not"),
        ({"patch_weight": 1.0, "mask_ratio": 0.0}, "masks none"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        DINO(small("ViT"), **{**SMALL, **settings})


def test_a_head_for_both_needs_one_width() -> None:
    with pytest.raises(ConfigError, match="set shared_head=False"):
        DINO(small("ViT", pool="cls_mean"), **SMALL, patch_weight=1.0)


Clothes = tuple[Tensor, Tensor, Preprocess]


@pytest.fixture(scope="module")
def clothes() -> Clothes:
    try:
        source = open_dataset("fashion-mnist", "train")
    except DataError as problem:
        pytest.skip(str(problem))
    assert isinstance(source, InMemoryDataset)
    preprocess = Preprocess((28, 28), None, "bilinear", *source.statistics)
    return source.images[:4000], torch.tensor(source.targets()[:4000]), preprocess


class TestCollapse:
    """A short run on 2,000 pictures of clothes, and what happens without what prevents collapse."""

    PROTOTYPES = 256

    def run(self, clothes: Clothes, steps: int, **settings: Any) -> tuple[DINO, dict[str, float]]:
        """The method after training on the first half, and its last ten steps' mean metrics."""
        images, _, preprocess = clothes
        model = ViT(28, 7, 10, 64, 2, 4, 128, channels=1, pool="mean")
        common = {"momentum": 0.98, "teacher_temperature": (0.04, 0.04), "freeze_last": 0.0}
        method = DINO(model, self.PROTOTYPES, (128, 32), **{**common, **settings}).train()
        crops = MultiCropConfig(2, 14, (0.6, 1.0), (0.2, 0.6), (0.0,) * 3, (0.0,) * 3)
        make = MultiCrop(AugmentConfig(jitter=0.4), crops, preprocess)
        learned = [p for p in method.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=2e-3, weight_decay=0.04)
        lines = []
        for step in range(steps):
            method.before_step(step / steps)
            some = torch.randint(2000, (32,))
            batch_crops = make(images[some], torch.full((32, 2), 28), seed=step)
            loss, metrics = method(Batch(crops=batch_crops))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_step()
            lines.append(metrics)
        return method, {k: sum(float(m[k]) for m in lines[-10:]) / 10 for k in lines[0]}

    def neighbours(self, model: Backbone, clothes: Clothes) -> float:
        """How many of the second half the first half names."""
        images, labels, preprocess = clothes
        with torch.no_grad():
            known, asked = model.eval()(preprocess.normalise(images)).chunk(2)
        answers = knn(known, labels[:2000], asked, 10).argmax(1)
        return (answers == labels[2000:]).float().mean().item()

    def test_answers_differ_and_neighbours_agree(self, clothes: Clothes) -> None:
        fresh, _ = self.run(clothes, 1)
        method, means = self.run(clothes, 100)
        most = math.log(self.PROTOTYPES)
        assert 0.5 * most < means["mean_entropy"] < most
        assert means["teacher_entropy"] < min(means["mean_entropy"] - 0.2, 0.9 * most)
        before, after = (self.neighbours(m.result(), clothes) for m in (fresh, method))
        assert after > before + 0.015

    @pytest.mark.parametrize(
        ("settings", "collapsed"),
        [
            ({"center_momentum": 1.0}, 0.0),  # no center: one prototype takes all
            ({"teacher_temperature": (0.2, 0.2)}, math.log(PROTOTYPES)),  # not sharper: uniform
        ],
        ids=["no center", "not sharp"],
    )
    def test_both_ways_to_collapse_show(
        self,
        clothes: Clothes,
        settings: dict[str, Any],
        collapsed: float,
    ) -> None:
        _, told = self.run(clothes, 80, momentum=0.9, **settings)
        for entropy in ("mean_entropy", "teacher_entropy"):
            assert told[entropy] == pytest.approx(collapsed, abs=0.1)


def test_a_batch_is_centered_before_the_center_moves() -> None:
    center, logits = Center(3, momentum=0.9).train(), torch.randn(4, 3) * 3
    torch.testing.assert_close(center(logits, 0.5), (logits / 0.5).softmax(-1))
    moved = 0.1 * logits.mean(0)
    torch.testing.assert_close(center.value, moved)
    torch.testing.assert_close(center(logits, 0.5), ((logits - moved) / 0.5).softmax(-1))


def test_the_mask_token_starts_from_zeros_and_is_decayed() -> None:
    """As in iBOT's code, whose `masked_embed` is a matrix of zeros."""
    method = DINO(small("ViT"), **SMALL, patch_weight=1.0)
    assert not method.mask_token.weight.any()
    assert "mask_token.weight" not in undecayed(method)


class TestRegions:
    """EsViT's loss."""

    @pytest.mark.parametrize("model", ["ViT", "Swin", "CvT"])
    def test_it_is_the_mean_over_pairs_of_the_authors_formula(self, model: str) -> None:
        settings = {**SMALL, "region_weight": 0.5, "teacher_temperature": (0.05, 0.05)}
        method = DINO(small(model), **settings)
        images = [crop.double() for crop in crops(method.backbone)]
        method.double().eval()  # CvT's batch norms would depend on which crops are together
        method.region_center.value.normal_()
        center, teacher = method.region_center.value.clone(), method.teacher
        with torch.no_grad():
            told = [teacher.backbone.features(x).patches for x in images[:2]]
            probs = [((teacher.region_head(x) - center) / 0.05).softmax(-1) for x in told]
        losses = []
        for i, crop in enumerate(images):
            own = method.backbone.features(crop).patches
            logs = (method.region_head(own) / 0.1).log_softmax(-1)
            for j in range(2):
                if i == j:
                    continue
                cosines = torch.cosine_similarity(own[:, :, None], told[j][:, None], dim=-1)
                nearest = cosines.argmax(-1)
                each = [probs[j][b, nearest[b]] * logs[b] for b in range(len(own))]
                losses.append(-torch.stack(each).sum(-1).mean())
        loss, metrics = method(Batch(crops=tuple(images)))
        torch.testing.assert_close(metrics["region_loss"], torch.stack(losses).mean())
        torch.testing.assert_close(loss, metrics["crop_loss"] + 0.5 * metrics["region_loss"])
        loss.backward()
        assert all(p.grad is not None for p in method.region_head.parameters())
        method.train()(Batch(crops=tuple(images)))
        assert not torch.equal(method.region_center.value, center)

    def test_equals_vit_pytorch_s_on_features_of_length_1(self) -> None:
        """Theirs does not normalize them."""
        from vit_pytorch.es_vit import region_loss_fn

        torch.manual_seed(0)
        student, teacher = torch.randn(3, 5, 8).double(), torch.randn(3, 7, 8).double()
        student_logits, teacher_logits = torch.randn(3, 5, 11), torch.randn(3, 7, 11)
        center = torch.randn(11).double()
        student, teacher = (nn.functional.normalize(x, dim=-1) for x in (student, teacher))
        theirs = region_loss_fn(
            teacher_logits.double(), student_logits.double(), teacher, student, 0.04, 0.9, center
        )
        probs = ((teacher_logits.double() - center) / 0.04).softmax(-1)
        ours = region_cross_entropy(student_logits.double() / 0.9, student, probs, teacher)
        assert abs(ours - theirs) <= 1e-9

    def test_masks_and_regions_do_not_go_together(self) -> None:
        with pytest.raises(ConfigError, match="set one of them to 0"):
            DINO(small("ViT"), **SMALL, patch_weight=1.0, region_weight=1.0)

    def test_the_region_head_is_taught_and_frozen_like_the_other(self) -> None:
        method = DINO(small("PatchMergerViT"), **SMALL, region_weight=1.0).train()
        assert set(method.student_modules) == {"backbone", "head", "region_head"}
        method.before_step(0.0)
        assert method.region_head.last.frozen and method.head.last.frozen
        method.before_step(0.5)
        assert not method.region_head.last.frozen
        assert all("region" not in name or name.split(".")[0] in method.training_only
                   for name, _ in method.named_parameters())  # fmt: skip


def test_a_model_in_half_precision_has_logits_in_single() -> None:
    method = DINO(small("ViT"), 16, (24, 8)).bfloat16()
    images = torch.randn(2, 3, 32, 32, dtype=torch.bfloat16)
    assert method(Batch(crops=(images, images.flip(3)))).loss.dtype == torch.float32
