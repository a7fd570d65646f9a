"""Distillation teachers whose classes are put in the order of the student's."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.values import repeated, with_wrapped


def match_classes(teacher: Callable[..., Any], names: Sequence[str] | None) -> Callable[..., Any]:
    """A teacher whose logits are in the order of the student's classes.

    Names are compared without regard to case, and _ stands for a space. Where one side has WordNet
    ids and the other has words, nothing can be compared, and a warning says so.

    Args:
        teacher: function from images to logits, or to an object with `logits`.
        names: the student's classes; None if they have no names.

    Returns:
        The teacher itself where the order is the same or unknown.

    Raises:
        ConfigError: the teacher knows other classes.

    Example:
        >>> teacher = nn.Identity()
        >>> teacher.labels = ["dog", "cat"]
        >>> match_classes(teacher, ["cat", "dog"])(torch.tensor([[1.0, 2.0]]))
        tensor([[2., 1.]])
    """
    labels = labels_of(teacher)
    if labels is None or not names or labels == list(names):
        return teacher
    if [*map(_plain, labels)] == [*map(_plain, names)]:
        return teacher
    if sorted(map(_plain, labels)) == sorted(map(_plain, names)):
        if twins := repeated(map(_plain, names)):
            raise ConfigError(
                f"the teacher has its classes in another order, and {twins[0]!r} is the name of "
                "two: give each class a name of its own."
            )
        return Reordered(teacher, labels, names)
    if _are_wordnet_ids(labels) != _are_wordnet_ids(names) and len(labels) == len(names):
        warnings.warn(
            f"the teacher calls its classes {', '.join(labels[:2])}, ..., and the images' are "
            f"{', '.join(names[:2])}, ...: make sure that they are the same in the same order.",
            stacklevel=2,
        )
        return teacher
    ours, theirs = set(map(_plain, names)), set(map(_plain, labels))
    if ours <= theirs or theirs <= ours:
        raise ConfigError(
            f"the teacher has {len(labels)} classes and the images {len(names)}, and only one side "
            f"has {_some(ours ^ theirs)}: give a teacher of the same classes."
        )
    raise ConfigError(
        f"the teacher knows other classes, {_some(theirs - ours)}, and the images have "
        f"{_some(ours - theirs)}: give a teacher of the same classes."
    )


class Reordered(nn.Module):
    """A classifier whose logits come in another order.

    Args:
        classifier: function from images to logits (B, classes), or to an object with `logits`.
        labels: names of its classes.
        names: the same names in the order of the result.

    Example:
        >>> Reordered(nn.Identity(), ["a", "b"], ["b", "a"])(torch.tensor([[1.0, 2.0]]))
        tensor([[2., 1.]])
    """

    def __init__(
        self, classifier: Callable[..., Any], labels: Sequence[str], names: Sequence[str]
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.preprocess = getattr(classifier, "preprocess", None)
        indices = {_plain(label): i for i, label in enumerate(labels)}
        order = torch.tensor([indices[_plain(name)] for name in names])
        self.register_buffer("order", order, persistent=False)
        self.order: Tensor
        self.num_classes = len(names)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits (B, classes)."""
        output = self.classifier(images)
        return getattr(output, "logits", output)[:, self.order]


def labels_of(teacher: Any) -> list[str] | None:
    """The names of a classifier's classes, in the order of its logits.

    Args:
        teacher: a model of Vitrail with `labels`, or one of transformers with `config.id2label`;
            compiled or parallel, too.

    Returns:
        The names; None where it has none, or only placeholders such as LABEL_0.

    Example:
        >>> labels_of(nn.Identity()) is None
        True
    """
    for layer in with_wrapped(teacher):
        if labels := _labels_of(layer):
            return labels
    return None


def _labels_of(teacher: Any) -> list[str] | None:
    if labels := getattr(teacher, "labels", None):
        return list(labels)
    table = getattr(getattr(teacher, "config", None), "id2label", None)
    if not isinstance(table, Mapping) or not table:
        return None
    labels = [str(table[key]) for key in sorted(table, key=int)]
    return None if labels == [f"LABEL_{i}" for i in range(len(labels))] else labels


def _plain(label: str) -> str:
    return label.replace("_", " ").casefold()


def _are_wordnet_ids(labels: Sequence[str]) -> bool:
    return all(re.fullmatch(r"n\d{8}", label) for label in labels)


def _some(labels: set[str]) -> str:
    first = sorted(labels)[:3]
    return ", ".join(first) + ", ..." * (len(labels) > len(first)) if first else "none"
