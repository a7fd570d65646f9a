import torch
from torch import Tensor


def attention_in_blocks(q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
    """Exact attention of one head that reads `block` keys at a time.

    q (B, N, d), k (B, M, d), v (B, M, e) -> (B, N, e)
    """
    B, N, d = q.shape
    M, e = v.shape[1:]
    # en: The largest logit so far, the sum of the weights, the weighted sum of the values.
    # zh: 目前最大的 logit、权重之和、value 的加权和。
    highest = q.new_full((B, N, 1), float("-inf"))
    total = q.new_zeros(B, N, 1)
    out = q.new_zeros(B, N, e)
    for start in range(0, M, block):
        keys, values = k[:, start : start + block], v[:, start : start + block]
        # <write>
        # en: 1. The logits of this block, scaled: (B, N, block).
        # zh: 1. 这一块的 logits（已缩放）：(B, N, block)。
        logits = q @ keys.transpose(1, 2) * d**-0.5
        # en: 2. The largest logit of all blocks so far: new (B, N, 1).
        # zh: 2. 到目前为止最大的 logit：new (B, N, 1)。
        new = torch.maximum(highest, logits.amax(dim=-1, keepdim=True))
        # en: 3. The factor for what was summed relative to the old maximum: (B, N, 1).
        # zh: 3. 旧的累加量是相对旧最大值的，需要乘的修正因子：(B, N, 1)。
        correction = (highest - new).exp()
        # en: 4. The weights of this block, not divided by their sum yet: (B, N, block).
        # zh: 4. 这一块的权重，暂不除以总和：(B, N, block)。
        weights = (logits - new).exp()
        # en: 5. Correct and continue both sums.
        # zh: 5. 修正两个累加量，再加上这一块。
        total = total * correction + weights.sum(dim=-1, keepdim=True)
        out = out * correction + weights @ values
        highest = new
        # </write>
    # <write>
    # en: 6. The only division.
    # zh: 6. 唯一的一次除法。
    return out / total
    # </write>
