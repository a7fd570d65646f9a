"""Heads that are more than one linear layer."""

from torch import Tensor, nn


class DistillationHeads(nn.Module):
    """Two heads, the second of which learns from a teacher; the logits are their mean.

    Touvron et al. 2020 (DeiT), https://arxiv.org/abs/2012.12877. `apart`: each reads its own half
    of the pooled features, which is one token of two; else both read all of them.
    """

    def __init__(self, cls: nn.Module, dist: nn.Module, *, apart: bool) -> None:
        super().__init__()
        self.cls, self.dist, self.apart = cls, dist, apart

    def each(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """pooled (B, D), or (B, 2 D) if apart → both heads' logits, for distillation."""
        first, second = pooled.chunk(2, dim=-1) if self.apart else (pooled, pooled)
        return self.cls(first), self.dist(second)

    def forward(self, pooled: Tensor) -> Tensor:
        """pooled (B, D), or (B, 2 D) if apart → logits (B, classes)."""
        class_logits, distillation_logits = self.each(pooled)
        return (class_logits + distillation_logits) / 2
