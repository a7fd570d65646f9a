"""What evaluation and prediction begin with: a model that is ready to run, and its images."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from PIL.Image import Image
from torch import Tensor, nn

from vitrail.arguments import Unchecked
from vitrail.data.recording_inputs import find_inputs
from vitrail.deploy.precision import fastest, halve
from vitrail.errors import ConfigError, DataError, VitrailError, check_choice
from vitrail.hub.load import load
from vitrail.hub.method_folder import load_method
from vitrail.layers.patch import to_tuple
from vitrail.messages import _, in_own_language
from vitrail.methods.base import Method
from vitrail.models.base import Backbone
from vitrail.preprocess import Preprocess
from vitrail.run_folder import RunFolder
from vitrail.train.console import note
from vitrail.train.devices import choose_device
from vitrail.train.runs import TrainingRun
from vitrail.values import Size, check_value

ModelSource = Backbone | TrainingRun | str | Path  # a model, or where one is
ONE = (str, Path, Image)
ImageSource = str | Path | Image | Tensor  # a path is a file, a folder or a pattern
# `read_images` says which of them is none.
Images = Annotated[ImageSource | Iterable[ImageSource], Unchecked()]


def open_model(
    model: ModelSource,
    *,
    weights: str | None = None,
    image_size: Size | None = None,
    layer: int | None = None,
    device: str | torch.device | None = None,
) -> Backbone:
    """A model in evaluation mode, for another image size or without its last blocks.

    Args:
        model: a model, which is left as it is; or a run, a model folder or a Hub id.
        weights: package that holds the weights; None for the model's own.
        image_size: pixels, one number for all axes or one per axis; None for the model's own.
        layer: number of blocks that remain; None for all.
        device: "cpu", "cuda", "cuda:1", "mps" ...; None for the device of a model, and the GPU, if
            there is one, for what is loaded.

    Returns:
        The model, whose `preprocess` gives images of that size.

    Raises:
        ConfigError: the model cannot take images of that size, or has fewer blocks; or this machine
            has no such device.
        LoadError: there is no such model.

    Example:
        >>> open_model(vitrail.ViT(8, 4, 2, 8, 1, 2, 8), image_size=16).preprocess.size
        (16, 16)
    """
    if isinstance(model, Backbone):
        backbone = model
        changes = (image_size, layer, device)
        if model.training or any(change is not None for change in changes):
            backbone = copy.deepcopy(model).eval()
        if device is not None:
            backbone.to(choose_device(device))
    else:
        target = choose_device(device)
        backbone = load(model.folder if isinstance(model, TrainingRun) else model, weights=weights)
        backbone.to(target)
    if layer is not None:
        try:
            backbone.cut(layer)
        except VitrailError as problem:
            raise type(problem)(f"layer={layer}: {problem}") from None
    if image_size is not None:
        size = to_tuple(check_value("image_size", image_size, Size), len(backbone.image_size))
        backbone.preprocess = backbone.preprocess.at(size)
        try:  # the model knows its sizes: windows, strides and patches differ between models
            with torch.inference_mode():
                like = next(backbone.parameters())
                backbone(like.new_zeros(1, backbone.channels, *size))
        except VitrailError as problem:
            raise ConfigError(f"image_size={image_size}: {problem}") from None
    return backbone


def prepare(model: Backbone, precision: str, crops: Tensor) -> nn.Module:
    """The module to run in a precision.

    Args:
        model: the model, in evaluation mode.
        precision: "fp32", "bf16", or "auto" for the faster of them on images like `crops`.
        crops: uint8 (B, C, *size), a batch to measure with.

    Returns:
        The model, or a copy in bfloat16.

    Raises:
        ConfigError: the precision is unknown.

    Example:
        >>> model = vitrail.ViT(8, 4, 2, 8, 1, 2, 8)
        >>> prepare(model, "fp32", torch.zeros(1, 3, 8, 8, dtype=torch.uint8)) is model
        True
    """
    check_choice("precision", precision, ("auto", "fp32", "bf16"))
    if precision == "fp32":
        return model
    if precision == "bf16":
        return halve(model)
    device = next(model.parameters()).device
    choice = fastest(model, model.preprocess.normalise(crops.to(device)))
    if choice.precision != "fp32":
        text = _("using {precision}, which is {speedup:.1f}x as fast as fp32")
        note(text.format(precision=choice.precision, speedup=choice.speedup))
    return choice.model


def classifying_method(model: ModelSource, labels: Sequence[str] | None = None) -> Method:
    """The method of a run, or a public CLIP, that classifies for a model without a head.

    Args:
        model: a run; with `labels`, a run or Hub id of CLIP.
        labels: class names to select from, for methods that read text; None: the method's own.

    Returns:
        The method.

    Raises:
        ConfigError: the method does not classify, or does not read text.

    Example:
        >>> classifying_method("nowhere")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: nowhere has no head that classifies: ...
    """
    if isinstance(model, Backbone):
        raise ConfigError(
            f"{describe_model(model)} has no head that classifies: train one by vitrail.fit, or "
            "evaluate its features by vitrail.evaluate(model, data, probe='knn')."
        )
    ref = model.folder if isinstance(model, TrainingRun) else model
    if labels is not None or RunFolder(ref).method_folder.is_dir():
        method = load_method(ref)
        if labels is not None and "captions" not in method.inputs:
            raise ConfigError(f"{labels=} are for CLIP, and {ref} is of {type(method).__name__}.")
        if labels is not None or method.classifier(method.backbone) is not None:
            return method
    raise ConfigError(
        f"{ref} has no head that classifies: train one on it, such as `vitrail train "
        f"folder:PHOTOS model.weights={ref}`, or evaluate its features by `vitrail eval --probe "
        "knn`."
    )


def classifier(module: nn.Module, method: Method | None) -> nn.Module:
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
    whole = method.to(next(module.parameters()).device).classifier(cast(Any, module))
    assert whole is not None  # `classifying_method` has checked it
    return whole


def describe_model(model: ModelSource) -> str:
    """What a model is called in messages.

    Args:
        model: a model, or where one is.

    Returns:
        Its folder, its Hub id, or its class.

    Example:
        >>> describe_model(vitrail.ViT(8, 4, 2, 8, 1, 2, 8))
        'this ViT'
    """
    if isinstance(model, Backbone):
        return f"this {type(model).__name__}"
    return str(model.folder if isinstance(model, TrainingRun) else model)


def read_images(
    preprocess: Preprocess, images: ImageSource | Iterable[ImageSource], bad_images: str = "raise"
) -> Iterator[tuple[str, Tensor]]:
    """Reads images as a model sees them.

    Args:
        preprocess: of the model; it crops the images.
        images: one or several: paths of files and folders, patterns, Pillow images, uint8 tensors
            (C, H, W).
        bad_images: "raise" for an error at an unreadable image, "skip" to list it on stderr.

    Yields:
        The path of each image, or its number, and uint8 (C, H, W).

    Raises:
        DataError: there are no images, one is unreadable, or all are.

    Example:
        >>> preprocess = vitrail.ViT(8, 4, 2, 8, 1, 2, 8).preprocess
        >>> [name for name, _ in read_images(preprocess, torch.zeros(3, 9, 9, dtype=torch.uint8))]
        ['image 0']
    """
    check_choice("bad_images", bad_images, ("raise", "skip"))
    problems, count = [], 0
    for name, image in _named(preprocess, images):
        try:
            crop = preprocess.crop(image)
        except DataError as problem:
            if bad_images == "raise":
                raise DataError(f"{problem} Leave it out by bad_images='skip'.") from None
            problems.append(str(problem))
            continue
        count += 1
        yield name, crop
    for line in problems:
        note(_("skipped {problem}").format(problem=in_own_language(line)))
    if problems and not count:
        raise DataError(f"none of the {len(problems)} images can be read.")
    if not count:
        raise DataError("images is empty: give at least one path, Pillow image or uint8 tensor.")


def _named(
    preprocess: Preprocess, images: ImageSource | Iterable[ImageSource]
) -> Iterator[tuple[str, ImageSource]]:
    one = len(preprocess.size) + 1
    is_one = images.ndim == one if isinstance(images, Tensor) else isinstance(images, ONE)
    by_name = isinstance(images, Mapping) or hasattr(images, "columns")
    if by_name or not (is_one or isinstance(images, Iterable)):
        raise DataError(
            f"images is of {type(images).__name__}: give paths, Pillow images, uint8 tensors "
            "(channels, height, width), or the name of a dataset."
        )
    for number, image in enumerate([images] if is_one else cast(Iterable[ImageSource], images)):
        if isinstance(image, str | Path):
            yield from ((str(path), path) for path in find_inputs([image], preprocess))
        elif isinstance(image, Image | Tensor):
            yield f"image {number}", image
        else:
            raise DataError(
                f"image {number} is of {type(image).__name__}: give a path, a Pillow image or a "
                "uint8 tensor (channels, height, width)."
            )
