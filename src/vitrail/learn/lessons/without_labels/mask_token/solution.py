import torch
from torch import Tensor, nn


class MaskedEmbedding(nn.Module):
    def __init__(self, dim: int, patches: int) -> None:
        super().__init__()
        # <write>
        # en: self.mask_token (1, 1, D), zeros; self.position (1, N, D), zeros: both parameters.
        # zh: 两个参数，都从 0 开始：self.mask_token (1, 1, D)，self.position (1, N, D)。
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.zeros(1, patches, dim))
        # </write>

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Embedded patches (B, N, D), mask (B, N), 1 where masked -> tokens (B, N, D)"""
        # <write>
        # en: 1. The mask token takes the place of masked patches.
        # zh: 1. 被遮住的 patch 换成 mask token。
        mask = mask[:, :, None].to(tokens.dtype)
        tokens = tokens * (1 - mask) + self.mask_token * mask
        # en: 2. Then every token gets its position, masked ones too.
        # zh: 2. 然后给每个 token 加上位置编码，被遮住的也要加。
        return tokens + self.position
        # </write>
