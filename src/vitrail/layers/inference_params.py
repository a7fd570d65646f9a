"""The cache of a causal model that reads a sequence part by part."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from vitrail.arguments import check_fields
from vitrail.contexts import reusable
from vitrail.errors import ConfigError
from vitrail.ops.guard import guarded
from vitrail.values import NonNegativeInt, PositiveInt


class MambaState(NamedTuple):
    """What a mixer with a forward scan carries from one token to the next.

    Args:
        conv: (B, E, d_conv), the last inputs of the convolution; E is the inner width.
        ssm: (B, E, d_state), the state of the scan.

    Example:
        >>> from vitrail.layers.mamba import Mamba
        >>> Mamba(8, "forward").start(batch=2).ssm.shape
        torch.Size([2, 16, 16])
    """

    conv: Tensor
    ssm: Tensor


@dataclasses.dataclass
class InferenceParams:
    """What a causal model remembers of a sequence: mamba_ssm's class of this name.

    A layer reads its state, and writes the one after its input. Where `seqlen_offset` is 0 its
    input begins the sequence, and otherwise goes on after the state.
    Layers leave `seqlen_offset` to the caller, because all of them share it; a model advances it.

    Args:
        max_seqlen: largest length of the sequence, class tokens included.
        max_batch_size: largest batch size.
        seqlen_offset: number of tokens that were read.
        batch_size_offset: 0; a cache is of one batch.
        key_value_memory_dict: the state of each layer, by its `layer_idx`. Its size does not
            depend on the length of the sequence.
        lengths_per_sample: None; the sequences of a batch have one length.
        outputs: (B, L, D), normalized outputs for the tokens so far, which the model pools; None
            before the first.
        forward_only: computes the forward direction alone, with weight 1, where a mixer has two.
            That is another function than the model; the official Vision Mamba computes it whenever
            it is called with a cache.

    Example:
        >>> model = vitrail.VisionMamba(16, 4, 5, dim=8, depth=1, scan="forward", pool="last")
        >>> image, cache = torch.randn(1, 3, 16, 16), InferenceParams(16, max_batch_size=1)
        >>> logits = [model(rows, inference_params=cache) for rows in image.split(4, dim=2)]
        >>> cache.seqlen_offset, torch.allclose(logits[-1], model(image), atol=1e-6)
        (16, True)
    """

    max_seqlen: PositiveInt
    max_batch_size: PositiveInt
    seqlen_offset: NonNegativeInt = 0
    batch_size_offset: int = 0
    key_value_memory_dict: dict[int, MambaState] = dataclasses.field(
        default_factory=dict, kw_only=True
    )
    lengths_per_sample: None = dataclasses.field(default=None, kw_only=True)
    outputs: Tensor | None = dataclasses.field(default=None, kw_only=True)
    forward_only: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.batch_size_offset:
            raise ConfigError(
                f"batch_size_offset={self.batch_size_offset} is not supported: give each batch a "
                "cache of its own."
            )

    def reset(self, max_seqlen: int, max_batch_size: int) -> None:
        """Starts another sequence.

        Args:
            max_seqlen: largest length of the sequence.
            max_batch_size: largest batch size.
        """
        self.max_seqlen, self.max_batch_size = max_seqlen, max_batch_size
        self.__post_init__()
        self.seqlen_offset, self.outputs = 0, None
        self.key_value_memory_dict.clear()

    def require_room(self, batch: int, tokens: int) -> None:
        """Checks that there is room for more tokens.

        Args:
            batch: batch size.
            tokens: number of tokens.

        Raises:
            ConfigError: the sequence would be too long, or the batch is too large.
        """
        length = self.seqlen_offset + tokens
        if length > self.max_seqlen:
            raise ConfigError(
                f"{length} tokens are more than max_seqlen={self.max_seqlen}: call reset for "
                "another sequence, or give a larger max_seqlen."
            )
        if batch > self.max_batch_size:
            raise ConfigError(
                f"a batch of {batch} is larger than max_batch_size={self.max_batch_size}: give "
                "a larger one."
            )


@guarded
@reusable
def evaluation(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode, and each of its modules into its own mode afterwards.

    Args:
        model: any module.

    Returns:
        A context manager.

    Example:
        >>> model = nn.Dropout(0.5)
        >>> with evaluation(model):
        ...     model(torch.ones(2)).tolist()
        [1.0, 1.0]
        >>> model.training
        True
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
