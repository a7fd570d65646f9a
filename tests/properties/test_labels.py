"""Names of classes may be any text: they come out as they went in, or one line says why not."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import example
from hypothesis import strategies as st

import vitrail
from tests.properties.strategies import drawn, drawn_more, seeds
from vitrail.data import InMemoryDataset
from vitrail.errors import VitrailError

# Any text: controls, right-to-left marks, surrogates of file names that are no UTF-8, spaces.
names = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zs", "Co"]), min_size=1, max_size=3),
        st.sampled_from(["<b>cat</b>", "../cat", "猫", "cat\n", "a" * 300, "NaN", "0", "$x^2$"]),
    ),
    min_size=2,
    max_size=4,
)


def model_of(count: int) -> vitrail.ViT:
    torch.manual_seed(0)
    model = vitrail.ViT(8, 4, count, dim=8, depth=1, heads=2, mlp_dim=8).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def one_line(error: VitrailError) -> bool:
    return bool(str(error).strip()) and "\n" not in str(error)


@drawn(12, labels=names, seed=seeds)
@example(labels=["cat", "cat", "dog"], seed=0)
@example(labels=["dog\udcff", "dog"], seed=0)
@example(labels=["", " "], seed=0)
def test_saved_loaded_and_predicted(labels: list[str], seed: int) -> None:
    model = model_of(len(labels))
    model.labels = labels
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=generator)
    with tempfile.TemporaryDirectory() as folder:
        try:
            loaded = vitrail.load(vitrail.save(model, Path(folder) / "m"))
        except VitrailError as error:
            assert one_line(error)
            return
    assert loaded.labels == labels
    [prediction] = vitrail.predict(loaded, image, top=len(labels))
    with torch.no_grad():
        logits = loaded(loaded.preprocess(image))
    probabilities = logits.flatten().softmax(0)
    assert len(prediction.classes) == len(labels)  # those of one name are two classes
    assert list(prediction.classes.values()) == pytest.approx(
        probabilities.sort(descending=True).values.tolist(), abs=1e-5
    )
    best = labels[int(probabilities.argmax())]
    assert prediction.label == best or labels.count(best) > 1


def train_and_read(labels: list[str]) -> None:
    """Trains a model on classes of these names, and reads what the run says of them."""
    images = torch.arange(8 * 3 * 64, dtype=torch.uint8).view(8, 3, 8, 8)
    targets = torch.arange(8) % len(labels)
    small = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 2, "mlp_dim": 8}
    with tempfile.TemporaryDirectory() as folder:
        run = vitrail.fit(
            "ViT", data=InMemoryDataset(images, targets, labels), options=small, crop="none",
            epochs=1, out=Path(folder) / "run",
        )  # fmt: skip
        assert run.model.labels == labels
        assert vitrail.load(run.folder).labels == labels
        json.loads((run.folder / "evaluation.json").read_text("utf-8"))
        page = (run.folder / "report.html").read_text("utf-8")
        assert "<script>alert" not in page


@pytest.mark.slow  # the report draws attention
def test_trained_and_reported() -> None:
    train_and_read(["<script>alert(1)</script>", "猫\u202e\x1b[31m", "dog\udcff"])


@drawn_more(1, labels=names)
def test_any_names_trained_and_reported(labels: list[str]) -> None:
    try:
        train_and_read(labels)
    except VitrailError as error:
        assert one_line(error)
