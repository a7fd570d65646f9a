import torch
import torch.nn.functional as F
from torch import Tensor


def mpp_loss(logits: Tensor, patches: Tensor, mask: Tensor, bits: int = 3) -> Tensor:
    """Logits (B, N, 8^bits), patches (B, N, 3 P) of pixels 0 to 1, red ones first, then green,
    then blue; mask (B, N), True where corrupted -> loss ()
    """
    # <write>
    # en: 1. The mean color of each patch: (B, N, 3).
    # zh: 1. 每个 patch 的平均颜色：(B, N, 3)。
    color = patches.unflatten(-1, (3, -1)).mean(dim=-1)
    # en: 2. Its level per channel, from 0 to 2^bits - 1. A mean of 1 has the last one.
    # zh: 2. 每个通道的等级，0 到 2^bits - 1 的整数；平均为 1 时取最后一级。
    levels = 2**bits
    level = (color * levels).long().clamp(max=levels - 1)
    # en: 3. One class of three levels: red + levels * green + levels^2 * blue.
    # zh: 3. 三个等级合成一个类别：red + levels * green + levels^2 * blue。
    digits = levels ** torch.arange(3, device=patches.device)
    target = (level * digits).sum(dim=-1)
    # en: 4. The mean cross-entropy over corrupted patches.
    # zh: 4. 只对被破坏的 patch 求交叉熵的平均。
    return F.cross_entropy(logits[mask], target[mask])
    # </write>
