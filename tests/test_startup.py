"""`import vitrail` costs what torch costs: everything else waits until it is used."""

import subprocess
import sys

HEAVY = (
    "accelerate", "datasets", "kornia", "matplotlib", "numba", "onnx", "pandas", "PIL", "pydantic",
    "rich", "scipy", "simplejpeg", "skimage", "sklearn", "tensorboard", "timm", "torchvision",
    "transformers", "typer", "vit_pytorch", "wandb", "yaml",
)  # fmt: skip


def modules_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_brings_nothing_heavy() -> None:
    brought = modules_after("import vitrail") - modules_after("import torch")
    assert not brought & set(HEAVY)


def test_a_model_needs_the_core_only() -> None:
    statement = "import vitrail; vitrail.create_model('vit_tiny_patch16_224', depth=1)"
    assert not (modules_after(statement) - modules_after("import torch")) & set(HEAVY)


def test_every_public_name_is_there() -> None:
    import vitrail

    for name in vitrail.__all__:
        assert getattr(vitrail, name) is not None
    assert set(dir(vitrail)) == set(vitrail.__all__)
