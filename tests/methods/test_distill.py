"""Distillation: which head learns from whom, and a teacher who stays apart and as it is."""

import copy
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.small import small
from vitrail.errors import ConfigError, DataError
from vitrail.methods.base import Batch
from vitrail.methods.distill import Distill, distillation_loss
from vitrail.methods.frozen import convert_images
from vitrail.methods.supervised import Supervised
from vitrail.models.vit import ViT
from vitrail.preprocess import Preprocess

IMAGES, TARGETS = torch.randn(6, 3, 32, 32), torch.arange(6) % 5


class Fickle(nn.Module):
    """A teacher with all that training would change: dropout and batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 4),
            nn.BatchNorm2d(8),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(512, 5),
        )

    def forward(self, images: Tensor) -> SimpleNamespace:
        """Logits as transformers' models give them."""
        return SimpleNamespace(logits=self.layers(images))


def student() -> ViT:
    return small("ViT", pool="mean")  # type: ignore[return-value]


def test_the_teacher_stays_as_it_is() -> None:
    teacher = Fickle().train()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    method = Distill(student(), teacher).train()
    assert not teacher.training
    first, second = (method(Batch(images=IMAGES, labels=TARGETS)) for _ in range(2))
    assert first.loss == second.loss
    first.loss.backward()
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_the_teacher_is_no_part_and_comes_along() -> None:
    teacher, backbone = Fickle(), student()
    method = Distill(backbone, teacher)
    assert {n.partition(".")[0] for n in method.state_dict()} == {"backbone"}
    assert len(list(method.parameters())) == len(list(backbone.parameters()))
    assert not any(m is teacher for m in method.modules())
    method.double()
    assert teacher.layers[0].weight.dtype == torch.float64
    assert method(Batch(images=IMAGES.double(), labels=TARGETS)).loss.dtype == torch.float64


@pytest.mark.parametrize("model", ["DeiT", "LeViT", "PiT"])
def test_of_two_heads_each_has_its_own_source(model: str) -> None:
    backbone = small(model, **({"pool": "both"} if model == "PiT" else {}))
    images = torch.randn(4, backbone.channels, *backbone.image_size)
    answers, targets = torch.randn(2, 4, 5), torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])

    def gradients(answer: Tensor, labels: Tensor, alpha: float) -> dict[str, Tensor]:
        method = Distill(backbone, lambda _: answer, "soft", alpha=alpha).eval()
        backbone.zero_grad()
        method(Batch(images=images, labels=labels)).loss.backward()
        return {n: p.grad.clone() for n, p in backbone.head.named_parameters()}

    base = gradients(answers[0], targets[0], 0.5)
    other_teacher = gradients(answers[1], targets[0], 0.5)
    other_labels = gradients(answers[0], targets[1], 0.5)
    for name, gradient in base.items():
        taught = name.startswith("dist")
        assert torch.equal(gradient, other_labels[name]) == taught, name
        assert torch.equal(gradient, other_teacher[name]) != taught, name


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("model", ["DeiT", "LeViT", "PiT"])
def test_both_heads_learn_where_only_one_source_teaches(model: str, alpha: float) -> None:
    """A head that learned nothing would be half of every prediction."""
    backbone = small(model, **({"pool": "both"} if model == "PiT" else {}))
    images = torch.randn(4, backbone.channels, *backbone.image_size)
    answer = torch.randn(4, 5)
    loss = Distill(backbone, lambda _: answer, alpha=alpha, label_smoothing=0.0)(
        Batch(images=images, labels=torch.arange(4))
    ).loss
    targets = answer.argmax(1) if alpha else torch.arange(4)
    pooled = backbone.eval().pool(backbone.features(images))
    heads = [F.cross_entropy(logits, targets) for logits in backbone.head.each(pooled)]
    evaluated = Distill(backbone, lambda _: answer, alpha=alpha, label_smoothing=0.0).eval()
    got = evaluated(Batch(images=images, labels=torch.arange(4))).loss
    torch.testing.assert_close(got, sum(heads) / 2)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in backbone.head.parameters())


class Named(nn.Linear):
    """A teacher of classes with names, as transformers' models have them."""

    def __init__(self, *labels: str) -> None:
        super().__init__(3 * 32 * 32, len(labels))
        self.config = SimpleNamespace(id2label=dict(enumerate(labels)), num_labels=len(labels))

    def forward(self, images: Tensor) -> SimpleNamespace:
        """Logits as transformers' models give them."""
        return SimpleNamespace(logits=super().forward(images.flatten(1)))


def with_labels(*labels: str) -> ViT:
    backbone = small("ViT", num_classes=len(labels))
    backbone.labels = list(labels)
    return backbone  # type: ignore[return-value]


def test_a_teacher_s_classes_are_put_in_the_student_s_order() -> None:
    teacher = Named("Fox", "polar_bear", "dog")
    method = Distill(with_labels("dog", "fox", "polar bear"), teacher)
    answer = teacher(IMAGES).logits
    torch.testing.assert_close(method.teacher(IMAGES), answer[:, [2, 0, 1]])
    own = small("ViT", num_classes=2)
    own.labels = ["b", "a"]
    answer = own.eval()(IMAGES)
    torch.testing.assert_close(
        Distill(with_labels("a", "b"), own).teacher(IMAGES), answer[:, [1, 0]]
    )


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (("bus", "car"), "knows other classes, bus, car, and the images have cat, dog"),
        (("cat", "wolf"), "knows other classes, wolf, and the images have dog"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(theirs: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Distill(with_labels("cat", "dog"), Named(*theirs))


def test_the_classes_of_a_teacher_in_a_wrapper_are_known() -> None:
    teacher = Named("b", "a")
    for wrapped in (nn.DataParallel(teacher), torch.compile(teacher, backend="eager")):
        method = Distill(with_labels("a", "b"), wrapped)
        torch.testing.assert_close(method.teacher(IMAGES), teacher(IMAGES).logits[:, [1, 0]])


def test_two_classes_of_one_name_have_an_order_or_none() -> None:
    """ImageNet has two classes that are called crane."""
    student, answer = with_labels("crane", "Cat", "crane"), Named("crane", "cat", "crane")
    same = Distill(student, answer).teacher  # in the same order nothing is guessed
    output = same(IMAGES)
    assert torch.equal(getattr(output, "logits", output), answer(IMAGES).logits)
    with pytest.raises(ConfigError, match="'crane' is the name of two: give each class a name"):
        Distill(with_labels("cat", "crane", "crane"), answer)


def test_names_that_cannot_be_compared() -> None:
    words = Named("tench", "goldfish")
    with pytest.warns(UserWarning, match="calls its classes tench, goldfish, .* n01440764"):
        Distill(with_labels("n01440764", "n01443537"), words)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Distill(with_labels("cat", "dog"), Named("LABEL_0", "LABEL_1"))  # placeholders
        Distill(with_labels("cat", "dog"), Named("cat", "dog"))


def test_a_teacher_that_was_trained_meanwhile_stays_still() -> None:
    teacher = Fickle()
    method = Distill(student(), teacher)
    teacher.train()
    before = teacher.layers[1].running_mean.clone()
    method(Batch(images=IMAGES, labels=TARGETS))
    assert not teacher.training and torch.equal(teacher.layers[1].running_mean, before)


def test_one_head_learns_from_both() -> None:
    backbone, answer = student(), torch.randn(6, 5)
    logits = backbone(IMAGES)
    for kind in ("hard", "soft"):
        loss, metrics = Distill(
            backbone, lambda _: answer, kind, alpha=0.3, temperature=2.0, label_smoothing=0.0
        )(Batch(images=IMAGES, labels=TARGETS))
        likely, wanted = (logits / 2).softmax(1), (answer / 2).softmax(1)
        taught = 4 * (wanted * (wanted / likely).log()).sum(1).mean()
        if kind == "hard":
            taught = F.nll_loss(logits.log_softmax(1), answer.argmax(1))
        named = F.nll_loss(logits.log_softmax(1), TARGETS)
        torch.testing.assert_close(loss, 0.7 * named + 0.3 * taught)
        torch.testing.assert_close(metrics["distillation"], taught.detach())
        assert metrics["agreement"] == (logits.argmax(1) == answer.argmax(1)).float().mean()
        assert metrics["top1"] == (logits.argmax(1) == TARGETS).float().mean()


def test_labels_may_be_mixed() -> None:
    method = Distill(student(), Fickle(), label_smoothing=0.0)
    whole, mixed = F.one_hot(TARGETS, 5).float(), F.one_hot(TARGETS.flip(0), 5).float()
    losses = [
        method(Batch(images=IMAGES, labels=t)).loss for t in (whole, mixed, whole.lerp(mixed, 0.25))
    ]
    torch.testing.assert_close(losses[2], 0.75 * losses[0] + 0.25 * losses[1])
    torch.testing.assert_close(losses[0], method(Batch(images=IMAGES, labels=TARGETS)).loss)


def test_the_temperature_keeps_the_size_of_gradients() -> None:
    """Hinton's reason for T²: with it the pull of soft answers hardly depends on T."""
    logits, answer = 0.1 * torch.randn(2, 8, 5)
    sizes = []
    for temperature in (1.0, 4.0, 16.0):
        mine = logits.clone().requires_grad_()
        distillation_loss(mine, answer, "soft", temperature).backward()
        assert mine.grad is not None
        sizes.append(mine.grad.norm().item())
    assert max(sizes) < 1.2 * min(sizes)


def test_the_teacher_sees_the_images_in_its_own_way() -> None:
    pixels = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    ours = Preprocess((32, 32), None, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    theirs = Preprocess((32, 32), None, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    seen: list[Tensor] = []

    class EMATeacher(nn.Module):
        preprocess: Any = theirs

        def forward(self, images: Tensor) -> Tensor:
            """Notes what it sees."""
            seen.append(images)
            return images.new_zeros(len(images), 5)

    backbone, teacher = student(), EMATeacher()
    backbone.preprocess = ours
    method = Distill(backbone, teacher)
    method(Batch(images=ours.normalise(pixels), labels=TARGETS[:4]))
    torch.testing.assert_close(seen[-1], theirs.normalise(pixels))
    teacher.preprocess = Preprocess((48, 40), None, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    method(Batch(images=ours.normalise(pixels), labels=TARGETS[:4]))
    assert seen[-1].shape == (4, 3, 48, 40)
    averages = theirs.normalise(pixels).mean((2, 3))
    torch.testing.assert_close(seen[-1].mean((2, 3)), averages, rtol=0, atol=0.05)
    teacher.preprocess = ours
    images = ours.normalise(pixels)
    method(Batch(images=images, labels=TARGETS[:4]))
    assert seen[-1] is images  # nothing to do, nothing done


def test_grey_and_colour_see_each_other() -> None:
    grey, colour = Preprocess((8, 8), None, mean=(0.3,), std=(0.2,)), Preprocess((8, 8), None)
    pixels = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)
    seen = convert_images(grey.normalise(pixels), grey, colour)
    torch.testing.assert_close(seen, colour.normalise(pixels.expand(-1, 3, -1, -1)))
    back = convert_images(seen, colour, grey)
    torch.testing.assert_close(back, grey.normalise(pixels))
    with pytest.raises(DataError, match="images of 3 channels do not fit a network for 4"):
        convert_images(seen, colour, Preprocess((8, 8), None, mean=(0.0,) * 4, std=(1.0,) * 4))


def test_bad_settings_say_so() -> None:
    for more, told in (
        ({"kind": "herd"}, "kind='herd' is not one of 'hard', 'soft'. Did you mean 'hard'"),
        ({"alpha": 1.5}, "alpha=1.5 is not a number of at least 0 and at most 1"),
        ({"temperature": 0.0}, "temperature=0.0 is not a number of at least 0.001"),
        ({"temperature": 1e30}, "temperature=1e.30 is not a number of at least 0.001 and at most"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0 is not a number of at least 0 and below 1"),
    ):
        with pytest.raises(ConfigError, match=told):
            Distill(student(), Fickle(), **more)
    with pytest.raises(ConfigError, match="teacher has 9 classes and the student 5"):
        Distill(student(), small("ViT", num_classes=9))
    for answer, told in (
        (torch.zeros(6, 4), r"gives torch.Size\(\[6, 4\]\) and the student torch.Size\(\[6, 5\]\)"),
        ((torch.zeros(6, 5),), "the teacher gives a tuple: let it give a tensor of logits"),
    ):
        with pytest.raises(ConfigError, match=told):
            Distill(student(), lambda _, answer=answer: answer)(
                Batch(images=IMAGES, labels=TARGETS)
            )


def test_a_teacher_is_a_network_of_its_own() -> None:
    model = student()
    for teacher, message in (
        (
            model,
            r"the teacher shares weights with the model.* give copy.deepcopy\(t",
        ),
        (nn.Sequential(model.head), "the teacher shares weights"),
        (type(model), "teacher=.* is a class of models: give a model"),
        (Supervised(student()), "the teacher is a Supervised, which gives a loss: give a class"),
    ):
        with pytest.raises(ConfigError, match=message):
            Distill(model, teacher)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_teacher_of_another_dtype_gets_its_own_images(dtype: torch.dtype) -> None:
    teacher = student().eval()
    losses = [
        Distill(student().eval(), one, "soft", alpha=1.0)(Batch(images=IMAGES, labels=TARGETS)).loss
        for one in (teacher, copy.deepcopy(teacher).to(dtype))
    ]
    assert all(loss.isfinite() for loss in losses)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_student_takes_after_its_teacher(kind: str) -> None:
    """Without a single label: alpha=1."""
    teacher = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3, 5))
    nn.init.normal_(teacher[2].weight, std=4.0)
    method = Distill(student(), teacher, kind, alpha=1.0).train()
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    for _ in range(60):
        images = torch.randn(32, 3, 1, 1).expand(-1, -1, 32, 32)
        optimizer.zero_grad()
        loss, metrics = method(Batch(images=images, labels=torch.zeros(32).long()))
        loss.backward()
        optimizer.step()
    assert metrics["agreement"] > 0.6  # 0.2 by chance


def test_half_precision_counts_in_full() -> None:
    method = Distill(student(), Fickle(), "soft")
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = method(Batch(images=IMAGES, labels=TARGETS))
    assert loss.dtype == torch.float32
    assert (loss - method(Batch(images=IMAGES, labels=TARGETS)).loss).abs() < 0.05
