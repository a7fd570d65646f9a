"""A small CNN beside a run, on the same images: what is the vision transformer worth?"""

import difflib
import tempfile
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from vitrail.data.dataset import Dataset
from vitrail.errors import ConfigError
from vitrail.messages import ngettext
from vitrail.methods import distributed
from vitrail.methods.registry import get_method
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.parameters import initialize
from vitrail.preprocess import Preprocess
from vitrail.run_folder import RunFolder
from vitrail.train.config import RunConfig
from vitrail.train.console import note
from vitrail.train.data_factory import Datasets, suits
from vitrail.train.evaluator import Evaluator
from vitrail.train.seeds import seed_all
from vitrail.train.stream_factory import build_evaluator
from vitrail.train.timm_package import import_timm
from vitrail.train.trainer import Trainer

EPOCHS = 10  # where the run itself reads each image once, to compute its features
METHODS = ("supervised", "multi_label", "regression")  # that any network can be trained by
FIGURES = ("top1", "top1_low", "top1_high", "map", "micro_f1", "mae", "rmse", "r2", "count")

Build = Callable[..., tuple[Trainer, Evaluator]]


class TimmNetwork(Backbone):
    """A network of timm, such as a ResNet (He et al. 2015, https://arxiv.org/abs/1512.03385).

    It is trained, evaluated and left; it is no model of this library.

    Args:
        name: a name of `timm.list_models()`.
        image_size: pixels of the images' sides.
        channels: number of channels of an image.
        num_classes: width of the logits.

    Raises:
        ConfigError: timm is missing, or has no such model for such images.

    Example:
        >>> TimmNetwork("resnet18", 32, 3, 5)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self, name: str, image_size: int | tuple[int, ...], channels: int, num_classes: int
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        timm = import_timm(f"train.baseline={name!r}")
        try:
            self.network = timm.create_model(name, in_chans=channels, num_classes=0)
        except Exception as problem:  # of any of its models
            raise ConfigError(
                f"train.baseline={name!r} cannot be built by timm for images of {channels} "
                f"channels: {problem}. resnet18 can."
            ) from None
        width = getattr(self.network, "head_hidden_size", self.network.num_features)
        self.dim, self.grid, self.blocks = width, (), nn.ModuleList()
        self.head = self.make_head(num_classes)

    def init_weights(self) -> None:
        """Initializes the head; timm has initialized the rest."""
        initialize(self.head)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → Features of one patch, the pooled feature map."""
        pooled = self.network(images)
        return Features(pooled[:, None], pooled.new_zeros(len(pooled), 0, pooled.shape[1]), (1, 1))

    def encode(self, features: Features) -> Features:
        """features → the same."""
        return features

    def pool(self, features: Features) -> Tensor:
        """features → (B, D)."""
        return features.patches[:, 0]


def check_baseline(config: RunConfig) -> None:
    """Checks `train.baseline` before any data are read.

    Args:
        config: the settings.

    Raises:
        ConfigError: timm is not installed or has no such model, or several processes train.

    Example:
        >>> from vitrail.train.config import make_config
        >>> check_baseline(make_config({"train": {"baseline": "resnet81"}}))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: train.baseline='resnet81' is no model of timm. Did you mean ...
    """
    name = config.train.baseline
    if name is None:
        return
    names = import_timm(f"train.baseline={name!r}").list_models()
    if name not in names:
        near = difflib.get_close_matches(name, names, 3) or ["resnet18"]
        raise ConfigError(
            f"train.baseline={name!r} is no model of timm. Did you mean {', '.join(near)}?"
        )
    if distributed.world_size() > 1:
        raise ConfigError(
            f"train.baseline={name!r} is trained by one process: start one, or leave it out."
        )


def train_baseline(
    config: RunConfig, datasets: Datasets, preprocess: Preprocess, build: Build
) -> dict[str, Any]:
    """Trains the CNN from scratch, as long as the run and on the same images.

    Its optimizer is AdamW with the default settings, whatever those of the run are; augmentation,
    batches and epochs are the run's. A run that reads each image once, as a probe of frozen
    features, does not say how long a network should learn: it learns for `EPOCHS` epochs at least.

    Args:
        config: the settings of the run, with `train.baseline`.
        datasets: its samples.
        preprocess: that of its model.
        build: `vitrail.train.factory.build_trainer`.

    Returns:
        "name", "parameters", "epochs", "seconds", and figures of the split that the run is judged
        by, such as "top1", "top1_low" and "top1_high".

    Raises:
        ConfigError: the samples are no flat images.
        TrainingError: training stopped.

    Example:
        >>> callable(train_baseline)  # `train_run` calls it at its end
        True
    """
    name, train = config.train.baseline, datasets.train
    assert name is not None
    if len(preprocess.size) != 2:
        raise ConfigError(f"train.baseline={name!r} is for flat images: leave it out.")
    config = _settings(config, train)
    seed_all(config.train.seed)
    network = TimmNetwork(name, preprocess.size, len(preprocess.mean), len(train.labels))
    network.preprocess, network.labels = preprocess, train.labels
    parameters = sum(p.numel() for p in network.parameters())
    epochs = config.schedule.epochs
    text = ngettext(
        "baseline: {name}, {parameters:,} parameters, {epochs} epoch from scratch",
        "baseline: {name}, {parameters:,} parameters, {epochs} epochs from scratch",
        epochs,
    )
    note(text.format(name=name, parameters=parameters, epochs=epochs))
    with tempfile.TemporaryDirectory() as folder:
        trainer, evaluator = build(config, RunFolder(folder), datasets, model=network)
        start = time.perf_counter()
        trainer.fit()
        seconds = time.perf_counter() - start
        backbone = trainer.backbone.eval()
        trainer.result_method.finish(backbone)
        if datasets.validation is not None and datasets.test is not None:
            evaluator = build_evaluator(config, trainer.result_method, train, datasets.test)
        result = evaluator(trainer.result_method, backbone)
    assert result is not None, "the methods of baselines learn from labels"
    figures = {key: result.figures[key] for key in FIGURES if key in result.figures}
    return {
        "name": name, "parameters": parameters, "epochs": epochs, "seconds": round(seconds, 1),
        **figures,
    }  # fmt: skip


def _settings(config: RunConfig, train: Dataset) -> RunConfig:
    """The settings of the CNN's training."""
    values = config.model_dump(mode="json", exclude_unset=True)
    reads_images = "images" in get_method(config.method.name).inputs
    epochs = config.schedule.epochs if reads_images else max(config.schedule.epochs, EPOCHS)
    method = values.get("method", {})
    if config.method.name not in METHODS:
        method = {"name": next(name for name in METHODS if suits(name, train))}
    dropped = ("baseline", "wandb", "mlflow", "monitor", "gradient_checkpointing", "sharding")
    train_values = {k: v for k, v in values.get("train", {}).items() if k not in dropped}
    return RunConfig.model_validate(
        {
            "data": values.get("data", {}),
            "model": {"weights": "timm"},  # the trainer then takes the network as it is
            "method": method,
            "optim": {"accumulate": config.optim.accumulate},
            "schedule": {"epochs": epochs},
            "train": {**train_values, "monitor": False},
        }
    )
