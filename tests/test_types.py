"""Type checkers and editors see the package: names, keywords, types, and no `Any` among them."""

import ast
import builtins
import importlib
import inspect
import os
import re
import runpy
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vitrail
from tests.language_server import Editor
from vitrail.models.registry import MODELS, get_model_class

pytest.importorskip("basedpyright", reason="basedpyright comes with `make lint`")

# Trains, looks and exports. Every name after a dot and every keyword was typed from completion.
SCRIPT = """
import torch
import vitrail

run = vitrail.fit(
    "SimpleViT", data="digits", method="supervised", out="run", epochs=1, limit=40, crop="none",
    options={"patch_size": 4, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16},
)
print(run.report.name, run.metrics["top1"])
model = run.model
images = model.preprocess.normalise(torch.zeros(2, 1, 8, 8).byte())
logits = model(images)
trace = vitrail.lens.trace_attention(model, images)
print(trace.rollout.shape, logits.argmax(dim=1).shape)
with vitrail.record(model, heads=[0]) as maps:
    model(images)
print(maps[0].shape)
exported = vitrail.deploy.export_onnx(model, "model.onnx", image_size=8)
print(exported.path.name)
again = vitrail.load("run", num_classes=3)
tiny = vitrail.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=3)
mae = vitrail.methods.MAE(tiny, mask_ratio=0.5)
print(vitrail.models.Swin.paper.year, vitrail.layers.Attention(dim=8, heads=2))
print(vitrail.list_models(pattern="deit*", pretrained=True))
"""


PAIRS = {"(": ")", "[": "]", "{": "}"}


def closed(text: str) -> str:
    """The brackets that an editor closes by itself after what was typed."""
    brackets: list[str] = []
    for token in re.findall(r'"[^"]*"|[()\[\]{}]', text):
        if token in PAIRS:
            brackets.append(PAIRS[token])
        elif token in PAIRS.values():
            brackets.pop()
    return "".join(reversed(brackets))


def places(script: str) -> Iterator[tuple[str, str, str]]:
    """(What was typed, the object before its dot, the name that it begins), keywords as well."""
    lines = script.split("\n")

    def before(line: int, column: int) -> str:
        return "\n".join([*lines[: line - 1], lines[line - 1][:column]])

    for node in ast.walk(ast.parse(script)):
        if isinstance(node, ast.Attribute):
            assert node.end_lineno is not None and node.end_col_offset is not None
            text = before(node.end_lineno, node.end_col_offset - len(node.attr))
            yield text, ast.unparse(node.value), node.attr
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield before(node.lineno, node.col_offset + 1), "", node.arg


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    """One for all tests, which reads PyTorch once."""
    with Editor(tmp_path_factory.mktemp("types")) as editor:
        yield editor


def test_a_script_is_typed_from_completion_alone(editor: Editor) -> None:
    packages = ("models", "methods", "lens", "deploy", "hub", "data", "train", "layers")
    modules = ["vitrail", *(f"vitrail.{package}" for package in packages)]
    offers = {module: editor.completions(f"import vitrail\n{module}.") for module in modules}
    assert set(vitrail.__all__) <= offers["vitrail"]
    assert "ResNet" not in offers["vitrail"]
    for package in packages:
        assert set(getattr(vitrail, package).__all__) <= offers[f"vitrail.{package}"]
    missing = [
        (text.rsplit("\n", 1)[-1], name)
        for text, owner, name in places(SCRIPT)
        if name not in (offers.get(owner) or editor.completions(text, closed(text)))
    ]
    assert not missing


def test_the_script_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    runpy.run_path("script.py", run_name="__main__")
    assert sorted(os.listdir()) == ["model.onnx", "run", "script.py"]
    assert "report.html" in capsys.readouterr().out


SNIPPET = """
from typing import Any

import vitrail

model = vitrail.ViT(image_size=32, patch_size=16, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
reveal_type(model)
reveal_type(vitrail.VisionMamba)
reveal_type(model.preprocess)
vitrail.ViT(imagesize=32, patch_size=16, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)


class Mine(vitrail.ViT):
    def __init__(self, extra: int = 1, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.extra = extra


reveal_type(Mine(extra=2, depth=1))
vitrail.ViTs
vitrail.lens.recrod
"""
ERRORS = (
    ("imagesize", "reportCallIssue"),
    ("vitrail.ViTs", "reportAttributeAccessIssue"),
    ("vitrail.lens.recrod", "reportAttributeAccessIssue"),
)


ERROR, WARNING, INFORMATION = 1, 2, 3  # severities of the language server protocol


def test_the_script_has_types_and_no_any(editor: Editor) -> None:
    def problems(script: str) -> list[str]:
        found = editor.diagnostics(script)
        return [d["message"] for d in found if d["severity"] in (ERROR, WARNING)]

    assert not problems(SCRIPT)
    assert problems(SCRIPT.replace("epochs=", "epoch=")) == ['No parameter named "epoch"']
    assert problems(SCRIPT + "import json\nloaded = json.loads('1')\n")


@pytest.fixture(scope="module")
def diagnostics(editor: Editor) -> list[dict[str, Any]]:
    return editor.diagnostics(SNIPPET)


def types(diagnostics: list[dict[str, Any]]) -> list[str]:
    """What `reveal_type` says, in order."""
    texts = [d["message"] for d in diagnostics if d["severity"] == INFORMATION]
    return [text.partition(" is ")[2].strip('"') for text in texts]


def test_the_classes_are_visible(diagnostics: list[dict[str, Any]]) -> None:
    assert types(diagnostics) == ["ViT", "type[VisionMamba]", "Preprocess", "Mine"]


def test_a_misspelt_name_is_an_error(diagnostics: list[dict[str, Any]]) -> None:
    lines = SNIPPET.splitlines()
    expected = {
        (next(n for n, text in enumerate(lines) if word in text), rule) for word, rule in ERRORS
    }
    errors = [d for d in diagnostics if d["severity"] == ERROR and d["code"] != "reportAny"]
    assert {(d["range"]["start"]["line"], d["code"]) for d in errors} == expected
    assert any("imagesize" in d["message"] for d in errors)


def test_the_signature_is_the_written_one() -> None:
    """For every model: no `*args, **kwargs`, and every keyword has a type."""
    for model in map(get_model_class, MODELS):
        signature = inspect.signature(model)
        assert list(signature.parameters) == list(model.__init__.__annotations__)[:-1], model
        assert not {p.kind for p in signature.parameters.values()} & {
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        }


# Where the public surface says `Any`, and why.
ANY = {
    "vitrail.train.metrics.Evaluation.describe return": "JSON of a report, of any depth",
    "vitrail.contract.checks.Check run": "a check knows what kind of part it is for",
    "vitrail.contract.checks.run_checks subject": "a part of any kind",
    "vitrail.data.hub_datasets.HubDataset.__init__ rows": "of `datasets`, which is optional",
    "vitrail.data.hub_datasets.StreamedDataset.__init__ rows": "of `datasets`, which is optional",
    "vitrail.data.text.Tokenizer.__init__ core": "of `tokenizers`, which is optional",
    "vitrail.data.pairs.PairDataset.__init__ pairs": "of whatever library has datasets",
    "vitrail.lens.faithfulness.randomization.randomization_check settings": "as of explain",
    "vitrail.lens.explanations.base.explain settings": "each explanation's have types of their own",
    "vitrail.methods.base.Method tokenizer": "a tokenizer's, of whatever library",
    "vitrail.models.base.Backbone config": "each model's keywords have types of their own",
    "vitrail.models.features.Features extras": "each model's have types of their own",
    "vitrail.train.callback.Callback.load_state state": "JSON that the callback itself gave",
    "vitrail.train.callback.Callback.state return": "JSON that the callback itself reads",
    "vitrail.train.config.RunConfig.plain return": "settings in sections, as in YAML",
    "vitrail.train.config.make_config values": "settings in sections, as in YAML",
    "vitrail.train.optim.parameter_groups return": "as torch.optim declares them",
}


class Names(dict[str, object]):
    """Local names for annotations: those that only type checkers import stand for `object`."""

    def __init__(self, module: str) -> None:
        super().__init__(vars(builtins) | vars(importlib.import_module(module)))

    def __missing__(self, name: str) -> object:
        return object


def holds_any(hint: object) -> bool:
    parts = hint if isinstance(hint, list | tuple) else typing.get_args(hint)
    return hint is Any or any(map(holds_any, parts))


def annotations(name: str, value: Any) -> Iterator[tuple[str, object]]:
    """(Dotted name, type) of what a public function or class takes, returns and holds."""
    if not inspect.isclass(value):
        names = Names(value.__module__)
        for overload in typing.get_overloads(value) or [inspect.unwrap(value)]:
            for argument, hint in typing.get_type_hints(overload, localns=names).items():
                yield f"{name} {argument}", hint
        return
    for base in value.__mro__:
        if not base.__module__.startswith("vitrail."):
            continue
        owner = f"{base.__module__}.{base.__qualname__}"
        own = vars(base).get("__annotations__", {})
        for field, hint in typing.get_type_hints(base, localns=Names(base.__module__)).items():
            if field in own and not field.startswith("_"):
                yield f"{owner} {field}", hint
        for method, member in vars(base).items():
            function = getattr(member, "fget", None) or getattr(member, "func", None) or member
            function = getattr(function, "__func__", function)
            is_public = not method.startswith("_") or method in ("__init__", "__call__")
            if is_public and inspect.isfunction(function):
                yield from annotations(f"{owner}.{method}", function)


def test_the_public_surface_has_no_any() -> None:
    surface = dict[str, object]()
    packages = [name for name, (module, _) in vitrail.origins.items() if module == "vitrail"]
    for package in ("", *(f".{name}" for name in packages)):
        module = importlib.import_module(f"vitrail{package}")
        for name in module.origins:
            value = getattr(module, name)
            if callable(value):
                surface |= annotations(f"{value.__module__}.{name}", value)
    assert len(surface) > 1000
    with_any = {name for name, hint in surface.items() if holds_any(hint)}
    assert with_any == set(ANY), with_any ^ set(ANY)
    assert holds_any(list[dict[str, Any]]) and not holds_any(list[dict[str, object]])
