"""`vitrail look`: its queries, its sheet, what it writes, and what it refuses in one line."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Command, picture
from tests.models.small import small
from vitrail.hub.model_folder import save


@pytest.fixture
def look(vitrail: Command, tmp_path: Path) -> Command:
    """Runs `vitrail look` on a picture of 120 x 90 pixels with the model of a class."""
    picture().resize((120, 90)).save(tmp_path / "a.png")

    def run(*arguments: str, name: str = "ViT", **more: Any) -> tuple[int, str, str]:
        model = small(name, **more)
        if model.num_classes == 5:
            model.labels = ["cat", "dog", "cup", "moon", "car"]
        save(model, tmp_path / name)
        return vitrail("look", "a.png", "-m", name, *arguments)

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("--at", "60,45"),
        ("--query", "mean", "--scale", "layer", "--smooth"),
        ("--incoming",),
        ("--at", "60,45", "--incoming", "--baseline"),
        ("--sheet",),
        ("--sheet", "--scale", "shared", "--dark"),
        ("--symmetry", "--dpi", "60"),
    ],
)
def test_pictures_are_drawn(arguments: tuple[str, ...], look: Command, tmp_path: Path) -> None:
    code, out, errors = look(*arguments)
    assert (code, out, errors) == (0, "written: look.png\n", "")
    pixels = np.asarray(Image.open(tmp_path / "look.png").convert("RGB"))
    assert pixels.shape[1] >= 600 and pixels.std() > 10
    if "--dark" in arguments:
        assert pixels[0, 0].max() < 40


@pytest.mark.parametrize("arguments", [(), ("--explain", "relevance")])
def test_a_model_in_half_precision(
    arguments: tuple[str, ...], vitrail: Command, tmp_path: Path
) -> None:
    picture().save(tmp_path / "a.png")
    save(small("ViT").half(), tmp_path / "half")
    code, _out, errors = vitrail("look", "a.png", "-m", "half", *arguments)
    assert (code, errors) == (0, "")


def test_options_of_the_picture_change_it(look: Command, vitrail: Command, tmp_path: Path) -> None:
    assert look()[0] == 0
    command = ("look", "a.png", "-m", "ViT")  # the same weights each time
    sizes, pictures = [], []
    several = ((), ("--smooth",), ("--scale", "layer"), ("--query", "mean"), ("--heads", "1"))
    for options in (*several, ("--incoming",)):
        assert vitrail(*command, *options)[0] == 0
        with Image.open(tmp_path / "look.png") as image:
            sizes.append(image.size)
            pictures.append(image.tobytes())
    assert len(set(pictures)) == len(pictures)
    assert vitrail(*command, "--dpi", "60")[0] == 0
    with Image.open(tmp_path / "look.png") as image:
        assert image.width == pytest.approx(sizes[0][0] / 2, abs=2)


def test_a_page_says_what_it_shows(look: Command, tmp_path: Path) -> None:
    arguments = ("--at", "60,45", "--out", "a.html", "--baseline", "--symmetry")
    code, _, errors = look(*arguments)
    page = (tmp_path / "a.html").read_text()
    assert (code, errors) == (0, "")
    for text in (
        "Attention of the patch in row 2, column 2 to each patch.",
        "layer 2, head 1: patches shuffled",
        "of the map itself",
        "block 2, f(x) beside flip(f(flip(x)))",
        'class="scale"',
        "bits",
        "ViT of 3 blocks, for 32 × 32 pixels",
    ):
        assert text in page
    assert any(f"a.png: {label} (" in page for label in ("cat", "dog", "cup", "moon", "car"))


def test_mamba_has_its_baseline_without_asking(look: Command, tmp_path: Path) -> None:
    assert look("--out", "a.html", name="VisionMamba")[0] == 0
    page = (tmp_path / "a.html").read_text()
    assert "A Mamba has no attention" in page and ": patches shuffled" in page


def test_the_baseline_can_be_left_out(look: Command, tmp_path: Path) -> None:
    assert look("--out", "a.html", "--no-baseline", name="VisionMamba")[0] == 0
    assert "shuffled" not in (tmp_path / "a.html").read_text()


def test_several_images_share_colors(look: Command, tmp_path: Path, vitrail: Command) -> None:
    look()
    picture().rotate(90).save(tmp_path / "b.png")
    code, out, _ = vitrail("look", "a.png", "b.png", "-m", "ViT")
    page = (tmp_path / "look.html").read_text()
    assert (code, out) == (0, "written: look.html\n")
    for kind in ("this image", "all images"):
        assert page.count(f"<figcaption>patch features (PCA of {kind})") == 2


def test_a_trace_is_drawn_again(look: Command, vitrail: Command, tmp_path: Path) -> None:
    code, out, _ = look("--save", "a.trace", "--at", "60,45", "--out", "one.png")
    assert (code, out) == (0, "written: a.trace\nwritten: one.png\n")
    assert look("--save", "a.trace")[2].startswith("error: a.trace exists: choose another name")
    code, out, errors = vitrail("look", "a.trace", "--out", "two.png")
    assert (code, out, errors) == (0, "written: two.png\n", "")
    one, two = (np.asarray(Image.open(tmp_path / name)) for name in ("one.png", "two.png"))
    assert np.array_equal(one, two)
    assert vitrail("look", "a.trace", "--sheet")[0] == 0
    for options in (("--at", "5,5"), ("--incoming",), ("--explain", "rollout")):
        code, _, errors = vitrail("look", "a.trace", *options)
        assert code == 2 and errors.startswith(f"error: {options[0]}: a saved trace has no model")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Swin", "Swin: a layer attends within 16 windows of 16 tokens, not over all tokens"),
        ("XCiT", "XCiT"),
        ("MobileViT", "MobileViT"),
    ],
)
def test_a_model_without_maps_says_why(name: str, text: str, look: Command, tmp_path: Path) -> None:
    assert look("--out", "a.html", name=name)[0] == 0
    page = (tmp_path / "a.html").read_text()
    assert text in page and "In its stead: the patch features of some stages" in page
    options = (("--at", "60,45"), ("--sheet",), ("--incoming",), ("--save", "a.trace"))
    for option in options if name == "Swin" else options[:1]:
        code, _, errors = look(*option, name=name)
        assert code == 2 and errors.startswith(f"error: {name}") and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layers", "7"), "error: --layers 7: this model has 0 to 2."),
        (("--heads", "9"), "error: head 9 does not exist: there are 0 to 1."),
        (("--at", "120,5"), "error: --at=120,5 is outside the picture: x is 0 to 119, y is 0 to"),
        (("--at", "1,5"), "error: --at=1,5 is outside the part of the picture that the model s"),
        (("--at", "5"), "error: --at '5' is no point x,y in whole pixels, such as 180,90."),
        (("--at", "a,b"), "error: --at 'a,b' is no point"),
        (("--query", "dog"), "error: --query='dog' is not one of 'class', 'mean'"),
        (("--query", "mean", "--at", "5,5"), "error: --at=5,5 and --query=mean are two queries"),
        (("--scale", "all"), "error: --scale='all' is not one of 'head', 'layer', 'shared'"),
        (("--save", "a.json"), "error: --save a.json: give one image, and a file that ends in"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str, look: Command) -> None:
    code, _, errors = look(*arguments)
    assert code == 2 and errors.startswith(message) and errors.count("\n") == 1


def test_a_model_without_a_class_token(look: Command) -> None:
    code, _, errors = look("--query", "class", name="SimpleViT")
    assert code == 2
    assert errors.startswith('error: --query="class": this model has no class token; use "mean".')


def test_another_trace_is_one_line(vitrail: Command, tmp_path: Path) -> None:
    (tmp_path / "a.trace").write_bytes(b"{}")
    code, _, errors = vitrail("look", "a.trace")
    assert code == 2 and errors.startswith("error: a.trace is no trace") and errors.count("\n") == 1
    code, _, errors = vitrail("look", "b.trace")
    assert code == 2 and errors == "error: b.trace is no trace: No such file or directory.\n"


def test_an_explanation_is_of_the_class_that_is_asked_for(look: Command, tmp_path: Path) -> None:
    pictures = []
    for target in ("cat", "car"):
        code, _, errors = look("--explain", "relevance", "--target", target)
        assert (code, errors) == (0, "")
        pictures.append(np.asarray(Image.open(tmp_path / "look.png").convert("RGB")))
    assert not np.array_equal(*pictures)
    code, _, errors = look("--explain", "rollout", "--target", "cat")
    assert code == 2 and "is the same for every class" in errors and errors.count("\n") == 1
    for options in (("--sheet",), ("--heads", "0"), ("--save", "a.trace"), ("--scale", "shared")):
        code, _, errors = look("--explain", "rollout", *options)
        assert code == 2 and errors.startswith(f"error: {options[0]}: --explain draws no attention")
    code, _, errors = look("--target", "cat")
    assert code == 2 and "add --explain relevance" in errors


def test_an_explanation_has_its_layer_and_its_patch(look: Command, tmp_path: Path) -> None:
    """The layer and the point change the map; the page says which class is explained."""
    pages = {}
    for options in (
        ("attention",), ("attention", "--layers", "0"), ("attention", "--smooth"),
        ("similarity", "--at", "40,45"), ("similarity", "--at", "80,45"), ("relevance",),
    ):  # fmt: skip
        code, _, errors = look("--explain", *options, "--out", "a.html", "--force")
        assert (code, errors) == (0, "")
        pages[options] = (tmp_path / "a.html").read_text()
    assert len({page.split("<main>")[1] for page in pages.values()}) == len(pages)
    assert re.search(r"relevance: \w+ \(\d+ %\)", pages["relevance",])
    assert "vitrail explain compare tests the explanations" in pages["relevance",]
    for options, message in [
        (("rollout", "--layers", "0"), "--layers: --explain rollout has no layer to choose"),
        (("attention", "--layers", "0,1"), "--layers: --explain attention draws one layer"),
        (("attention", "--layers", "9"), "layer=9: this model has attention layers 0 to 2"),
        (("relevance", "--at", "5,5"), "--at: --explain relevance is not of one patch"),
        (("similarity", "--at", "500,5"), "--at=500,5 is outside the picture"),
        (("relevence",), "no explanation 'relevence'. Did you mean 'relevance'"),
    ]:
        code, _, errors = look("--explain", *options)
        assert code == 2 and message in errors and errors.count("\n") == 1


def test_a_picture_that_is_there_is_replaced_by_force_only(
    vitrail: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine.png").write_text("mine")
    code, _out, errors = vitrail("look", "cat.jpg", "--out", "mine.png")
    assert (
        code == 2 and "mine.png exists: choose another name, or overwrite it by --force" in errors
    )
    assert (tmp_path / "mine.png").read_text() == "mine"
