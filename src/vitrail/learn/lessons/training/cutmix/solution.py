import math

import torch.nn.functional as F
from torch import Tensor


def cutmix_loss(
    model,
    images: Tensor,
    labels: Tensor,
    partner: Tensor,
    share: float,
    centre: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W), labels and indices (B,), share kept, centre -> mixed images, loss"""
    H, W = images.shape[-2:]
    row, column = centre
    # <write>
    # en: 1. The edges of the rectangle, in whole pixels, inside the image.
    # zh: 1. 矩形的边界，取整数像素，不超出图像。
    side = math.sqrt(1 - share)
    top = max(round(H * (row - side / 2)), 0)
    bottom = min(round(H * (row + side / 2)), H)
    left = max(round(W * (column - side / 2)), 0)
    right = min(round(W * (column + side / 2)), W)
    # en: 2. The partner's pixels inside it; `images` stays as it is.
    # zh: 2. 矩形内换成搭档的像素；不要改动 `images`。
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[partner][..., top:bottom, left:right]
    # en: 3. The share of its own pixels that an image has kept.
    # zh: 3. 图像实际保留的自身像素比例。
    share = 1 - (bottom - top) * (right - left) / (H * W)
    # en: 4. The loss of both labels, weighted by area.
    # zh: 4. 两个标签的损失，按面积加权。
    logits = model(mixed)
    own = F.cross_entropy(logits, labels)
    other = F.cross_entropy(logits, labels[partner])
    return mixed, share * own + (1 - share) * other
    # </write>
