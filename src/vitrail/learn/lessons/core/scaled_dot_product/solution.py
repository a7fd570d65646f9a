from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q (..., N, d), k (..., M, d), v (..., M, e) -> (..., N, e)"""
    d = q.shape[-1]
    # <write>
    # en: 1. logits (..., N, M): products of queries and keys, divided by sqrt(d).
    # zh: 1. logits (..., N, M)：query 与 key 的点积，除以 sqrt(d)。
    logits = q @ k.transpose(-2, -1) / d**0.5
    # en: 2. Subtract from each row its largest entry, so that exp does not overflow.
    # zh: 2. 每行减去该行最大值，避免 exp 溢出。
    logits = logits - logits.amax(dim=-1, keepdim=True)
    # en: 3. weights (..., N, M): exp, divided by the sum of the row.
    # zh: 3. weights (..., N, M)：取 exp，再除以该行之和。
    weights = logits.exp()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    # en: 4. Weighted sums of the values.
    # zh: 4. 对 value 加权求和。
    return weights @ v
    # </write>
