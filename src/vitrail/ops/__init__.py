"""Numerical kernels, each beside a short reference that runs in float64."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.ops import causal_conv as causal_conv
    from vitrail.ops import linear as linear
    from vitrail.ops import selective_scan as selective_scan

lazy(__name__)
