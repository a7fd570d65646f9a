"""A published size of a model."""

from collections.abc import Mapping
from typing import NamedTuple


class Variant(NamedTuple):
    """A named set of constructor keywords.

    Args:
        keywords: constructor keywords by name.
        parameters: number of parameters as published, which the model has exactly.

    Example:
        >>> from vitrail.models.registry import variants
        >>> variants()["vit_base_patch16_224"].variant.parameters
        86567656
    """

    keywords: Mapping[str, object]
    parameters: int
