import torch
from torch import Tensor, nn


class Tokens(nn.Module):
    def __init__(self, num_patches: int, dim: int) -> None:
        super().__init__()
        # <write>
        # en: self.cls_token (1, 1, D) and self.pos_embed (1, N + 1, D), both parameters,
        # zh: 两个参数：self.cls_token (1, 1, D)，self.pos_embed (1, N + 1, D)，
        # en: both drawn by nn.init.trunc_normal_ with std=0.02.
        # zh: 都用 nn.init.trunc_normal_ 初始化，std=0.02。
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, num_patches + 1, dim))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        # </write>

    def forward(self, patches: Tensor) -> Tensor:
        """(B, N, D) -> (B, N + 1, D)"""
        B = patches.shape[0]
        # <write>
        # en: 1. The class token for every image of the batch: cls (B, 1, D).
        # zh: 1. 为 batch 中的每张图准备一份：cls (B, 1, D)。
        cls = self.cls_token.expand(B, -1, -1)
        # en: 2. Put it in front: x (B, N + 1, D).
        # zh: 2. 放到最前面：x (B, N + 1, D)。
        x = torch.cat([cls, patches], dim=1)
        # en: 3. Add the positions.
        # zh: 3. 加上位置编码。
        return x + self.pos_embed
        # </write>
