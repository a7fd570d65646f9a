"""What PyTorch does with a model that is more than a module: heads are assigned to it."""

from typing import Any

from torch import nn

from vitrail.errors import ConfigError


class AssignableHead(nn.Module):
    """A module whose `num_classes` follows the linear layer that is assigned as its head.

    To assign `model.head` is how fine-tuning code of timm and torchvision replaces it. Labels of
    another number of classes are dropped, as by `reset_head`.

    Attributes:
        num_classes: width of the logits; 0 for no head.
        labels: class names in the order of the logits, or None.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> model.head = nn.Linear(8, 5)
        >>> model.num_classes, model.config["num_classes"]
        (5, 5)
    """

    config: dict[str, object]
    num_classes: int
    labels: list[str] | None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "head" and "config" in vars(self) and isinstance(value, nn.Linear | nn.Identity):
            classes = value.out_features if isinstance(value, nn.Linear) else 0
            self.num_classes = self.config["num_classes"] = classes
            if self.labels is not None and classes not in (0, len(self.labels)):
                self.labels = None

    def __prepare_scriptable__(self) -> None:
        """What torch.jit.script asks a module for first."""
        raise ConfigError("a model cannot be compiled by torch.jit.script: use torch.export.")
