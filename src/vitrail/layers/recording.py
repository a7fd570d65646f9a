"""Where those who want to look may listen."""

from collections.abc import Callable

from torch import Tensor, nn


class RecordedMixer(nn.Module):
    """A mixer of tokens that shows its weights when asked to.

    `tap`, when set, is called in every forward with (B, heads, N, N): row i is how much token i
    takes from each token, summing to 1, prefix tokens first. Listening never changes the output.
    """

    head_names: tuple[str, ...] = ()  # where heads have names; else they are counted

    def __init__(self) -> None:
        super().__init__()
        self.tap: Callable[[Tensor], None] | None = None
