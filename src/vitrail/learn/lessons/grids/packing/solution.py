from torch import Tensor


def packed_attention(q: Tensor, k: Tensor, v: Tensor, image_ids: Tensor) -> Tensor:
    """q, k, v (B, heads, N, E), image of each token (B, N), -1 for padding -> (B, heads, N, E)"""
    # <write>
    # en: 1. Token i may read token j if both are of the same image: (B, N, N).
    # zh: 1. 第 i 个 token 能读第 j 个，当且仅当两者属于同一张图：(B, N, N)。
    allowed = image_ids[:, :, None] == image_ids[:, None, :]
    # en: 2. Scaled products, (B, heads, N, N); those that are not allowed become -inf.
    # zh: 2. 缩放点积，(B, heads, N, N)；不允许的位置置为 -inf。
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~allowed[:, None], float("-inf"))
    # en: 3. A softmax over the keys, and the weighted sum of values.
    # zh: 3. 沿 key 轴做 softmax，再对 value 加权求和。
    output = scores.softmax(dim=-1) @ v
    # en: 4. Padding gives 0.
    # zh: 4. 填充位置的输出置 0。
    is_padding = image_ids == -1
    return output.masked_fill(is_padding[:, None, :, None], 0.0)
    # </write>
