"""A report holds everything there is to see of a run, and says what is missing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import vitrail
from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.lens import html
from vitrail.lens.report_data import class_results
from vitrail.lens.report_page import attention_section, example_sections, write_report
from vitrail.lens.theme import DARK, LIGHT
from vitrail.preprocess import Preprocess
from vitrail.run_folder import RunFolder

METRICS = [
    {"step": 1, "epoch": 0.5, "split": "train", "loss": 1.0, "lr": 0.1},
    {"step": 2, "epoch": 1.0, "split": "val", "loss": 0.9, "top1": 0.75, "top5": 1.0},
]
SETTINGS = "model: {name: ViT}\ndata: {source: 'folder:/photos/pets'}\n"


def finished_run(folder: Path, labels: tuple[str, ...] = ("<b>cat</b>", "dog")) -> Path:
    model = small("ViT", num_classes=len(labels))
    model.preprocess = Preprocess((32, 32), None, "bilinear")
    model.labels, model.origin = list(labels), "a test"
    vitrail.save(model, folder / "model")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    (folder / "timing.jsonl").write_text('{"step": 1, "seconds": 60, "images_per_second": 5}\n')
    entry = {"image": 0, "truth": 0, "predicted": 1, "confidence": 0.9, "name": "cat/1.jpg"}
    confusion = [[2 if i == j else 0 for j in range(len(labels))] for i in range(len(labels))]
    confusion[0] = [1, 3, *[0] * (len(labels) - 2)]
    evaluation = {
        "split": "folder test", "weights": "last step", "count": 6, "top1": 0.75, "top5": 1.0,
        "loss": 0.9, "labels": model.labels, "confusion": confusion, "per_class": [],
        "mistakes": [entry], "examples": [{**entry, "image": 1}, {**entry, "predicted": 0}],
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    save_file({"images": images}, folder / "evaluation.safetensors")
    (folder / "run.yaml").write_text(SETTINGS)
    (folder / "command.txt").write_text("vitrail train folder:pets\n")
    (folder / "bad_images.txt").write_text("cat/2.jpg\tthe file is empty\n")
    return folder


def test_the_head_says_what_was_trained_on_what(tmp_path: Path) -> None:
    run = RunFolder(finished_run(tmp_path))
    assert "seed" not in write_report(run).read_text().split("<h2>")[0]  # of older runs
    training = {"method": "mae", "epochs": 3, "steps_per_epoch": 1200, "batch_size": 16}
    splits = {"train": {"images": 19200}, "test": {"images": 40}}
    summary = {"training": training, "data": {"splits": splits}, "device": "cuda"}
    run.write_summary({**summary, "precision": "bf16"})
    run.write_settings({"train": {"seed": 7}})
    head = write_report(run).read_text().split("<h2>")[0]
    assert (
        "Method mae; images: train 19,200, test 40; 3 epochs of 1,200 steps with batches of 16; "
        "seed 7; cuda, bf16."
    ) in head


def change(folder: Path, **values: Any) -> Path:
    path = folder / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


class Balanced(HTMLParser):
    """Fails on tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_report_holds_everything(tmp_path: Path) -> None:
    page = write_report(finished_run(tmp_path)).read_text()
    for words in (
        "ViT trained on folder pets", "75.00 %", "accuracy on folder test", "1.0 min",
        "evaluated and saved: last step", "cat/1.jpg", "taken for dog, 90%",
        "vitrail train folder:pets",
        "a test", "dog (3)", "layer 2, head 1", "rollout, all layers", "recognized (90%)",
        "source: &#x27;folder:/photos/pets&#x27;", "the file is empty", "torch 2.",
    ):  # fmt: skip
        assert words in page, words
    assert "missing" not in page
    assert page.count("<svg") == 3
    assert "&lt;b&gt;cat&lt;/b&gt;" in page, "labels must be escaped"
    assert "<b>cat</b>" not in page
    Balanced(page)


def test_a_report_needs_nothing_and_repeats(tmp_path: Path) -> None:
    page = write_report(finished_run(tmp_path)).read_text()
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"|http://(purl|creativecommons)\.org', "", page)
    outside = outside.replace("http://www.w3.org", "")
    assert "http" not in outside, "the page reaches for something elsewhere"
    assert "<script" not in page
    for source in re.findall(r'src="([^"]{0,16})', page):
        assert source.startswith("data:image/webp")
    assert write_report(tmp_path).read_text() == page, "the same run, the same page"


def test_drawings_follow_the_theme(tmp_path: Path) -> None:
    page = write_report(finished_run(tmp_path)).read_text()
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--glass)" in drawings
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawings)) <= {"#000000"}
    assert "prefers-color-scheme: dark" in page


def contrast(one: str, other: str) -> float:
    """As the WCAG define it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_words_can_be_read(colours: dict[str, str]) -> None:
    for ink in ("ink", "quiet", "glass", "amber", "ruby"):
        for ground in ("paper", "card"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "epoch": 0.5, "split": "train", "loss": 1.0, "lr": 0.1}\n{"step": 2, "ep'
    )
    page = write_report(tmp_path).read_text()
    assert "no model yet: continue the run with --resume; no evaluation" in page
    assert page.count("<svg") == 2
    Balanced(page)


def test_an_early_run_shows_its_last_validation(tmp_path: Path) -> None:
    finished_run(tmp_path)
    (tmp_path / "evaluation.json").unlink()
    (tmp_path / "evaluation.safetensors").unlink()
    page = write_report(tmp_path).read_text()
    assert "validation accuracy at step 2" in page
    assert "missing: no evaluation." in page
    assert example_sections(RunFolder(tmp_path)) == []


def test_a_stream_keeps_no_images_and_the_report_says_so(tmp_path: Path) -> None:
    change(finished_run(tmp_path), mistakes=[], examples=[])
    (tmp_path / "evaluation.safetensors").unlink()
    page = write_report(tmp_path).read_text()
    assert "no images of the evaluation" in page
    assert "Confusion matrix" in page


def test_a_damaged_model_is_reported_and_the_rest_drawn(tmp_path: Path) -> None:
    (finished_run(tmp_path) / "model" / "model.safetensors").write_bytes(b"no")
    page = write_report(tmp_path).read_text()
    assert "Parts of this run are missing" in page
    assert "75.00 %" in page


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        write_report(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_model_is_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative run folder without a model looks like a Hub id: run/model."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/run.yaml").write_text(SETTINGS)
    monkeypatch.setattr(
        "vitrail.lens.report_data.load", lambda _folder: pytest.fail("the Hub was asked")
    )
    assert "no model yet" in write_report("run").read_text()


def test_a_section_needs_no_run() -> None:
    model = small("ViT", num_classes=2)
    section = attention_section(model, torch.zeros(3, 32, 32, dtype=torch.uint8), "a <cat>", (-1,))
    assert section.startswith("<h2>a &lt;cat&gt;</h2>")
    assert section.count("<img") == 4 + 2
    Balanced(section)


def test_classes_are_sorted_by_accuracy_and_those_without_images_come_last() -> None:
    confusion = [[9, 1, 0], [0, 0, 0], [1, 3, 6]]
    results = class_results(["cat", "dog", "owl"], confusion)
    assert [r.label for r in results] == ["owl", "cat", "dog"]
    assert [r.accuracy for r in results] == [0.6, 0.9, 0.0]
    assert [(r.confused_with, r.times) for r in results] == [("dog", 3), ("dog", 1), ("", 0)]
    assert [r.images for r in results] == [10, 10, 0]


def test_a_run_evaluated_by_its_features_says_so(tmp_path: Path) -> None:
    page = write_report(finished_run(tmp_path)).read_text()
    assert "<span>cross-entropy over the classes</span>" in page
    change(finished_run(tmp_path), evaluated_by="20-nearest neighbors", method_loss=1.5)
    page = write_report(tmp_path).read_text()
    assert "Accuracy is that of 20-nearest neighbors on its features" in page
    assert "<span>cross-entropy over the classes</span>" not in page


def test_images_of_the_training_are_shown_first_and_last(tmp_path: Path) -> None:
    from PIL import Image

    run = RunFolder(finished_run(tmp_path))
    for step in (10, 20, 30):
        file = run.logged_image("reconstruction", step)
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (step, 0, 0)).save(file)
    page = write_report(run).read_text()
    assert "<h2>Reconstruction</h2>" in page
    assert "Step 10" in page
    assert "Step 30" in page
    assert "Step 20" not in page


def test_many_classes_with_any_names(tmp_path: Path) -> None:
    """Chinese, long, with dollars, without images: no warning, no error, nothing silently cut."""
    names = ["猫", "a name that is far too long to stand in a matrix", "$x$", r"$\frac$", "{}%"]
    for count, numbers in ((5, True), (30, False), (70, False)):
        labels = (*names, *(f"class {i}" for i in range(count - 5)))
        run = finished_run(tmp_path / str(count), labels)
        confusion = json.loads((run / "evaluation.json").read_text())["confusion"]
        confusion[2] = [0] * count
        page = write_report(change(run, confusion=confusion)).read_text()
        assert "猫" in page
        assert page.count("no images</td>") == 1 if count <= 40 else "no images</td>" not in page
        assert ('<table class="matrix"' in page) == (count <= 60)
        assert ("and 30 easier ones" in page) == (count == 70)
        assert (">2</td>" in page) == numbers
        Balanced(page)


def test_time_goes_on_over_sittings(tmp_path: Path) -> None:
    lines = [60, 120, 30, 90]  # stopped after 120 s, resumed
    (finished_run(tmp_path) / "timing.jsonl").write_text(
        "".join(f'{{"step": 1, "seconds": {s}, "images_per_second": 5}}\n' for s in lines)
    )
    assert "3.5 min" in write_report(tmp_path).read_text()


def test_small_pictures_keep_their_pixels() -> None:
    import base64
    import io

    from PIL import Image

    for side, small_image in ((28, True), (600, False)):
        pixels = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8).numpy()
        tag = html.image_tag(pixels, 'a "quoted" name')
        assert "a &quot;quoted&quot; name" in tag
        assert ('class="small"' in tag) == small_image
        data = base64.b64decode(tag.partition("base64,")[2].rstrip('">'))
        image = Image.open(io.BytesIO(data))
        assert image.size == ((28, 28) if small_image else (448, 448))
        if small_image:
            assert (
                torch.tensor(list(image.convert("RGB").tobytes())).numpy() == pixels.ravel()
            ).all()


def test_figures_that_are_fair_to_rare_classes_are_shown(tmp_path: Path) -> None:
    classes = [{"label": "<b>cat</b>", "precision": 0.123}, {"label": "dog", "precision": 1.0}]
    scores = {"balanced_accuracy": 0.625, "calibration_error": 0.05}
    page = write_report(change(finished_run(tmp_path), classes=classes, scores=scores)).read_text()
    Balanced(page)
    for text in ("62.50 %", "balanced accuracy", "5.00 %", "calibration error", "12.30 %"):
        assert text in page


def test_long_names_get_the_whole_width_and_are_cut_by_their_width_in_the_matrix(
    tmp_path: Path,
) -> None:
    """Side by side, the table of classes ran over the confusion matrix."""
    short = write_report(finished_run(tmp_path, ("cat", "dog"))).read_text()
    assert 'class="columns"' in short
    names = ("国家一级保护动物川金丝猴成年雄性", "n02123045_tabby_cat_domestic")
    page = write_report(finished_run(tmp_path, names)).read_text()
    assert 'class="columns"' not in page
    assert "国家一级保护动物川金丝…</th>" in page  # 11 characters of 2 widths each
    assert "n02123045_tabby_cat_dom…</th>" in page
    assert all(f'<td class="name">{name}</td>' in page for name in names)
