"""How good what was learned is: by its own classifier, or by neighbours where it has none."""

from collections.abc import Callable

import torch
from torch import Tensor

from vitrail.data.loader import Loader
from vitrail.preprocess import Preprocess
from vitrail.data.dataset import ImageDataset, StreamedDataset, balanced
from vitrail.data.text import Captions
from vitrail.methods.base import Method
from vitrail.methods.clip import CLIP
from vitrail.models.base import Backbone
from vitrail.train import metrics
from vitrail.train.probe import knn

NEIGHBOURS = 20
EPSILON = 1e-4  # a class that no neighbour has is unlikely, not impossible

Progress = Callable[[int, int], None]


class Evaluator:
    """Judges a method's backbone on held-out images.

    A method without a classifier is judged by the labels of the nearest training images in the
    space of pooled features, as DINO's authors do. `bank`: so many of these, evenly over classes.
    """

    def __init__(
        self, train: ImageDataset, validation: Loader, preprocess: Preprocess, bank: int
    ) -> None:
        self.train, self.validation, self.preprocess = train, validation, preprocess
        self.bank = bank

    def __call__(
        self, method: Method, backbone: Backbone, progress: Progress | None = None
    ) -> metrics.Evaluation | None:
        """None: neither the method nor the images know labels."""
        classifier = method.classifier(backbone)
        if classifier is not None:
            return metrics.evaluate(classifier, self.validation, self.preprocess, progress)
        if len(self.train.labels) < 2 or isinstance(self.train, StreamedDataset):
            return None
        source = balanced(self.train, min(self.bank, len(self.train)))
        loader = Loader(source, self.validation.batch_size, self.preprocess.crop)
        loader.workers = self.validation.workers
        bank, labels, _ = compute_features(backbone, loader, self.preprocess)
        queries, targets, indices = compute_features(
            backbone, self.validation, self.preprocess, progress
        )
        near = knn(bank, labels, queries, len(source.labels), k=NEIGHBOURS)
        return metrics.summarise((near + EPSILON).log(), targets, indices)

    @torch.no_grad()
    def loss(self, method: Method) -> float | None:
        """The loss on held-out images, hidden alike each time; None: it takes more than images."""
        if method.labelled or method.views == "crops":
            return None
        captions = None
        if isinstance(method, CLIP):
            captions = Captions(self.validation.source, method.tokenizer, method.templates)
        device = next(method.parameters()).device
        was_training = method.training
        method.eval()
        total, count = torch.zeros((), device=device), 0
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            for batch in self.validation.epoch():
                images = self.preprocess.normalise(batch.images.to(device))
                targets = batch.labels
                if captions is not None:
                    targets = captions(targets, batch.indices, 0)
                total += method(images, targets.to(device)).loss.float() * len(images)
                count += len(images)
        method.train(was_training)
        return (total / count).item()


@torch.inference_mode()
def compute_features(
    model: Backbone, loader: Loader, preprocess: Preprocess, progress: Progress | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled features (N, D), labels (N,) and indices (N,) of a whole loader.

    The model's device and training mode are left as they are.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    features, labels, indices = [], [], []
    for number, batch in enumerate(loader.epoch()):
        images = preprocess.normalise(batch.images.to(device))
        features.append(model.pool(model.features(images)).float().cpu())
        labels.append(batch.labels)
        indices.append(batch.indices)
        if progress is not None:
            progress(number + 1, len(loader))
    model.train(was_training)
    # Out of inference mode, so that a loss can be built on them.
    return torch.cat(features).clone(), torch.cat(labels).clone(), torch.cat(indices).clone()
