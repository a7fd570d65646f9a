"""Every recipe, and every command of the guide to methods, builds a model and a method.

Nothing is trained and nothing fetched: networks have one block, data are stood in for, and so is
whatever a recipe names, a teacher, a tokenizer or weights. A keyword that does not exist, a value
out of range, settings that do not fit each other, or a run that no recipe makes, fail.
"""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import Tensor

import vitrail
from tests.models.small import small
from vitrail.cli.main import build_app
from vitrail.data.dataset import Dataset
from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.text import Tokenizer
from vitrail.errors import ConfigError
from vitrail.hub import method_folder as method_io
from vitrail.methods import registry
from vitrail.methods.base import Batch, Method
from vitrail.models.base import Backbone
from vitrail.models.registry import variants
from vitrail.plugins import load_plugin
from vitrail.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from vitrail.train import model_factory, named_callables
from vitrail.train.config import RunConfig, make_config, read_config
from vitrail.train.optim import parameter_groups
from vitrail.train.stream_factory import build_transform

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
PAPERS = [path for path in RECIPES if path.parent.name == "papers"]
GUIDES = ("docs/en/methods.md", "docs/zh/methods.md")
HUB_ID = re.compile(r"[\w-]+/[\w.-]+")
SHALLOW: dict[str, dict[str, Any]] = {  # what takes long to make, and says nothing
    "mae": {"decoder_depth": 1},
    "dino": {"out_dim": 64},
    "clip": {"text_depth": 1},
}


RECORDINGS = {  # shapes of samples
    "moving-shapes": (3, 8, 32, 32),
    "videos:data/speeds": (3, 8, 32, 32), "volumes:data/brain": (1, 16, 16, 16),
    "signals:data/leaves": (1, 416),
}  # fmt: skip
EARLIER: dict[str, RunConfig] = {}  # what commands of the guide left, by folder


def commands_of(path: Path) -> list[list[str]]:
    """The `vitrail train` commands in a recipe's head, in parts: a recipe and what follows."""
    text = re.sub(r"\\\n# +", "", path.read_text("utf-8"))
    lines = re.findall(r"^#   .*?\bvitrail train (\S+\.yaml.*)$", text, re.M)
    return [shlex.split(line) for line in lines]


def read_command(parts: list[str]) -> tuple[str, RunConfig]:
    """The run that such a command starts, and its folder."""
    recipe, *rest = parts
    folder = f"runs/{Path(recipe).stem}"
    if "--out" in rest:
        index = rest.index("--out")
        folder = rest[index + 1]
        del rest[index : index + 2]
    if "--plugin" in rest:
        index = rest.index("--plugin")
        load_plugin(ROOT / rest[index + 1])
        del rest[index : index + 2]
    return folder, read_config(ROOT / recipe, rest)


def leavers() -> dict[str, RunConfig]:
    """Runs by the folders in which recipes say that they end."""
    own = [(path, parts) for path in RECIPES for parts in commands_of(path)]
    mine = [read_command(parts) for path, parts in own if ROOT / parts[0] == path]
    return dict(reversed(mine))


class Photographs(FolderDataset):
    """Images of no folder."""

    def __init__(self, labels: int) -> None:
        super().__init__(Path(), [Path("0.jpg")], [0], [str(i) for i in range(labels)])
        self.captions = ["a caption"] * (labels == 0)

    def read(self, index: int) -> Tensor:
        return torch.zeros(3, 224, 224, dtype=torch.uint8)


def stand_in(run: RunConfig) -> Dataset:
    """Images like those that the recipe names: two of them."""
    source = run.data.source
    if source.startswith(("folder:", "images:", "captions:")):
        return Photographs(1000 if source.startswith("folder:") else 0)
    if source in RECORDINGS:
        samples = torch.zeros(2, *RECORDINGS[source])
        labels = ["one", "other"]
        return InMemoryDataset(samples, torch.arange(2), labels, ((0.3,) * len(samples[0]),) * 2)
    side = {"fashion-mnist": 28, "mnist5k": 28, "digits": 8}[source]
    images = torch.zeros(2, 1, side, side, dtype=torch.uint8)
    labels = [f"label {i}" for i in range(10)]
    return InMemoryDataset(images, torch.zeros(2), labels, ((0.3,), (0.4,)), source)


def shallow(run: RunConfig) -> RunConfig:
    """The run with one block in each stage of its networks."""
    model, method = run.model, run.method
    if model.weights is None:
        preset = variants()[model.name].variant.keywords if model.name in variants() else {}
        depth = {**preset, **model.options}.get("depth", 1)
        once = 1 if isinstance(depth, int) else [min(blocks, 1) for blocks in depth]
        options = {**model.options, "depth": once}
        if isinstance(samples := options.get("samples"), list | tuple):  # of each block
            options["samples"] = samples[:1]
        model = model.model_copy(update={"options": options})
    method = method.model_copy(update=SHALLOW.get(method.name, {}))
    data = run.data.model_copy(update={"sampling": None})  # stand-ins have the model's size
    return run.model_copy(update={"model": model, "method": method, "data": data})


def make(run: RunConfig) -> Method:
    """The recipe's model, method, transform and groups of parameters."""
    run, dataset = shallow(run), stand_in(run)
    model = model_factory.build_model(run, dataset)
    method = model_factory.build_method(run, model, dataset)
    build_transform(run, method, dataset)
    if run.method.name == "beit":  # a tokenizer's codes must lie where the patches do
        tokenizer = method.tokenizer.function  # type: ignore[attr-defined]
        identity = isinstance(tokenizer, torch.nn.Identity)
        assert identity or tokenizer.layout.grid == method.layout.grid  # type: ignore[attr-defined]
    optim = run.optim
    assert parameter_groups(
        method,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        layer_decay=optim.layer_decay,
        per_module=optim.per_module,
    )
    return method


def load_stand_in(ref: str, *, weights: str | None = None, image_size: object = None) -> Backbone:
    """What another recipe leaves in its run, or a model like that of a Hub id or a package."""
    del image_size
    if ref.startswith("runs/"):
        model = method_of(ref).result().requires_grad_(True)
        model.labels = model.labels if model.num_classes else None  # as a run is kept
        return model
    if weights is None:
        assert HUB_ID.fullmatch(ref), f"{ref} is neither a run nor a Hub id"
        ref = "vit_tiny_patch16_224"
    model = vitrail.create_model(ref, image_size=224, dim=24, heads=2, mlp_dim=24)
    model.preprocess = Preprocess((224, 224), 256, "bicubic", IMAGENET_MEAN, IMAGENET_STD)
    return model


def method_of(ref: str) -> Method:
    """The method that another recipe's run keeps, or that of a command before."""
    run = {**leavers(), **EARLIER}.get(ref)
    assert run is not None, f"no recipe makes {ref}"
    return make(run)


def small_tokenizer(name: str, texts: list[str]) -> Tokenizer:
    """A small vocabulary."""
    assert name == "openai" or name.endswith(".json") or re.fullmatch(r"train:\d+", name), name
    return Tokenizer.train(texts[:10], 300)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What recipes name is not looked for."""
    EARLIER.clear()
    monkeypatch.setattr(model_factory, "load", load_stand_in)
    monkeypatch.setattr(model_factory, "adapt", lambda *_: None)  # peft takes seconds to import
    monkeypatch.setattr(model_factory, "check_learns", lambda *_: None)
    monkeypatch.setattr(named_callables, "load", load_stand_in)
    monkeypatch.setattr(named_callables, "open_tokenizer", small_tokenizer)
    monkeypatch.setattr(method_io, "load_method", method_of)
    for origin in ("timm", "transformers", "python"):
        monkeypatch.setattr(named_callables, f"_from_{origin}", lambda place: torch.nn.Identity())


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.relative_to(ROOT / "recipes").as_posix())
def test_a_recipe_makes_a_model_and_a_method(path: Path) -> None:
    for parts in commands_of(path):
        read_command(parts)  # loads its plug-in
    if path.stem != "base":  # which others build on
        make(read_config(path))
    for parts in commands_of(path):
        if ROOT / parts[0] != path or "=" in "".join(parts):
            make(read_command(parts)[1])


@pytest.mark.parametrize(
    "change",
    [
        "model.options.dept=2", "model.options.heads=7", "method.mask_rato=0.5",
        "method.mask_ratio=2", "data.augment.flipp=1", "optim.beta=0.9", "schedule.epochs=0.5",
    ],
)  # fmt: skip
def test_a_wrong_setting_fails(change: str) -> None:
    with pytest.raises(ConfigError):
        make(read_config(ROOT / "recipes" / "papers" / "mae_pretrain.yaml", [change]))


def test_a_run_that_no_recipe_makes_fails() -> None:
    with pytest.raises(AssertionError, match="no recipe makes runs/mae_pretrained"):
        path = ROOT / "recipes" / "papers" / "mae_finetune.yaml"
        make(read_config(path, ["model.weights=runs/mae_pretrained"]))


@pytest.mark.parametrize("path", PAPERS, ids=lambda p: p.stem)
def test_a_papers_recipe_says_what_it_is(path: Path) -> None:
    """Its source, its command, that it was not run; and its figures follow from those it quotes."""
    text, run = path.read_text("utf-8"), read_config(path)
    head = " ".join(re.sub(r"^# ?", "", text.partition("\nmodel:")[0], flags=re.M).split())
    for words in ("https://arxiv.org/", f"recipes/papers/{path.name}", "not run it at this scale"):
        assert words in head, f"{path.name} does not say {words!r}"
    assert "Different here:" in head
    if scaled := re.search(r"Learning rate: (\S+) · (\d+) / (\d+) = ([\d.e-]+\d)", head):
        base, batch, per, rate = map(float, scaled.groups())
        assert base * batch / per == pytest.approx(rate) == run.optim.lr
        assert batch == run.data.batch_size * run.optim.accumulate
    elif rate := re.search(r"Learning rate: (\S+) as given", head):
        assert float(rate[1]) == run.optim.lr
    else:
        assert "this rate is ours" in head
    if epochs := re.search(r"warmup: .*# (\d+) epochs?$", text, re.M):
        assert run.schedule.warmup * run.schedule.epochs == pytest.approx(int(epochs[1]), rel=1e-4)
    if floor := re.search(r"min_lr: .*# (\S+)$", text, re.M):
        assert run.schedule.min_lr * run.optim.lr == pytest.approx(float(floor[1]), rel=1e-4)


def commands(guide: str) -> list[list[str]]:
    """The commands of a page's code blocks, in parts."""
    text = (ROOT / guide).read_text("utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.M)
    code = "\n".join(code for language, code in blocks if not language)
    lines = code.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("vitrail ")]


def test_the_guides_commands_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options exist; what is to be trained can be made. Nothing runs."""
    monkeypatch.chdir(ROOT)
    group = typer.main.get_command(build_app())
    context = group.make_context("vitrail", [], resilient_parsing=True)
    lines = commands(GUIDES[0])
    assert len(lines) > 15
    for name, *arguments in lines:
        command = group.get_command(context, name)  # type: ignore[attr-defined]
        assert command is not None, name
        options = command.make_context(name, arguments, parent=context).params
        if name == "eval":
            assert options["model"] in EARLIER
        if name == "train":
            what, changes = options["what"], options["overrides"] or []
            if what.startswith("csv:"):  # its labels choose the method
                continue
            recipe = what.endswith(".yaml")
            run = (
                read_config(what, changes)
                if recipe
                else make_config({"data": {"source": what}}, changes)
            )
            make(run)
            EARLIER[str(options["folder"])] = run


def test_the_guides_method_learns(tmp_path: Path) -> None:
    """As a file that is registered by a name, on any tier."""
    text = (ROOT / GUIDES[0]).read_text("utf-8")
    code = next(c for c in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class " in c)
    (tmp_path / "rotation.py").write_text(code.partition("\n\n\nbackbone = ")[0], "utf-8")
    spec = importlib.util.spec_from_file_location("rotation", tmp_path / "rotation.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    registry.register_method("rotation")(module.Rotation)
    with pytest.raises(ConfigError, match="has no setting 'hiden_dim'. Did you mean 'hidden_"):
        registry.create_method("rotation", small("Swin"), hiden_dim=16)
    method = registry.create_method("rotation", small("Swin"), hidden_dim=16)
    bright_above = torch.linspace(1, -1, 32).view(1, 1, 32, 1).expand(16, 3, 32, 32)
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    for _ in range(30):
        loss, metrics = method(Batch(images=bright_above))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert metrics["accuracy"] > 0.9


def test_both_guides_have_the_same_code() -> None:
    english, chinese = map(commands, GUIDES)
    assert english == chinese
    texts = [(ROOT / guide).read_text("utf-8") for guide in GUIDES]
    python = [re.findall(r"```python\n(.*?)```", text, re.DOTALL) for text in texts]
    strip = [[re.sub(r"\s*#.*|\"\"\".*?\"\"\"", "", code) for code in blocks] for blocks in python]
    assert strip[0] == strip[1]
