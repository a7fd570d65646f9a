"""Heads that are more than one linear layer."""

from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.ops.guard import guarded, guarded_forward


class DistillationHeads(nn.Module):
    """A classification head and a distillation head, whose logits are averaged (LeViT, Graham et
    al. 2021, https://arxiv.org/abs/2104.01136).

    Both heads read the same features; the second learns from a distillation teacher.

    Args:
        cls: head that learns from the labels, (B, D) to logits.
        dist: head that learns from the teacher, (B, D) to logits.

    Example:
        >>> heads = DistillationHeads(nn.Linear(4, 2), nn.Linear(4, 2))
        >>> heads(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    @guarded
    def __init__(self, cls: nn.Module, dist: nn.Module) -> None:
        super().__init__()
        self.cls, self.dist = cls, dist

    def each(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """pooled (B, D) → logits of `cls` and of `dist`, each (B, classes)."""
        return self.cls(pooled), self.dist(pooled)

    @guarded_forward
    def forward(self, pooled: Tensor) -> Tensor:
        """pooled (B, D) → the mean of both heads' logits (B, classes)."""
        class_logits, distillation_logits = self.each(pooled)
        if class_logits.shape != distillation_logits.shape:  # or one class would be repeated
            raise ConfigError(
                f"the head gives logits of shape {tuple(class_logits.shape)}, and the distillation "
                f"head {tuple(distillation_logits.shape)}: give heads of as many classes."
            )
        return (class_logits + distillation_logits) / 2


class TokenDistillationHeads(DistillationHeads):
    """Distillation heads of which each reads a token of its own (DeiT, Touvron et al. 2020,
    https://arxiv.org/abs/2012.12877).

    The pooled features are the class token and the distillation token, concatenated.

    Args:
        cls: head that learns from the labels, (B, D) to logits.
        dist: head that learns from the teacher, (B, D) to logits.

    Example:
        >>> heads = TokenDistillationHeads(nn.Linear(4, 2), nn.Linear(4, 2))
        >>> heads(torch.zeros(3, 8)).shape
        torch.Size([3, 2])
    """

    def each(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """pooled (B, 2 D) → logits of `cls` and of `dist`, each (B, classes)."""
        class_token, distillation_token = pooled.chunk(2, dim=-1)
        return self.cls(class_token), self.dist(distillation_token)
