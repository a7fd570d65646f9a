"""The published checkpoints of Vision Mamba (hustvl/Vim): a file of weights without a config.

`VisionMamba.from_official` takes any official weights, with the keywords they were made with.
"""

from torch import Tensor

from vitrail.preprocess import Preprocess
from vitrail.models.base import Backbone
from vitrail.models.vim import VisionMamba
from vitrail.models.vim_official import guess

NAME = "official Vision Mamba"


def recognises(tensors: dict[str, Tensor]) -> bool:
    """Whether tensors have the official code's names."""
    return "layers.0.mixer.A_log" in tensors and "patch_embed.proj.weight" in tensors


def convert(tensors: dict[str, Tensor]) -> Backbone:
    """The model of a published checkpoint. Raises `LoadError` for one of another network."""
    model = VisionMamba.from_official(tensors, **guess(tensors))
    # As its authors evaluate: the short side resized to 256, the centre cut out.
    model.preprocess = Preprocess(size=(model.image_size[0], model.image_size[1]), resize=256)
    return model
