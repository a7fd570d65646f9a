"""The short causal convolution before a selective scan, in both directions."""

from vitrail.ops.causal_conv.op import causal_conv
from vitrail.ops.causal_conv.reference import causal_conv_step as step

__all__ = ["causal_conv", "step"]
