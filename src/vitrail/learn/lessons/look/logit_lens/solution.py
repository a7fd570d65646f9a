import torch
from torch import Tensor, nn


def logit_lens(states: list[Tensor], norm: nn.Module, head: nn.Module) -> Tensor:
    """Tokens after each of L blocks (B, N, D), last norm, head -> logits (L, B, N, K)"""
    # <write>
    logits = []
    for tokens in states:
        # en: The head has learned to read normalized tokens: the last norm first, then the head.
        # zh: 分类头学会的是读归一化之后的 token：先过最后的归一化，再过分类头。
        logits.append(head(norm(tokens)))
    # en: One answer per block and token.
    # zh: 每个 block、每个 token 各有一个答案。
    return torch.stack(logits)
    # </write>
