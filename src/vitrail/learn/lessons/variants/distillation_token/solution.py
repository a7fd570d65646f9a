import torch
from torch import Tensor, nn


class DistilledViT(nn.Module):
    def __init__(self, dim: int, patches: int, classes: int) -> None:
        super().__init__()
        # <write>
        # en: self.class_token and self.distillation_token: parameters (1, 1, D), zeros.
        # zh: self.class_token 与 self.distillation_token：参数，形状 (1, 1, D)，初始为 0。
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, dim))
        # en: self.position: a parameter with a row per token, (1, 2 + N, D), zeros.
        # zh: self.position：每个 token 一行的参数，(1, 2 + N, D)，初始为 0。
        self.position = nn.Parameter(torch.zeros(1, 2 + patches, dim))
        # en: self.head and self.distillation_head: linear, D -> classes.
        # zh: self.head 与 self.distillation_head：线性层，D -> classes。
        self.head = nn.Linear(dim, classes)
        self.distillation_head = nn.Linear(dim, classes)
        # </write>

    def forward(self, patches: Tensor, blocks):
        """patches (B, N, D), blocks from (B, 2 + N, D) to the same shape -> logits (B, classes).

        In training: the logits of the class head and of the distillation head, as a pair.
        """
        B = patches.shape[0]
        # <write>
        # en: 1. Both tokens for every image of the batch: (B, 1, D) each.
        # zh: 1. 为 batch 中每张图准备这两个 token：各 (B, 1, D)。
        class_token = self.class_token.expand(B, -1, -1)
        distillation_token = self.distillation_token.expand(B, -1, -1)
        # en: 2. The sequence: class token, distillation token, patches; then the positions.
        # zh: 2. 拼成序列：分类 token、蒸馏 token、图像块；再加位置编码。
        x = torch.cat([class_token, distillation_token, patches], dim=1)
        x = x + self.position
        # en: 3. The blocks.
        # zh: 3. 经过 blocks。
        x = blocks(x)
        # en: 4. Each head reads its own token.
        # zh: 4. 每个头读自己的 token。
        class_logits = self.head(x[:, 0])
        distillation_logits = self.distillation_head(x[:, 1])
        # en: 5. In training both, for the loss; else the mean.
        # zh: 5. 训练时返回两者（给损失用），否则返回平均。
        if self.training:
            return class_logits, distillation_logits
        return (class_logits + distillation_logits) / 2
        # </write>
