"""transformers' `Trainer` trains a model of Vitrail."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import vitrail
from vitrail.data.registry import open_dataset
from vitrail.errors import ConfigError, DataError
from vitrail.hub.for_transformers import ForImageClassification

transformers: Any = pytest.importorskip("transformers")
SMALL: dict[str, Any] = {
    "image_size": 8, "patch_size": 4, "channels": 1, "dim": 32, "depth": 1, "heads": 2,
    "mlp_dim": 32,
}  # fmt: skip


def test_the_trainer_trains_it(tmp_path: Path) -> None:
    model = vitrail.ViT(num_classes=10, **SMALL)
    samples = {
        split: [
            {"pixel_values": model.preprocess(dataset.read(i))[0], "labels": target}
            for i, target in enumerate(dataset.targets())
        ]
        for split in ("train", "test")
        for dataset in [open_dataset("digits", split)]  # type: ignore[arg-type]
    }
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=32, num_train_epochs=4,
        learning_rate=5e-3, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="epoch",
    )  # fmt: skip
    trainer = transformers.Trainer(
        ForImageClassification(model),
        arguments,
        train_dataset=samples["train"],
        eval_dataset=samples["test"],
        compute_metrics=lambda p: {"top1": float((p.predictions.argmax(1) == p.label_ids).mean())},
    )
    trainer.train()
    figures = trainer.evaluate()
    assert figures["eval_top1"] > 0.7  # chance is 0.1
    # What it reports is what Vitrail measures of the model, saved and loaded.
    folder = vitrail.save(model, tmp_path / "model")
    again = vitrail.evaluate(folder, "digits")
    assert again.top1 == pytest.approx(figures["eval_top1"])
    assert again.loss == pytest.approx(figures["eval_loss"], abs=1e-4)


def test_loss_and_logits() -> None:
    model = vitrail.ViT(num_classes=3, **SMALL)
    images, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    outputs = ForImageClassification(model, label_smoothing=0.1)(images, labels)
    assert torch.equal(outputs["logits"], model(images))
    expected = F.cross_entropy(model(images), labels, label_smoothing=0.1)
    assert torch.equal(outputs["loss"], expected)
    assert set(ForImageClassification(model)(images)) == {"logits"}


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"this ViT has no head: call model.reset_head"):
        ForImageClassification(vitrail.ViT(num_classes=0, **SMALL))


@pytest.mark.parametrize("labels", [[0], [0, 10], [0.0, 1.0]])
def test_labels_that_do_not_fit_are_one_line(labels: list[float]) -> None:
    classifier = ForImageClassification(vitrail.ViT(num_classes=10, **SMALL))
    with pytest.raises(DataError, match="label"):
        classifier(torch.zeros(2, 1, 8, 8), torch.tensor(labels))
