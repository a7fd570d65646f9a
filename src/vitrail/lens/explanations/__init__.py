"""Explanations: which patches a model's output depends on. One explanation a file."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.lens.explanations.base import EXPLANATIONS as EXPLANATIONS
    from vitrail.lens.explanations.base import explain as explain
    from vitrail.lens.explanations.base import register_explanation as register_explanation

lazy(__name__)
