"""The pages are true: their Python runs, and their commands exist."""

import ast
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.pages import ROOT, blocks, run_python

if TYPE_CHECKING:
    from vitrail.train.config import RunConfig

READMES = ("README.md", "README.zh.md")
TOPICS = (
    "vision_mamba", "architectures", "methods", "choosing", "coming_from_elsewhere", "deploy",
    "looking", "explaining", "explorer", "monitoring", "own_lessons",
)  # fmt: skip
SESSIONS = (
    "python",
    "vision_mamba",
    "coming_from_elsewhere",
    "deploy",
    "looking",
)  # blocks go on from one another
TUTORIAL = "docs/en/python.md"
PAGES = (
    *READMES,
    TUTORIAL,
    *(f"docs/{language}/{topic}.md" for topic in TOPICS for language in ("en", "zh")),
)


def programs(page: str) -> list[str]:
    """Its Python, without comments."""
    return [ast.dump(ast.parse(code)) for code in blocks(page, "python")]


def commands(page: str) -> list[list[str]]:
    """Its commands of Vitrail, without comments."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [line.split("#")[0].split() for line in lines if line.startswith("vitrail ")]


@pytest.mark.parametrize(
    "readme",
    [
        *READMES,
        *(pytest.param(page, marks=pytest.mark.pages) for page in PAGES if page not in READMES),
    ],
)
def test_python_runs(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = readme.replace(".zh.md", ".md").replace("docs/zh/", "docs/en/")
    if readme != twin and programs(readme) == programs(twin):
        return  # the same programs run for the English page
    data = pytest.importorskip("skimage.data")
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.chelsea()).save("cat.jpg")
    torch.manual_seed(0)
    assert run_python(readme, one_session=any(name in readme for name in SESSIONS))


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick ones run; the long ones are parsed: recipes are read, options are known."""
    from PIL import Image
    from skimage import data

    from tests.cli.conftest import photographs
    from tests.train.test_methods import MAE
    from tests.train.tiny import tiny
    from vitrail.cli.main import main
    from vitrail.train import runs

    folders = []
    train_run = runs.train_run

    def quick(config: "RunConfig", folder: Path, **more: Any) -> dict[str, Any]:
        """Trains the tiny model on 20 of the images."""
        folders.append(folder)
        data = config.data.model_copy(update={"limit": 20})
        if config.method.name == "mae":
            small = tiny("model.options.image_size=28", MAE)
        else:
            small = tiny("model.options.image_size=28", f"method.name={config.method.name}")
        update = {"data": data}
        return train_run(small.model_copy(update=update), folder, **more)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "train_run", quick)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    photographs(tmp_path / "photos", per_class=5)
    Image.fromarray(data.chelsea()).save("cat.jpg")
    assert len(commands("README.md")) >= 5
    for command in commands("README.md"):
        monkeypatch.setattr("sys.argv", [part.strip("'\"") for part in command])
        try:
            main()
        except SystemExit as stop:
            assert not stop.code, " ".join(command)
    assert folders


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_are_valid_and_say_what_to_expect(recipe: Path) -> None:
    from vitrail.train.config import read_config

    read_config(recipe)
    head = recipe.read_text("utf-8")[:600]
    for word in ("vitrail train", "minutes", "%"):
        assert word in head, f"{recipe.name} does not state its command, minutes and figure"


def test_every_model_has_a_recipe_in_the_zoo() -> None:
    from vitrail.models.registry import model_classes, new_model
    from vitrail.train.config import read_config

    # Packs and videos are not for small images (docs/en/zoo.md), and Vim is there once.
    names = {"NaViT", "ViViT", "OfficialVisionMamba"}
    for path in sorted((ROOT / "recipes" / "zoo").glob("*.yaml")):
        if path.stem != "base":
            model = read_config(path).model
            new_model(
                model.name, **{"image_size": 28, "channels": 1, "num_classes": 10, **model.options}
            )
            names.add(model.name)
    assert names == set(model_classes())


def test_no_figure_is_missing() -> None:
    for readme in READMES:
        assert not re.search(r"^[A-Z]{4,}$", (ROOT / readme).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    ("pages", "language"),
    [(READMES, "bash"), ((TUTORIAL, TUTORIAL.replace("/en/", "/zh/")), "python")],
)
def test_both_languages_have_the_same_code(pages: tuple[str, str], language: str) -> None:
    english, chinese = (blocks(page, language) for page in pages)
    strip = [re.sub(r"\s*#.*", "", "\n".join(b)) for b in (english, chinese)]
    assert strip[0] == strip[1]
