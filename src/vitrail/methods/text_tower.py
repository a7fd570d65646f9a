"""The text tower of CLIP and SigLIP: a Transformer over the tokens of a caption."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.errors import ConfigError, DataError
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.position import PositionTable
from vitrail.methods.batch_checks import is_read
from vitrail.models.limits import check_sizes
from vitrail.models.parameters import initialize
from vitrail.values import NonNegativeInt, PositiveInt


class TextTower(nn.Module):
    """Embeds captions by the output of one token.

    With `end`, attention is causal and the end-of-text token is read, as in CLIP. Without,
    attention is bidirectional and the last token is read, padding or not, as in SigLIP. As in the
    papers, the projection has a bias only without `end`, and the epsilon of the LayerNorms is 1e-5
    with it and 1e-6 without.

    Args:
        vocabulary: number of token ids.
        context: largest number of tokens of a caption.
        end: id of the end-of-text token, or None.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads.
        mlp_dim: hidden width of the MLPs.
        dim_out: width E of the embedding.
        activation: builds the activation of the MLPs.

    Raises:
        ConfigError: a size is out of range, or `end` is none of the ids.

    Example:
        >>> tower = TextTower(16, 4, 15, dim=8, depth=1, heads=2, mlp_dim=16, dim_out=6,
        ...                   activation=nn.GELU)
        >>> tower(torch.tensor([[1, 2, 15, 0]])).shape
        torch.Size([1, 6])
    """

    @checked
    def __init__(
        self,
        vocabulary: PositiveInt,
        context: PositiveInt,
        end: NonNegativeInt | None,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        dim_out: PositiveInt,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        check_sizes({"vocabulary": vocabulary, "context": context, "dim": dim, "depth": depth})
        check_sizes({"mlp_dim": mlp_dim, "dim_out": dim_out})
        if end is not None and end >= vocabulary:
            raise ConfigError(f"{end=} is none of the {vocabulary} ids, 0 to {vocabulary - 1}.")
        self.context, self.end = context, end
        norm_eps = 1e-6 if end is None else 1e-5
        self.words = nn.Embedding(vocabulary, dim)
        self.position = PositionTable((context,), dim, decayed=True)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads),
                Mlp(dim, mlp_dim, activation=activation()),
                norm_eps=norm_eps,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.proj = Linear(dim, dim_out, bias=end is None)
        self.init_weights()

    def init_weights(self) -> None:
        """Initializes as CLIP's code does: layers that add to the residual stream by its depth."""
        initialize(self)
        dim, residual = self.words.embedding_dim, (2 * len(self.blocks)) ** -0.5
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.position.weight, std=0.01)
        nn.init.normal_(self.proj.weight, std=dim**-0.5)
        for block in self.blocks:
            mixer, mlp = block.get_submodule("mixer"), block.get_submodule("mlp")
            nn.init.normal_(mixer.get_parameter("qkv.weight"), std=dim**-0.5)
            nn.init.normal_(mixer.get_parameter("proj.weight"), std=dim**-0.5 * residual)
            nn.init.normal_(mlp.get_parameter("fc1.weight"), std=(2 * dim) ** -0.5)
            nn.init.normal_(mlp.get_parameter("fc2.weight"), std=dim**-0.5 * residual)

    def check_ids(self, ids: Tensor) -> None:
        """Checks the ids of captions, those of an accelerator not by their values.

        Args:
            ids: (B, L).

        Raises:
            ConfigError: they are longer than the context.
            DataError: they are no whole numbers (B, L), or none of the vocabulary, or a caption
                has no end.
        """
        if ids.ndim != 2 or not ids.shape[1] or ids.dtype not in (torch.int32, torch.int64):
            raise DataError(
                f"captions of shape {tuple(ids.shape)} and {ids.dtype} are no ids: give int64 "
                "(captions, tokens), as the tokenizer does."
            )
        if ids.shape[1] > self.context:
            raise ConfigError(
                f"captions of {ids.shape[1]} tokens are longer than the context, {self.context}: "
                "cut them."
            )
        if not is_read(ids):
            return
        worst = [i for i in map(int, ids.aminmax()) if not 0 <= i < self.words.num_embeddings]
        if worst:
            raise DataError(
                f"captions hold id {worst[0]}, and the vocabulary has {self.words.num_embeddings}: "
                "make them with the tokenizer of the method."
            )
        if self.end is not None and not bool((ids == self.end).any(dim=1).all()):
            raise DataError(
                f"a caption has no end, id {self.end}: cut captions before it, as the tokenizer "
                "does, or set text_pool='last'."
            )

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L), L at most `context` → embeddings (B, E), not normalized."""
        self.check_ids(ids)
        if not ids.numel():
            return ids.new_zeros(0, self.proj.out_features, dtype=self.position.weight.dtype)
        mask = None
        if self.end is None:
            index = ids.new_full((ids.shape[0],), ids.shape[1] - 1)
        else:
            index = (ids == self.end).int().argmax(dim=1)  # the first one, if padding is the same
            if not torch.compiler.is_exporting():  # a graph has one length
                ids = ids[:, : int(index.max()) + 1]  # no token attends to what comes after
            length = ids.shape[1]
            mask = self.position.weight.new_full((length, length), -torch.inf).triu(1)
        x = self.words(ids) + self.position((self.context,))[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x, None, mask)
        return self.proj(self.norm(x[torch.arange(x.shape[0], device=x.device), index]))
