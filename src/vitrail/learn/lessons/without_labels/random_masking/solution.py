import torch
from torch import Tensor


def random_masking(tokens: Tensor, noise: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (B, N, D), noise (B, N) -> visible tokens (B, K, D), mask (B, N), restore (B, N)"""
    # <write>
    # en: 1. K: how many patches of each image stay visible. Fractions are cut off.
    # zh: 1. K：每张图保留多少个 patch，小数部分舍去。
    count = int(tokens.shape[1] * (1 - ratio))
    # en: 2. The patches of each image in the order of their noise, lowest first: (B, N).
    # zh: 2. 每张图的 patch 按噪声从小到大排列，得到下标：(B, N)。
    shuffle = noise.argsort(dim=1)
    # en: 3. The inverse order: restore[b, i] says where patch i stands in `shuffle`.
    # zh: 3. 逆排列：restore[b, i] 是第 i 个 patch 在 shuffle 中的位置。
    restore = shuffle.argsort(dim=1)
    # en: 4. The first K of them are visible: gather their tokens, (B, K, D).
    # zh: 4. 前 K 个可见：取出它们的 token，(B, K, D)。
    index = shuffle[:, :count, None].expand(-1, -1, tokens.shape[2])
    visible = tokens.gather(1, index)
    # en: 5. The mask in the grid's order: 1 where masked, 0 where visible.
    # zh: 5. 按原来的网格顺序写出 mask：被遮住为 1，可见为 0。
    mask = torch.ones_like(noise)
    mask[:, :count] = 0
    mask = mask.gather(1, restore)
    return visible, mask, restore
    # </write>
