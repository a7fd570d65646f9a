"""`import vitrail` costs what torch costs: everything else waits until it is used."""

import subprocess
import sys

import pytest

HEAVY = (
    "accelerate", "datasets", "kornia", "matplotlib", "numba", "onnx", "pandas", "PIL", "pydantic",
    "rich", "scipy", "simplejpeg", "skimage", "sklearn", "tensorboard", "timm", "torchvision",
    "transformers", "typer", "vit_pytorch", "wandb", "yaml",
)  # fmt: skip


def all_modules_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(process.stdout.split())


def modules_after(statement: str) -> set[str]:
    """The top-level packages alone."""
    return {name.partition(".")[0] for name in all_modules_after(statement)}


def test_importing_brings_nothing_heavy() -> None:
    extra = modules_after("import vitrail") - modules_after("import torch")
    assert not extra & set(HEAVY)
    assert "vitrail.messages" not in all_modules_after("import vitrail")


def test_a_model_needs_the_core_only() -> None:
    statement = "import vitrail; vitrail.create_model('vit_tiny_patch16_224', depth=1)"
    assert not (modules_after(statement) - modules_after("import torch")) & set(HEAVY)


def test_every_public_name_is_there() -> None:
    import vitrail

    for name in vitrail.__all__:
        assert getattr(vitrail, name) is not None
    assert set(dir(vitrail)) == set(vitrail.__all__)


def test_packages_are_attributes() -> None:
    statement = "import vitrail; vitrail.lens.__name__; vitrail.train.__name__"
    assert {"vitrail.lens", "vitrail.train"} <= all_modules_after(statement)
    assert "vitrail.lens" not in all_modules_after("import vitrail")


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    import vitrail

    with pytest.raises(AttributeError, match="module 'vitrail' has no attribute 'resnet'"):
        vitrail.resnet


@pytest.mark.parametrize(
    "arguments", [["--version"], ["train", "folder:x", "model.name=vit_tiny_patch61_224"]]
)
def test_a_version_and_a_wrong_name_of_a_model_are_said_before_torch_is_imported(
    arguments: list[str],
) -> None:
    modules = modules_after(
        "import sys, io\nfrom vitrail.cli.main import main\n"
        f"sys.argv, sys.stdout = ['vitrail', *{arguments}], io.StringIO()\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        f"    assert end.code == {2 if arguments[1:] else 0}\nsys.stdout = sys.__stdout__"
    )
    assert "typer" in modules
    assert "torch" not in modules
