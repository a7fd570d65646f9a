"""The hook through which attention weights are recorded."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class RecordedMixer(nn.Module):
    """Base class of token mixers whose attention weights can be recorded.

    A mixer calls `recorder` in every forward, if it is set, with the weights (B, heads, N, N). Row
    i says how much token i takes from each token; a row sums to 1, and prefix tokens come first.
    Recording never changes the output. A copy, or what is pickled, has no recorder.

    Attributes:
        recorder: function of the weights, or None.
        gradient_recorders: number of recorders that want weights with gradients. While there are
            any, the output is a function of the recorded weights for autograd, too.
        weights_have_gradients: whether this kind of mixer can do that.
        head_names: names of the heads where they have names; else empty, and heads are counted.

    Example:
        >>> from vitrail.layers.attention import Attend
        >>> mixer, shapes = Attend(), []
        >>> mixer.recorder = lambda weights: shapes.append(weights.shape)
        >>> _ = mixer(*torch.zeros(3, 1, 2, 5, 4))
        >>> shapes
        [torch.Size([1, 2, 5, 5])]
    """

    head_names: tuple[str, ...] = ()
    weights_have_gradients = False

    def __init__(self) -> None:
        super().__init__()
        self.recorder: Callable[[Tensor], None] | None = None
        self.gradient_recorders = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "recorder": None, "gradient_recorders": 0}
