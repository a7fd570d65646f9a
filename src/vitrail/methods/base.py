"""The contract of every training method: a batch goes in, a loss comes out."""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from vitrail.arguments import bind
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.methods.batch import Batch as Batch
from vitrail.methods.batch import Input as Input
from vitrail.methods.batch_checks import (
    check_batch,
    check_progress,
    check_targets,
    require_finite,
)
from vitrail.models.base import Backbone
from vitrail.models.calls import hinting
from vitrail.models.limits import check_sizes, within_memory
from vitrail.models.paper import Paper
from vitrail.values import with_wrapped


class Loss(NamedTuple):
    """What a method computes from a batch.

    Args:
        loss: (), to be minimized.
        metrics: tensors () without a gradient, to be logged.

    Example:
        >>> Loss(torch.tensor(0.5), {"top1": torch.tensor(1.0)}).loss
        tensor(0.5000)
    """

    loss: Tensor
    metrics: dict[str, Tensor]

    def backward(self) -> None:
        """Computes the gradients of the loss."""
        self.loss.backward()


class Method(nn.Module):
    """Wraps a backbone and turns a batch into a loss. The backbone is what comes out.

    A method touches only the contract of `Backbone`. Its class attributes declare what it needs,
    and the trainer builds the data accordingly. Its constructor takes the backbone and keywords,
    which are its settings in a recipe and are checked against their annotations.

    Args:
        backbone: model to train.

    Attributes:
        paper: the paper that the method is from.
        tier: classes of backbones that the method can train.
        inputs: fields of `Batch` that `forward` reads. With "features" the backbone is frozen, and
            its pooled features are computed once, before training. With "captions" the method has
            the attributes `tokenizer` and `templates`.
        smallest_batch: fewest samples, of all processes together, that have a loss.
        has_validation_loss: whether the loss of validation batches, with masks from a fixed seed,
            measures what the method learns.
        batch_wide: whether the loss of a batch is more than a mean over its samples, because it
            compares samples with each other or updates statistics of the batch. Accumulated
            gradients then differ from those of a larger batch.
        training_only: top-level submodules, parameters and buffers that the saved method lacks.
        named: settings that are objects in Python and names in a recipe, with the kind of object:
            "teacher", "image_tokenizer" or "text_tokenizer".
        target: what a label is: "class", one class index; "labels", 0 or 1 for each of several
            labels; "numbers".
        weighs_samples: whether `forward` reads the weights of samples; a batch with weights is
            refused elsewhere.
        logs_attention: whether the attention of the backbone is drawn while the method learns.
        settings: keywords of the constructor, the backbone left out.

    Raises:
        TierError: the backbone is of a tier that the method cannot train.

    Example:
        >>> class MeanIsOne(Method):
        ...     inputs = ("images",)
        ...     def __init__(self, backbone: Backbone, weight: float = 1.0) -> None:
        ...         super().__init__(backbone)
        ...         self.weight = weight
        ...     def forward(self, batch: Batch) -> Loss:
        ...         error = self.backbone(batch["images"]).mean() - 1
        ...         return Loss(self.weight * error.square(), {})
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> MeanIsOne(model)(Batch(images=torch.zeros(2, 3, 8, 8))).loss.shape
        torch.Size([])
    """

    paper: ClassVar[Paper]
    cure: ClassVar[str] = "vitrail.methods.create_method returns one."  # for errors
    tier: ClassVar[tuple[type[Backbone], ...]] = (Backbone,)
    inputs: ClassVar[tuple[Input, ...]] = ("images", "labels")
    smallest_batch: ClassVar[int] = 1
    has_validation_loss: ClassVar[bool] = False
    batch_wide: ClassVar[bool] = False
    training_only: ClassVar[tuple[str, ...]] = ()
    named: ClassVar[Mapping[str, str]] = {}
    target: Literal["class", "labels", "numbers"] = "class"
    weighs_samples: ClassVar[bool] = False
    logs_attention: ClassVar[bool] = False
    backbone: Backbone
    settings: dict[str, object]  # the constructor's keywords, the backbone left out
    tokenizer: Any  # texts → ids (B, L), of methods that read captions
    templates: tuple[str, ...]  # prompts with {} for a label, of methods that read captions

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "__init__" in vars(cls):
            cls.__init__ = _checked(cls.__init__)  # type: ignore[method-assign]
        if "forward" in vars(cls):
            cls.forward = hinting(_batching(cls.forward))  # type: ignore[method-assign]
        if "reconstruct" in vars(cls):
            cls.reconstruct = _checking_images(cls.reconstruct)  # type: ignore[method-assign]
        if "before_step" in vars(cls):
            cls.before_step = _checking_progress(cls.before_step)  # type: ignore[method-assign]
        if "fit_targets" in vars(cls):
            cls.fit_targets = _checking_targets(cls.fit_targets)  # type: ignore[method-assign]
        if "fit_statistics" in vars(cls):
            cls.fit_statistics = _checking_data(cls.fit_statistics)  # type: ignore[method-assign]

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        if not isinstance(backbone, self.tier):
            if any(isinstance(inner, self.tier) for inner in with_wrapped(backbone)):
                raise TierError(
                    f"{type(self).__name__} needs the model inside this "
                    f"{type(backbone).__name__}: give that one, and wrap or compile the method."
                )
            tiers = " or ".join(tier.__name__ for tier in self.tier)
            raise TierError(
                f"{type(self).__name__} needs a {tiers} model, and "
                f"{type(backbone).__name__} is none: choose another method or model."
            )
        self.backbone = backbone
        self.settings = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Method":
        """A copy with weights of its own, which shares teachers and tokenizers."""
        memo.update({id(value): value for value in map(self.settings.get, self.named)})
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def init_weights(self) -> None:
        """Initializes as the method's authors do, where a new backbone does not already.

        Called once for a backbone that is trained from scratch.
        """

    def resolved_settings(self) -> dict[str, object]:
        """The settings to save: `settings`, with what the constructor read off its arguments."""
        return dict(self.settings)

    def forward(self, batch: Batch) -> Loss:
        """Batch with the fields of `inputs` → Loss."""
        raise ConfigError(
            f"{type(self).__name__} has no forward: write `def forward(self, batch)`, which "
            "returns a vitrail.methods.Loss."
        )

    # Hooks of the trainer, in the order in which it calls them.

    def fit_statistics(self, data: Batch) -> None:
        """Called before training with all features and labels, if `inputs` names features.

        Args:
            data: `features` (N, D) and `labels` (N,) of the whole training set.
        """

    def fit_targets(self, targets: Tensor) -> None:
        """Called before training with the labels of all training samples, where they are known.

        Args:
            targets: class indices (N,); of methods of another `target` float (N, K).
        """

    def before_step(self, progress: float) -> None:
        """Called before each step of the optimizer, for what follows a schedule.

        Args:
            progress: fraction of all steps that are done, 0 <= progress < 1.
        """

    def after_step(self) -> None:
        """Called after each step of the optimizer, for what is not learned by gradient."""

    def result(self) -> Backbone:
        """The backbone to evaluate and to keep."""
        return self.backbone

    def finish(self, backbone: Backbone) -> None:
        """Called once after training, for what must be written into the weights to keep.

        Args:
            backbone: the backbone that will be saved: `result()` or the EMA of its weights.
        """

    # How the method is evaluated.

    def classifier(self, backbone: Backbone) -> nn.Module | None:
        """What names the classes of images.

        Args:
            backbone: the backbone to evaluate: `result()` or the EMA of its weights.

        Returns:
            A module that maps images (B, C, *size) to logits (B, classes). None if the method
            learns no classes; the features are then evaluated by k-NN.
        """
        return backbone

    def predictor(self, backbone: Backbone) -> Callable[[Batch], Tensor] | None:
        """What names the classes of held-out batches during training.

        Args:
            backbone: as in `classifier`.

        Returns:
            A function of a batch, with the fields of `inputs`, that returns logits (B, classes).
            None if the method learns no classes.
        """
        classifier = self.classifier(backbone)
        return None if classifier is None else lambda batch: classifier(batch["images"])

    # What is drawn while the method learns.

    def reconstruct(self, images: Tensor) -> Tensor | None:
        """What the method makes of masked images.

        Args:
            images: float (B, C, *size).

        Returns:
            (3, B, C, *size): the images, the masked images, the reconstructions. None if the method
            reconstructs nothing.
        """
        return None

    def similarity(self, images: Tensor, texts: Sequence[str]) -> Tensor | None:
        """How well images and texts agree.

        Args:
            images: float (B, C, *size).
            texts: T texts.

        Returns:
            Cosines (B, T). None if the method reads no texts.
        """
        return None

    @property
    def cell(self) -> tuple[int, ...]:
        """Pixels along each axis that one patch of the output stands for; crops are whole cells."""
        return (1,) * len(self.backbone.image_size)


def _checked(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that checks its arguments, and records them in `settings`."""

    @functools.wraps(init)
    def checked(self: Method, *args: Any, **keywords: Any) -> None:
        bound = bind(type(self), init, args, keywords)
        check_sizes(bound.arguments)
        with within_memory(f"this {type(self).__name__}"):
            init(self, *bound.args[1:], **bound.kwargs)
        if type(self).__init__ is checked:  # the outermost constructor
            self.settings = dict(list(bound.arguments.items())[2:])

    return checked


def _checking_images(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of images that checks them first, as `forward` does a batch."""

    @functools.wraps(function)
    def checking(self: Method, images: Tensor) -> Any:
        check_batch(self, Batch(images=images))
        return function(self, images)

    return checking


def _checking_progress(before_step: Callable[..., None]) -> Callable[..., None]:
    """A `before_step` that checks the progress first."""

    @functools.wraps(before_step)
    def checking(self: Method, progress: float) -> None:
        check_progress(progress)
        before_step(self, progress)

    return checking


def _checking_targets(fit: Callable[..., None]) -> Callable[..., None]:
    """A `fit_targets` that checks the targets first."""

    @functools.wraps(fit)
    def checking(self: Method, targets: Tensor) -> None:
        check_targets(self, targets)
        fit(self, targets)

    return checking


def _checking_data(fit: Callable[..., None]) -> Callable[..., None]:
    """A `fit_statistics` that checks the data first, as `forward` does a batch."""

    @functools.wraps(fit)
    def checking(self: Method, data: Batch) -> None:
        if not isinstance(data, Batch):
            raise DataError(
                f"data is of {type(data).__name__}: give vitrail.methods.Batch(features=..., "
                "labels=...)."
            )
        check_batch(self, data)
        if data.features is not None:
            require_finite("features", data.features)
        fit(self, data)

    return checking


def _batching(forward: Callable[..., Loss]) -> Callable[..., Loss]:
    """A forward that also takes images, or a list of crops, that are in no `Batch`."""

    @functools.wraps(forward)
    def batching(self: Method, batch: Batch | Tensor | Sequence[Tensor], *more: object) -> Loss:
        reads_crops = "crops" in self.inputs
        if isinstance(batch, Tensor) and not more:
            batch = Batch(images=batch)
        elif reads_crops and not more and isinstance(batch, list | tuple):
            batch = Batch(crops=tuple(batch))
        if more or not isinstance(batch, Batch):
            raise DataError(
                f"{type(self).__name__} reads {', '.join(self.inputs)}, and got "
                f"{', '.join(type(value).__name__ for value in (batch, *more))}: give "
                f"vitrail.methods.Batch({'=..., '.join(self.inputs)}=...)."
            )
        check_batch(self, batch)
        return forward(self, batch)

    return batching
