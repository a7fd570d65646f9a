"""The short causal convolution before a selective scan, in both directions."""

from vitrail.ops.causal_conv.op import causal_conv

__all__ = ["causal_conv"]
