"""Images that are drawn while a method learns: reconstructions, attention, similarities."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.splits import balanced
from vitrail.lens.trace import AttentionTrace, observe
from vitrail.methods.base import Method
from vitrail.models.base import Backbone
from vitrail.preprocess import Preprocess

COUNT = 8


class ImageSample(NamedTuple):
    """A few held-out images, the same each time.

    Args:
        images: uint8 (B, C, H, W).
        captions: a caption or the class name of each; empty where there are none.
        preprocess: normalizes them.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> preprocess = Preprocess((8, 8), None, mean=(0.3,), std=(0.4,))
        >>> pick_sample(open_dataset("digits"), preprocess).captions[:3]
        ['0', '1', '2']
    """

    images: Tensor
    captions: list[str]
    preprocess: Preprocess


def pick_sample(dataset: Dataset, preprocess: Preprocess) -> ImageSample:
    """Takes a few images of a dataset, one of each class in turn.

    Args:
        dataset: held-out samples.
        preprocess: brings them to the model's size.

    Returns:
        The images; none of a streamed dataset, or one of other samples than images.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> preprocess = Preprocess((8, 8), None, mean=(0.3,), std=(0.4,))
        >>> pick_sample(open_dataset("digits"), preprocess).images.shape
        torch.Size([8, 1, 8, 8])
    """
    if dataset.streamed or len(preprocess.size) != 2:
        return ImageSample(torch.empty(0), [], preprocess)
    few = balanced(dataset, min(COUNT, len(dataset)))
    images = torch.stack([preprocess.crop(few.read(i)) for i in range(len(few))])
    names = [few.labels[target] for target in few.targets()] if few.labels else []
    return ImageSample(images, list(few.captions) or names, preprocess)


def draw_images(sample: ImageSample, method: Method, backbone: Backbone) -> dict[str, np.ndarray]:
    """Draws what a method makes of images.

    Args:
        sample: the images.
        method: method that learns.
        backbone: the weights to evaluate.

    Returns:
        Images uint8 (H, W, 3) by what they show; none for a method that shows nothing.

    Example:
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> sample = ImageSample(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [], model.preprocess)
        >>> draw_images(sample, Supervised(model), model)
        {}
    """
    if not len(sample.images):
        return {}
    from vitrail.lens import grids  # matplotlib, which a start need not wait for

    device = next(method.parameters()).device
    was_training = method.training
    method.eval()
    images = sample.preprocess.normalise(sample.images.to(device))
    drawings: dict[str, np.ndarray] = {}
    with torch.inference_mode(), torch.random.fork_rng([device] * (device.type == "cuda")):
        torch.manual_seed(0)  # the same patches are masked each time
        if (rows := method.reconstruct(images)) is not None:
            pixels = torch.stack([sample.preprocess.undo(row) for row in rows])
            drawings["reconstruction"] = grids.reconstruction_grid(pixels)
        if method.logs_attention:
            trace = observe(backbone, images)
            if isinstance(trace, AttentionTrace):
                drawings["attention"] = grids.attention_grid(sample.images, trace)
        if sample.captions:
            cosines = method.similarity(images, sample.captions)
            if cosines is not None:
                drawings["similarity"] = grids.similarity_matrix(
                    sample.images, sample.captions, cosines
                )
    method.train(was_training)
    return drawings
