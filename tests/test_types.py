"""Type checkers see the models: the class, its keywords, and a misspelt one."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("basedpyright", reason="basedpyright comes with `make lint`")

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
"""


@pytest.fixture(scope="module")
def diagnostics(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """basedpyright's answer to the snippet."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "snippet.py").write_text(SNIPPET)
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson"]
    command += ["--pythonpath", sys.executable, "--project", str(folder)]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert answer.stdout, answer.stderr
    return json.loads(answer.stdout)["generalDiagnostics"]


def types(diagnostics: list[dict[str, Any]]) -> list[str]:
    """What `reveal_type` says, in order."""
    texts = [d["message"] for d in diagnostics if d["severity"] == "information"]
    return [text.partition(" is ")[2].strip('"') for text in texts]


def test_the_classes_are_visible(diagnostics: list[dict[str, Any]]) -> None:
    assert types(diagnostics) == ["ViT", "type[VisionMamba]", "Preprocess", "Mine"]


def test_a_misspelt_keyword_is_an_error(diagnostics: list[dict[str, Any]]) -> None:
    errors = [d for d in diagnostics if d["severity"] == "error"]
    line = next(n for n, text in enumerate(SNIPPET.splitlines()) if "imagesize" in text)
    assert {(d["range"]["start"]["line"], d.get("rule")) for d in errors} == {
        (line, "reportCallIssue")
    }
    assert any("imagesize" in d["message"] for d in errors)


def test_the_signature_is_the_written_one() -> None:
    """For every model: no `*args, **kwargs`, and every keyword has a type."""
    import inspect

    from vitrail.models.registry import model_classes

    for model in model_classes().values():
        signature = inspect.signature(model)
        assert list(signature.parameters) == list(model.__init__.__annotations__)[:-1], model
        assert not {p.kind for p in signature.parameters.values()} & {
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        }
