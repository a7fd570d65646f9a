"""What is drawn while a method learns: reconstructions, a teacher's attention, similarities."""

import numpy as np
import torch
from torch import Tensor

from vitrail.preprocess import Preprocess
from vitrail.data.dataset import ImageDataset, StreamedDataset, balanced
from vitrail.lens import grids
from vitrail.lens.record import AttentionTrace, observe
from vitrail.methods.base import Method
from vitrail.methods.clip import CLIP
from vitrail.models.base import Backbone

SHOWN = 8


class Pictures:
    """Draws the same few held-out images each time, one of each class in turn."""

    def __init__(self, source: ImageDataset, preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self.images = torch.empty(0, preprocess.channels, *preprocess.size, dtype=torch.uint8)
        self.captions: list[str] = []
        if isinstance(source, StreamedDataset):
            return
        few = balanced(source, min(SHOWN, len(source)))
        self.images = torch.stack([preprocess.crop(few.read(i)) for i in range(len(few))])
        names = [few.labels[t] for t in few.targets()] if few.labels else []
        self.captions = list(few.captions) or names

    def draw(self, method: Method, backbone: Backbone) -> dict[str, np.ndarray]:
        """Pictures by name, each uint8 (H, W, 3); none for a method that shows nothing."""
        if not len(self.images):
            return {}
        device = next(method.parameters()).device
        was_training = method.training
        method.eval()
        images = self.preprocess.normalise(self.images.to(device))
        drawn: dict[str, np.ndarray] = {}
        with torch.inference_mode(), torch.random.fork_rng([device] * (device.type == "cuda")):
            torch.manual_seed(0)  # the same places are hidden each time
            if (rebuilt := method.reconstruct(images)) is not None:
                drawn["reconstruction"] = grids.reconstruction_grid(self._pixels(rebuilt))
            if method.views == "crops" and isinstance(look := observe(backbone, images), AttentionTrace):
                drawn["attention"] = grids.attention_grid(self.images, look)
            if isinstance(method, CLIP) and self.captions:
                cosines = method.similarity(images, self.captions)
                drawn["similarity"] = grids.similarity_matrix(self.images, self.captions, cosines)
        method.train(was_training)
        return drawn

    def _pixels(self, rows: Tensor) -> Tensor:
        """float (R, B, C, H, W) → uint8."""
        return torch.stack([self.preprocess.undo(row) for row in rows])
