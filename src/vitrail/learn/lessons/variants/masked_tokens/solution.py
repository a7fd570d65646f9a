import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedTokens(nn.Module):
    def __init__(self, dim: int, vocabulary: int) -> None:
        super().__init__()
        # <write>
        # en: self.mask_token: a parameter (1, 1, D), zeros, which replaces masked patches.
        # zh: self.mask_token：参数 (1, 1, D)，初始为 0，用来替换被遮住的图像块。
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        # en: self.head: linear, from D to a logit per code.
        # zh: self.head：线性层，从 D 维到每个码一个 logit。
        self.head = nn.Linear(dim, vocabulary)
        # </write>

    def forward(self, patches: Tensor, mask: Tensor, codes: Tensor, blocks) -> Tensor:
        """Loss () of embedded patches (B, N, D) of which those with mask (B, N) True are hidden.

        codes (B, N) are the tokenizer's. blocks is given: (B, N, D) -> (B, N, D).
        """
        # <write>
        # en: 1. The mask token in the place of each masked patch: x (B, N, D).
        # zh: 1. 用 mask token 替换被遮住的图像块：x (B, N, D)。
        x = torch.where(mask[..., None], self.mask_token, patches)
        # en: 2. The blocks see the whole sequence.
        # zh: 2. blocks 处理整个序列。
        x = blocks(x)
        # en: 3. Logits of the masked positions of all images: (M, vocabulary).
        # zh: 3. 所有图像中被遮位置的 logits：(M, vocabulary)。
        logits = self.head(x[mask])
        # en: 4. Cross-entropy with the codes of these positions, the mean over all of them.
        # zh: 4. 与这些位置的码做交叉熵，对所有被遮位置取平均。
        return F.cross_entropy(logits, codes[mask])
        # </write>
