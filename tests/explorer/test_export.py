"""Pages in a folder: what is written, and what is never written over."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import vitrail  # noqa: F401, a fixture
from tests.explorer.conftest import picture, tiny_vit
from tests.models.small import small
from vitrail.cli.explore import split_arguments
from vitrail.errors import ConfigError, DataError
from vitrail.explorer.documents import Explorer
from vitrail.explorer.export import export_page


def test_every_document_is_a_script(explorer: Explorer, photo: Path, tmp_path: Path) -> None:
    page = export_page(explorer, tmp_path / "page", [photo])
    data = page.parent / "data"
    names = {path.relative_to(data).with_suffix("").as_posix() for path in data.rglob("*.js")}
    assert {"model", "0/trace", "0/attention-2", "0/similarity", "0/explanation-rollout"} <= names
    likeliest = [row["index"] for row in explorer.sample(0)["predictions"]]
    explained = {name for name in names if name.startswith("0/explanation-relevance")}
    assert explained == {f"0/explanation-relevance-{index}" for index in likeliest[:2]}
    assert not any("occlusion" in name for name in names)  # which is slow
    for name in names:
        text = (data / f"{name}.js").read_text("ascii")
        start = f"Vitrail.receive({json.dumps(name)}, "
        assert text.startswith(start)
        assert json.loads(text.removeprefix(start).removesuffix(");\n"))["version"] == 2
    assert '<script src="data/model.js"></script>' in page.read_text("utf-8")
    export_page(explorer, tmp_path / "page", [photo])  # its own folder is written again


def test_a_folder_with_something_else_is_left_alone(
    explorer: Explorer, photo: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="something else"):
        export_page(explorer, tmp_path, [photo])
    with pytest.raises(ConfigError, match="something else"):
        export_page(explorer, photo, [photo])
    with pytest.raises(ConfigError, match="no pictures"):
        export_page(explorer, tmp_path / "page", [])
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        export_page(explorer, tmp_path / "page", [bad])
    assert not (tmp_path / "page").exists()


def test_the_command_exports(vitrail, tmp_path: Path) -> None:  # noqa: F811
    from vitrail import save

    save(tiny_vit(), tmp_path / "model")
    photo = picture(tmp_path)
    code, out, errors = vitrail("explore", "model", photo.name, "--export", "page")
    assert (code, errors) == (0, "")
    assert "index.html" in out
    assert (tmp_path / "page" / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere"),
        (("model", "--host", "0.0.0.0", "--no-browser"), "--host=0.0.0.0"),
        (("model", "--port", "99999", "--no-browser"), "--port=99999"),
        (("model", "--export", "."), "--export"),
        (("model", "no.jpg", "--export", "page"), "no.jpg"),
        (("model", "--live"), "--export FOLDER"),
        (("model", "--export", "page", "--runtime", "x"), "add --live"),
        (("model", "--export", "page", "--live", "--runtime", "x"), "x has no ort.wasm.min.js"),
    ],
)
def test_bad_input_is_one_line(
    vitrail,  # noqa: F811
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    from vitrail import save

    save(tiny_vit(), tmp_path / "model")
    code, _, errors = vitrail("explore", *arguments)
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1


def test_images_that_the_page_does_not_offer_are_counted(vitrail, tmp_path: Path) -> None:  # noqa: F811
    from vitrail import save

    save(tiny_vit(), tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for number in range(25):
        picture(tmp_path / "photos", f"{number}.png")
    code, _, errors = vitrail("explore", "model", "photos", "--host", "0.0.0.0")
    assert code == 2 and errors.splitlines()[0] == "the page offers the first 24 of 25 images"
    assert vitrail("explore", "model", "photos", "--export", "page")[0] == 0
    assert (tmp_path / "page" / "data" / "24" / "trace.js").is_file()


def test_the_first_argument_is_a_model_unless_it_is_an_image() -> None:
    assert split_arguments([]) == (["dinov2_small"], [])
    assert split_arguments(["a.png", "b.jpg"]) == (["dinov2_small"], ["a.png", "b.jpg"])
    assert split_arguments(["runs/a", "b.jpg"]) == (["runs/a"], ["b.jpg"])


def test_the_second_argument_may_be_a_model(tmp_path: Path) -> None:
    from vitrail import save

    model, photos = str(save(tiny_vit(), tmp_path / "model")), str(tmp_path / "photos")
    (tmp_path / "photos").mkdir()
    assert split_arguments(["a/b", model, "b.jpg"]) == (["a/b", model], ["b.jpg"])
    assert split_arguments([model, photos]) == ([model], [photos])  # a folder of images
    assert split_arguments([model, "c/d"]) == ([model, "c/d"], [])
    assert split_arguments(["small-vit", "small-vim"]) == (["small-vit", "small-vim"], [])
    assert split_arguments([model, "photos/*.jpg"]) == ([model], ["photos/*.jpg"])
    assert split_arguments([model, model, model]) == ([model, model], [model])


def test_the_run_of_a_clip_reads_sentences(tmp_path: Path) -> None:
    from vitrail import save
    from vitrail.cli.explore import open_explorer
    from vitrail.data.text import Tokenizer
    from vitrail.hub.method_folder import save_method
    from vitrail.methods.registry import create_method

    tokenizer = Tokenizer.train(["a photo of a cat", "a dog"], 300, context=8)
    settings = {"text_dim": 16, "text_depth": 1, "text_heads": 2, "embed_dim": 8}
    method = create_method("clip", small("ViT"), tokenizer=tokenizer, **settings).eval()
    save(method.backbone, tmp_path / "model")
    save_method(method, "clip", tmp_path / "method")
    photo = picture(tmp_path)
    explorer = open_explorer(str(tmp_path), [photo], None, None, "cpu")
    assert explorer.clip is not None and explorer.clip.backbone is explorer.model
    key = explorer.sample(0)["id"]
    images = method.backbone.preprocess(str(photo))
    cosine = method.similarity(images, ["a cat"]).item()
    assert explorer.text_document(str(key), "a cat")["cosine"] == pytest.approx(cosine, abs=1e-6)
    save(tiny_vit(), tmp_path / "plain")
    assert open_explorer(str(tmp_path / "plain"), [], None, None, "cpu").clip is None
