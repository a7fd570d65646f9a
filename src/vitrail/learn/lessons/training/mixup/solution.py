import torch.nn.functional as F
from torch import Tensor


def mixup_loss(
    model, images: Tensor, labels: Tensor, partner: Tensor, share: float
) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W), labels and indices (B,), share of the image -> mixed images, loss"""
    # <write>
    # en: 1. Each image and its partner, weighted.
    # zh: 1. 每张图与它的搭档加权相加。
    mixed = share * images + (1 - share) * images[partner]
    # en: 2. The logits of the mixed images: the model runs once.
    # zh: 2. 混合图像的 logits：模型只运行一次。
    logits = model(mixed)
    # en: 3. The loss of both labels, with the same weights.
    # zh: 3. 两个标签的损失，用同样的权重。
    own = F.cross_entropy(logits, labels)
    other = F.cross_entropy(logits, labels[partner])
    return mixed, share * own + (1 - share) * other
    # </write>
