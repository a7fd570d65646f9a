"""What a method learns from in one step."""

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor

from vitrail.arguments import checked_names
from vitrail.errors import DataError

Input = Literal[
    "images", "crops", "labels", "captions", "features", "masks", "boxes", "actions", "patch_mask"
]


@checked_names
@dataclasses.dataclass(frozen=True)
class Batch:
    """What a method learns from in one step. What a method does not name in `inputs` is absent.

    Args:
        images: float (B, C, *size), normalized: images (H, W), clips and volumes (T, H, W), or
            signals (L,).
        crops: several crops of each image, each float (B, C, *size): global crops first.
        labels: class indices (B,), or class probabilities (B, classes) where images were mixed;
            of methods of another `target` float (B, K).
        captions: token ids (B, L) of a caption of each image.
        features: pooled features (B, D) of a frozen backbone, computed in advance.
        masks: class indices (B, *size) of each pixel.
        boxes: corners (B, boxes, 4) as x0, y0, x1, y1 in pixels.
        actions: (B, steps, A), what a demonstrator did after seeing the image.
        patch_mask: bool (B, N), True where a patch is masked; None lets the method draw a mask.
        indices: (B,), the position of each sample in its dataset.
        weights: (B,), how much each sample counts in the mean of the loss; None for all alike.

    Raises:
        DataError: a field holds what is no tensor.

    Example:
        >>> batch = Batch(images=torch.zeros(2, 3, 8, 8), labels=torch.tensor([0, 1]))
        >>> len(batch), batch["labels"]
        (2, tensor([0, 1]))
    """

    images: Tensor | None = None
    crops: tuple[Tensor, ...] = ()
    labels: Tensor | None = None
    captions: Tensor | None = None
    features: Tensor | None = None
    masks: Tensor | None = None
    boxes: Tensor | None = None
    actions: Tensor | None = None
    patch_mask: Tensor | None = None
    indices: Tensor | None = None
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "crops", () if self.crops is None else tuple(self.crops))
        for name in self.names():
            for value in self.crops if name == "crops" else (getattr(self, name),):
                if not isinstance(value, Tensor):
                    kind = "method.tokenizer" if name == "captions" else "torch.as_tensor"
                    if name in ("images", "crops") and not isinstance(value, list | tuple):
                        kind = kind if hasattr(value, "dtype") else "model.preprocess"
                    raise DataError(
                        f"{name} of type {type(value).__name__} are no tensor: give the batch "
                        f"{kind}({name})."
                    )
                if not value.ndim:
                    raise DataError(f"{name} is a single number: give one entry per sample.")

    def __getitem__(self, name: str) -> Tensor:
        """A tensor by its name; `DataError` if the batch does not hold it."""
        value = getattr(self, name, None)
        if name == "crops" and self.crops:
            raise DataError("crops are several tensors: take batch.crops, a tuple of them.")
        if not isinstance(value, Tensor):
            names = ", ".join(self.names()) or "nothing"
            raise DataError(f"the batch holds {names}, no {name}: add {name} to it.")
        return value

    def __len__(self) -> int:
        """Number of samples."""
        names = self.names()
        if not names:
            return 0
        return len(self.crops[0] if names[0] == "crops" else self[names[0]])

    def names(self) -> tuple[str, ...]:
        """The names of the fields that hold something."""
        names = [field.name for field in dataclasses.fields(self)]
        return tuple(
            name
            for name in names
            if (self.crops if name == "crops" else getattr(self, name) is not None)
        )

    def to(self, device: torch.device | str) -> "Batch":
        """The batch with every tensor on a device.

        Args:
            device: where to.

        Returns:
            A batch of the same values.
        """
        moved: dict[str, Any] = {name: getattr(self, name) for name in self.names()}
        for name, value in moved.items():
            moved[name] = (
                tuple(crop.to(device) for crop in value) if name == "crops" else value.to(device)
            )
        return Batch(**moved)
